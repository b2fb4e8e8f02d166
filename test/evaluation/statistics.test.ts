import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  bootstrapMedianInterval,
  coefficientOfVariation,
  mcNemar,
  meanInterval,
  pairedDifferenceInterval,
  quantile,
  wilsonInterval,
} from '../../src/evaluation/statistics.ts';

const near = (actual: number, expected: number, relative: number): void => {
  assert.ok(
    Math.abs(actual - expected) <= relative * Math.max(Math.abs(expected), 1e-12),
    `${actual} is not ${expected}`,
  );
};

describe('wilsonInterval', () => {
  // statsmodels 0.15.0, proportion_confint(successes, samples, method='wilson')
  const reference = [
    [1840, 2000, 0.9072892548014819, 0.9311004254822657],
    [9203, 10000, 0.9148290361875764, 0.9254481747820329],
    [0, 50, 0, 0.07134759913335874],
    [100, 100, 0.9630065017930143, 1],
    [1, 3, 0.06149194472039626, 0.7923403991979523],
  ] as const;
  for (const [successes, samples, low, high] of reference) {
    it(`agrees with statsmodels on ${successes} of ${samples}`, () => {
      const interval = wilsonInterval(successes, samples);
      near(interval[0], low, 1e-12);
      near(interval[1], high, 1e-12);
    });
  }

  it('contains the share and stays inside 0..1', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100_000 }), fc.double({ min: 0, max: 1, noNaN: true }), (n, share) => {
        const successes = Math.round(share * n);
        const [low, high] = wilsonInterval(successes, n);
        return low >= 0 && high <= 1 && low <= successes / n && high >= successes / n && low < high;
      }),
    );
  });

  it('refuses what is no proportion', () => {
    assert.throws(() => wilsonInterval(1, 0), RangeError);
    assert.throws(() => wilsonInterval(3, 2), RangeError);
  });
});

describe('mcNemar', () => {
  // statsmodels 0.15.0, mcnemar([[100, b], [c, 5]], exact=True)
  const exact = [
    [7, 1, 0.0703125],
    [25, 10, 0.016673847800120715],
    [0, 0, 1],
    [3, 3, 1],
    [300, 240, 0.011050481081929898],
    [40, 60, 0.05688793364098089],
  ] as const;
  for (const [b, c, pValue] of exact) {
    it(`agrees with the exact test of statsmodels on ${b} against ${c}`, () => {
      const test = mcNemar(b, c);
      assert.equal(test.method, 'mcnemar-exact');
      // the sum of logarithms loses a few digits over hundreds of terms
      near(test.pValue, pValue, 1e-10);
    });
  }

  // statsmodels 0.15.0, mcnemar([[100, b], [c, 5]], exact=False, correction=True)
  const many = [
    [6000, 5700, 7.641111111111111, 0.005705276282520078],
    [10500, 10000, 12.14639024390244, 0.0004918296547921496],
  ] as const;
  for (const [b, c, statistic, pValue] of many) {
    it(`agrees with the chi-square test of statsmodels on ${b} against ${c}`, () => {
      const test = mcNemar(b, c);
      assert.equal(test.method, 'mcnemar-chi-square');
      near(test.statistic, statistic, 1e-12);
      near(test.pValue, pValue, 1e-6); // erfc is good to 1.2e-7
    });
  }

  it('does not care which model comes first', () => {
    fc.assert(
      fc.property(fc.nat(6000), fc.nat(6000), (b, c) => Math.abs(mcNemar(b, c).pValue - mcNemar(c, b).pValue) < 1e-12),
    );
  });
});

describe('pairedDifferenceInterval', () => {
  it('gives the published interval of the airway data', () => {
    // Fagerland, Lydersen and Laake, "Recommended tests and confidence intervals for paired binomial proportions",
    // Statistics in Medicine 2014, airway hyper-responsiveness: n = 21, discordant 1 and 7; by the formula of Bonett
    // and Price: (8 - 2)/23 +- 1.96 * sqrt((10/23 - (6/23)^2)/23)
    const [low, high] = pairedDifferenceInterval(7, 1, 21);
    near(low, -0.50849, 1e-3);
    near(high, -0.01325, 1e-2);
  });

  it('contains zero when both models win equally often, and narrows with more samples', () => {
    const few = pairedDifferenceInterval(5, 5, 100);
    const many = pairedDifferenceInterval(50, 50, 1000);
    assert.ok(few[0] < 0 && few[1] > 0 && many[0] < 0 && many[1] > 0);
    assert.ok(many[1] - many[0] < few[1] - few[0]);
  });
});

describe('small statistics', () => {
  const sample = [3.1, 1.2, 5.5, 2.2, 4.8, 9.0, 7.7];
  it('quantiles, variation and mean interval agree with numpy 2.4.6', () => {
    const sorted = sample.toSorted((a, b) => a - b);
    near(quantile(sorted, 0.5), 4.8, 1e-12);
    near(quantile(sorted, 0.9), 8.22, 1e-12);
    near(quantile(sorted, 0.99), 8.921999999999999, 1e-12);
    near(coefficientOfVariation(sample), 0.5980438894020632, 1e-12);
    const { interval } = meanInterval(sample);
    near(interval[0], 2.665504203812018, 1e-12);
    near(interval[1], 6.905924367616553, 1e-12);
  });

  it('the bootstrap repeats with its seed and covers the median', () => {
    const values = Array.from({ length: 30 }, (_, i) => 1 + Math.sin(i) / 10);
    const interval = bootstrapMedianInterval(values, 1);
    assert.deepEqual(bootstrapMedianInterval(values, 1), interval);
    const middle = quantile(
      values.toSorted((a, b) => a - b),
      0.5,
    );
    assert.ok(interval[0] <= middle && middle <= interval[1] && interval[0] < interval[1]);
  });
});
