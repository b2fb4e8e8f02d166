import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  ChannelMeanAccumulator,
  ChannelRangeAccumulator,
  HistogramAccumulator,
  RangeAccumulator,
} from '../../src/passes/statistics.ts';

const finite = fc.float({ min: -1e6, max: 1e6, noNaN: true });

describe('RangeAccumulator', () => {
  it('merges the extremes of all batches: none is lost', () => {
    const range = new RangeAccumulator(1);
    range.addRange(-5, 1);
    range.addRange(-1, 7);
    range.addRange(-2, 2);
    assert.deepEqual(range.result(), { kind: 'range', min: -5, max: 7 });
  });

  it('averages with the given constant, starting at the first batch', () => {
    const range = new RangeAccumulator(0.25);
    range.addRange(-4, 4);
    range.addRange(0, 8);
    assert.deepEqual(range.result(), { kind: 'range', min: -3, max: 5 });
  });

  it('answers nothing when it saw nothing', () => assert.equal(new RangeAccumulator(1).result(), undefined));
});

describe('HistogramAccumulator', () => {
  it('counts every value, in bins that start at zero', () => {
    const histogram = new HistogramAccumulator(4);
    histogram.add(Float32Array.of(0, 0.1, 7.9, -0.5, -1));
    const result = histogram.result()!;
    assert.equal(result.binWidth, 1);
    assert.equal(result.firstBin, -1);
    assert.deepEqual([...result.counts], [2, 2, 0, 0, 0, 0, 0, 0, 1]);
  });

  it('is the same however the values are cut and ordered', () => {
    fc.assert(
      fc.property(fc.array(finite, { minLength: 1, maxLength: 60 }), fc.nat(60), (values, cut) => {
        const whole = new HistogramAccumulator(16);
        whole.add(Float32Array.from(values));
        const parts = new HistogramAccumulator(16);
        const at = Math.min(cut, values.length);
        parts.add(Float32Array.from(values.slice(at)));
        parts.add(Float32Array.from(values.slice(0, at)));
        assert.deepEqual(parts.result(), whole.result());
      }),
    );
  });

  it('loses no count and no extreme, and uses at least the bins asked for', () => {
    fc.assert(
      fc.property(fc.array(finite, { minLength: 1, maxLength: 60 }), (values) => {
        const histogram = new HistogramAccumulator(32);
        for (const value of values) histogram.add(Float32Array.of(value));
        const { counts, min, max, binWidth } = histogram.result()!;
        assert.equal(
          counts.reduce((sum, count) => sum + count, 0),
          values.length,
        );
        assert.equal(min, Math.min(...values));
        assert.equal(max, Math.max(...values));
        const magnitude = Math.max(-min, max);
        // A width of 2^-126 is the floor: below it 1 / width is no longer finite.
        assert.ok(magnitude / binWidth >= 32 || binWidth === 2 ** -126);
      }),
    );
  });
});

describe('ChannelMeanAccumulator', () => {
  it('averages over every axis but the channel', () => {
    const mean = new ChannelMeanAccumulator(1);
    mean.add(Float32Array.of(1, 3, 10, 30, 5, 7, 50, 70), [2, 2, 2]);
    assert.deepEqual([...mean.result()!.mean], [4, 40]);
  });
});

describe('ChannelRangeAccumulator', () => {
  it('takes extremes over every axis but the channel, over all batches', () => {
    const range = new ChannelRangeAccumulator(1);
    range.add(Float32Array.of(1, 3, 10, 30, 5, -7, 50, 70), [2, 2, 2]);
    range.add(Float32Array.of(2, 2, 90, 20), [1, 2, 2]);
    assert.deepEqual(range.result(), {
      kind: 'channel-range',
      min: Float64Array.of(-7, 10),
      max: Float64Array.of(5, 90),
    });
  });

  it('counts axes from the end, too', () => {
    const range = new ChannelRangeAccumulator(-1);
    range.add(Float32Array.of(1, -2, 3, -4), [1, 2, 2]);
    assert.deepEqual(range.result(), {
      kind: 'channel-range',
      min: Float64Array.of(1, -4),
      max: Float64Array.of(3, -2),
    });
  });
});
