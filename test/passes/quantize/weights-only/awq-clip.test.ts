import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clippedRows } from '../../../../src/passes/quantize/weights-only/awq-clip.ts';
import type { BlockScheme } from '../../../../src/passes/quantize/weights-only/quantized-rows.ts';
import { searchedRows } from '../../../../src/passes/quantize/weights-only/k-quant.ts';
import { rtnRows } from '../../../../src/passes/quantize/weights-only/rtn.ts';
import { noise } from '../helpers.ts';

const SIZE = 40;
const view = { outer: 1, size: SIZE, inner: 1, blockSize: 16 };
const ROWS = 6;

/** Weights with tails: cubes of noise. */
const weights = noise(ROWS * SIZE, 5).map((value) => value ** 3);
/** Inputs of correlated channels, some of them strong. */
const inputs = Array.from({ length: 50 }, (_, sample) => {
  const own = noise(SIZE, 100 + sample);
  return Array.from(own, (value, i) => (value + 0.7 * own[(i + 1) % SIZE]!) * (i % 7 === 2 ? 5 : 1));
});
const products = new Float64Array(SIZE * SIZE);
for (const x of inputs) {
  x.forEach((a, i) => x.forEach((b, j) => (products[i * SIZE + j]! += (a * b) / inputs.length)));
}

/** What a block adds to the output of its row changes by this, squared and summed over the samples. */
function change(block: number, original: ArrayLike<number>, stored: ArrayLike<number>): number {
  return inputs.reduce((total, x) => {
    let sum = 0;
    for (let i = 0; i < original.length; i += 1) sum += x[block * 16 + i]! * (original[i]! - stored[i]!);
    return total + sum * sum;
  }, 0);
}

/** AWQ's auto_clip written down plainly: the grid of the clamped block by rounding to nearest (which other tests hold against ONNX Runtime), judged by outputs. */
function bestOfGrid(block: number, original: readonly number[], scheme: BlockScheme) {
  const largest = Math.max(...original.map(Math.abs));
  let best: { readonly codes: number[]; readonly values: number[]; readonly error: number } | undefined;
  for (let step = 0; step < 10; step += 1) {
    const limit = Math.fround(largest * (1 - step / 20));
    const clamped = Float32Array.from(original, (value) => Math.min(Math.max(value, -limit), limit));
    const { scales, zeros } = rtnRows(clamped, { ...view, size: clamped.length }, scheme);
    // On that grid each weight takes the code nearest to it as it is.
    const [scale, zero, top] = [scales[0]!, zeros[0]!, 2 ** scheme.bits - 1];
    const codes = original.map((value) => Math.min(Math.max(Math.floor(value / scale + zero + 0.5), 0), top));
    const values = codes.map((code) => (code - zero) * scale);
    const error = change(block, original, values);
    if (best === undefined || error < best.error) best = { codes, values, error };
  }
  return best!;
}

function blocksOf(rows: ReturnType<typeof rtnRows>) {
  return Array.from({ length: ROWS * 3 }, (_, place) => {
    const [row, block] = [Math.floor(place / 3), place % 3];
    const from = row * SIZE + block * 16;
    const to = Math.min(from + 16, (row + 1) * SIZE);
    const codes = [...rows.codes.slice(from, to)];
    return {
      block,
      original: [...weights.slice(from, to)],
      codes,
      values: codes.map((code) => (code - rows.zeros[place]!) * rows.scales[place]!),
    };
  });
}

describe('the search for a clipping of awq', () => {
  for (const scheme of [
    { bits: 4, symmetric: false },
    { bits: 4, symmetric: true },
    { bits: 2, symmetric: false },
  ] as const) {
    it(`finds what trying every range on the samples finds (${JSON.stringify(scheme)})`, () => {
      const plain = rtnRows(weights, view, scheme);
      const { quantized, changedShare } = clippedRows(plain, { values: weights, view, products }, scheme);
      let clipped = 0;
      for (const { block, original, codes, values } of blocksOf(quantized)) {
        assert.deepEqual(codes, bestOfGrid(block, original, scheme).codes);
        const largest = original.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a));
        if (Math.abs(values[original.indexOf(largest)]!) < 0.8 * Math.abs(largest)) clipped += 1;
      }
      assert.ok(clipped > 0 && changedShare > 0, 'some block is better off clipped');
    });

    it(`is no worse in any block than what it starts from (${JSON.stringify(scheme)})`, () => {
      const importance = Float64Array.from({ length: SIZE }, (_, i) => products[i * SIZE + i]!);
      const searched = searchedRows(weights, view, scheme, importance);
      const { quantized } = clippedRows(searched, { values: weights, view, products }, scheme);
      const [before, after] = [blocksOf(searched), blocksOf(quantized)];
      let better = 0;
      for (const [place, { block, original, values }] of after.entries()) {
        const [was, is] = [change(block, original, before[place]!.values), change(block, original, values)];
        // The search adds moments up, this test samples: the same number but for rounding.
        assert.ok(is <= was * (1 + 1e-9), `${is} against ${was}`);
        if (is < 0.99 * was) better += 1;
      }
      assert.ok(better > 0);
    });
  }

  it('clips a weight whose input hardly counts, and keeps one whose input does', () => {
    const block = { outer: 1, size: 16, inner: 1, blockSize: 16 };
    const values = Float32Array.from({ length: 16 }, (_, i) => (i === 0 ? 1.9 : (i - 7.5) / 7.5));
    const scheme = { bits: 2, symmetric: true } as const;
    const rangeWith = (strength: number): number => {
      const moments = new Float64Array(256);
      for (let i = 0; i < 16; i += 1) moments[i * 17] = i === 0 ? strength : 1;
      const found = rtnRows(values, block, scheme);
      return Math.abs(clippedRows(found, { values, view: block, products: moments }, scheme).quantized.scales[0]! * 2);
    };
    assert.ok(rangeWith(1e-6) < 1.5);
    assert.ok(Math.abs(rangeWith(1e6) - 1.9) < 1e-6);
  });

  it('leaves a block of zeros alone', () => {
    const zeros = new Float32Array(ROWS * SIZE);
    const scheme = { bits: 4, symmetric: false } as const;
    const found = rtnRows(zeros, view, scheme);
    const { quantized, changedShare } = clippedRows(found, { values: zeros, view, products }, scheme);
    assert.deepEqual([quantized, changedShare], [found, 0]);
  });
});
