import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QUANT_RANGE, SYMMETRIC_RANGE } from '../../../src/passes/quantize/quant-type.ts';
import { entropyInterval, mseInterval, percentileInterval } from '../../../src/passes/quantize/thresholds.ts';
import { HistogramAccumulator } from '../../../src/passes/statistics.ts';
import { noise } from './helpers.ts';

function histogramOf(values: Float32Array) {
  const histogram = new HistogramAccumulator(2048);
  histogram.add(values);
  return histogram.result()!;
}

/** About normal: sums of twelve uniform numbers. 100,000 values within +-4, and one far outside. */
function withOutlier(outlier: number): Float32Array {
  const uniform = noise(1_200_000, 3);
  const values = new Float32Array(100_001);
  for (let i = 0; i < 100_000; i += 1) {
    let sum = 0;
    for (let k = 0; k < 12; k += 1) sum += uniform[12 * i + k] ?? 0;
    values[i] = sum / 2;
  }
  values[100_000] = outlier;
  return values;
}

describe('percentileInterval', () => {
  const values = Float32Array.from({ length: 1000 }, (_, i) => i - 300);

  it('keeps everything at 100 percent', () => {
    assert.deepEqual(percentileInterval(histogramOf(values), 100, false), { min: -300, max: 699 });
  });

  it('cuts half of the rest on each side', () => {
    const { min, max } = percentileInterval(histogramOf(values), 90, false);
    // 50 of 1000 values on each side; a bin is less than one unit wide.
    assert.ok(Math.abs(min - -250) <= 1 && Math.abs(max - 650) <= 1, `${min} .. ${max}`);
  });

  it('cuts by magnitude when symmetric', () => {
    const { min, max } = percentileInterval(histogramOf(values), 90, true);
    assert.ok(min === -300 && Math.abs(max - 600) <= 1, `${min} .. ${max}`);
  });
});

describe('entropyInterval', () => {
  it('cuts an outlier: with 2048 bins and 128 levels there is a choice', () => {
    const { max } = entropyInterval(histogramOf(withOutlier(40)));
    assert.ok(max < 20 && max > 2, `${max}`);
  });

  it('cuts no more than outliers where one value is frequent', () => {
    // Half of the values are a background of -0.8; of the others 43 % lie beyond it in magnitude. Cutting right behind
    // the background gives a divergence of 0.02, the least of all, and loses what the values have to say.
    const others = noise(100_000, 7);
    const values = Float32Array.from({ length: 200_000 }, (_, i) =>
      i % 2 === 0 ? -0.8 : 0.6 + 1.4 * (others[i >> 1] ?? 0),
    );
    const { min, max } = entropyInterval(histogramOf(values));
    const cut = values.filter((value) => value < min || value > max).length / values.length;
    assert.ok(cut <= 0.01, `${cut} of the values are beyond ${min} .. ${max}`);
  });

  it('does not go beyond the extremes', () => {
    const histogram = histogramOf(withOutlier(0));
    const { min, max } = entropyInterval(histogram);
    assert.ok(min >= histogram.min && max <= histogram.max);
  });
});

describe('mseInterval', () => {
  const error = (values: Float32Array, low: number, high: number): number => {
    const scale = (high - low) / 255;
    return values.reduce((sum, x) => {
      const clipped = Math.min(Math.max(Math.round(x / scale) * scale, low), high);
      return sum + Math.abs(x - clipped) ** 2.4;
    }, 0);
  };

  it('is better than the full range, by brute force', () => {
    const values = withOutlier(40);
    const { min, max } = mseInterval(histogramOf(values), QUANT_RANGE.uint8, false);
    const full = error(values, Math.min(...values), 40);
    assert.ok(error(values, min, max) < full);
  });

  it('keeps the full range where nothing lies outside', () => {
    const values = Float32Array.from({ length: 4096 }, (_, i) => i / 2048 - 1);
    const { max } = mseInterval(histogramOf(values), SYMMETRIC_RANGE.int8, true);
    assert.ok(max > 0.95);
  });
});
