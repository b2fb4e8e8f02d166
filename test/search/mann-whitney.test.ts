import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mannWhitney, type Alternative } from '../../src/search/mann-whitney.ts';

const near = (actual: number, expected: number, relative: number) =>
  assert.ok(Math.abs(actual - expected) <= relative * expected, `${actual} is not ${expected}`);
const range = (n: number, value: (i: number) => number) => Array.from({ length: n }, (_, i) => value(i));

interface Case {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly u: number;
  readonly p: Readonly<Record<Alternative, number>>;
}

// scipy 1.17.1, stats.mannwhitneyu(a, b, alternative, method='exact')
const EXACT: readonly Case[] = [
  {
    a: [19, 22, 16, 29, 24],
    b: [20, 11, 17, 12],
    u: 17,
    p: { 'two-sided': 0.1111111111111111, less: 0.9682539682539683, greater: 0.05555555555555555 },
  },
  {
    a: range(20, (i) => 2 * i),
    b: range(20, (i) => 2 * i + 15.5),
    u: 78,
    p: { 'two-sided': 0.0006675619675571311, less: 0.00033378098377856555, greater: 0.9997022542145142 },
  },
];
// the same with method='asymptotic'
const NORMAL: readonly Case[] = [
  {
    a: [1, 2, 2, 3, 5, 5, 8],
    b: [2, 3, 4, 5, 9, 10, 10, 11],
    u: 13.5,
    p: { 'two-sided': 0.1020809611324846, less: 0.0510404805662423, greater: 0.9600806401770737 },
  },
  {
    a: range(60, (i) => ((i * i) % 101) + 0.25 * i),
    b: range(50, (i) => ((i * i) % 97) + 0.37 * i + 3),
    u: 1432,
    p: { 'two-sided': 0.6853285557833784, less: 0.3426642778916892, greater: 0.6595391287133345 },
  },
];
const ALTERNATIVES: readonly Alternative[] = ['two-sided', 'less', 'greater'];

describe('mannWhitney', () => {
  for (const alternative of ALTERNATIVES)
    it(`agrees with scipy (${alternative})`, () => {
      for (const { a, b, u, p } of EXACT) {
        const test = mannWhitney(a, b, alternative);
        assert.deepEqual([test.method, test.u], ['mann-whitney-exact', u]);
        near(test.pValue, p[alternative], 1e-12);
      }
      for (const { a, b, u, p } of NORMAL) {
        const test = mannWhitney(a, b, alternative);
        assert.deepEqual([test.method, test.u], ['mann-whitney-normal', u]);
        near(test.pValue, p[alternative], 1e-6); // erfc is good to 1.2e-7
      }
    });

  it('is exact in the far tail', () => {
    // One order of C(40, 20) has every value of the first sample above.
    const { pValue } = mannWhitney(
      range(20, (i) => 100 + i),
      range(20, (i) => i),
      'greater',
    );
    near(pValue, 1 / 137846528820, 1e-10);
  });

  it('sees nothing in values that are all alike', () => {
    assert.equal(mannWhitney([1, 1, 1], [1, 1]).pValue, 1);
    assert.throws(() => mannWhitney([], [1]), RangeError);
  });
});
