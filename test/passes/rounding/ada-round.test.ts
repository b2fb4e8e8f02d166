import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { adaRound, type RoundingProblem } from '../../../src/passes/rounding/ada-round.ts';
import { noise, runtime } from '../quantize/helpers.ts';

const [groups, rows, columns, outputs] = [2, 600, 12, 5];
const context = { runtime, threads: 1, signal: new AbortController().signal };

/** Rows whose columns depend on each other: rounding all of them to nearest is not the best there is. */
function problem(clip?: readonly [number, number]): RoundingProblem {
  const base = noise(groups * rows * columns, 5);
  const x = base.map((value, i) => value + 1.5 * (base[i - (i % columns)] ?? 0) + 0.5);
  const weights = noise(groups * columns * outputs, 6);
  const bias = noise(groups * outputs, 7);
  const y = outputsOf({ x, weights, bias });
  return {
    groups,
    rows,
    columns,
    outputs,
    x,
    y,
    weights,
    scales: new Float32Array(groups * outputs).map((_, c) => 0.25 + 0.05 * (c % 3)),
    bias,
    low: -4,
    high: 3,
    clip,
  };
}

function outputsOf({ x, weights, bias }: Pick<RoundingProblem, 'x' | 'weights' | 'bias'>): Float32Array {
  const y = new Float32Array(groups * rows * outputs);
  for (let g = 0; g < groups; g += 1)
    for (let r = 0; r < rows; r += 1)
      for (let o = 0; o < outputs; o += 1) {
        let sum = bias[g * outputs + o] ?? 0;
        for (let c = 0; c < columns; c += 1)
          sum += (x[(g * rows + r) * columns + c] ?? 0) * (weights[(g * columns + c) * outputs + o] ?? 0);
        y[(g * rows + r) * outputs + o] = sum;
      }
  return y;
}

function channel(i: number): number {
  return Math.floor(i / (columns * outputs)) * outputs + (i % outputs);
}

function errorOf(given: RoundingProblem, codes: ArrayLike<number>): number {
  const weights = given.weights.map((_, i) => (codes[i] ?? 0) * (given.scales[channel(i)] ?? 1));
  const made = outputsOf({ ...given, weights });
  const [low, high] = given.clip ?? [-Infinity, Infinity];
  const cut = (value: number): number => Math.min(Math.max(value, low), high);
  return made.reduce((sum, value, i) => sum + (cut(value) - cut(given.y[i] ?? 0)) ** 2, 0);
}

describe('adaRound', () => {
  const settings = { iterations: 600, batch: 128, seed: 3 };
  for (const clip of [undefined, [0, Infinity], [-1, 3]] as const) {
    it(`rounds up or down, and moves the output less than rounding to nearest (${String(clip)})`, async () => {
      const given = problem(clip);
      const { codes } = await adaRound(given, settings, context);
      const nearest = given.weights.map((value, i) =>
        Math.min(Math.max(Math.round(value / given.scales[channel(i)]!), -4), 3),
      );
      codes.forEach((code, i) => {
        const position = given.weights[i]! / given.scales[channel(i)]!;
        assert.ok(code >= -4 && code <= 3 && Math.abs(code - Math.min(Math.max(position, -4), 3)) < 1);
      });
      assert.ok(errorOf(given, codes) < 0.75 * errorOf(given, nearest));
    });
  }

  it('gives the same codes for the same seed', async () => {
    const once = await adaRound(problem(), settings, context);
    assert.deepEqual(await adaRound(problem(), settings, context), once);
  });
});
