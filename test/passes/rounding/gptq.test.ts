import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gptq, type ColumnGrid, type ColumnOrder } from '../../../src/passes/rounding/gptq.ts';
import { noise } from '../quantize/helpers.ts';

const [rows, columns] = [6, 150];
const STEP = 0.25;
const nearest: ColumnGrid = { round: (value) => Math.round(value / STEP) * STEP };

function weights(): { rows: number; columns: number; data: Float64Array } {
  return { rows, columns, data: Float64Array.from(noise(rows * columns, 3)) };
}

/** XᵀX of 400 rows whose columns are far from independent. */
function moments(): Float64Array {
  const count = 400;
  const base = noise(count * columns, 7);
  const x = Float64Array.from(base, (value, i) => value + 2 * (base[i - (i % columns)] ?? 0));
  const h = new Float64Array(columns * columns);
  for (let r = 0; r < count; r += 1) {
    for (let i = 0; i < columns; i += 1) {
      for (let j = 0; j < columns; j += 1) {
        h[i * columns + j] = (h[i * columns + j] ?? 0) + (x[r * columns + i] ?? 0) * (x[r * columns + j] ?? 0);
      }
    }
  }
  return h;
}

/** tr(D H Dᵀ) for the difference of two weights: the squared error of the layer's output. */
function outputError(a: Float64Array, b: Float64Array, h: Float64Array): number {
  let error = 0;
  for (let row = 0; row < rows; row += 1) {
    for (let i = 0; i < columns; i += 1) {
      const di = (a[row * columns + i] ?? 0) - (b[row * columns + i] ?? 0);
      for (let j = 0; j < columns; j += 1) {
        error += di * (h[i * columns + j] ?? 0) * ((a[row * columns + j] ?? 0) - (b[row * columns + j] ?? 0));
      }
    }
  }
  return error;
}

describe('gptq', () => {
  for (const order of ['given', 'largest-first'] satisfies ColumnOrder[]) {
    it(`is rounding to nearest when H is the identity (${order})`, () => {
      const matrix = weights();
      const identity = new Float64Array(columns * columns);
      for (let i = 0; i < columns; i += 1) identity[i * columns + i] = 3;
      gptq(matrix, identity, nearest, order);
      assert.deepEqual(
        matrix.data,
        weights().data.map((value) => Math.round(value / STEP) * STEP),
      );
    });

    it(`stays on the grid and moves the output much less than rounding to nearest (${order})`, () => {
      const [matrix, h] = [weights(), moments()];
      gptq(matrix, h, nearest, order);
      assert.ok(matrix.data.every((value) => Number.isInteger(value / STEP)));
      const float = weights().data;
      const plain = float.map((value) => Math.round(value / STEP) * STEP);
      assert.ok(outputError(matrix.data, float, h) < 0.5 * outputError(plain, float, h));
    });
  }

  it('asks for the grid of a column before it rounds the column, with errors of earlier ones moved in', () => {
    const [matrix, h] = [weights(), moments()];
    const seen: number[] = [];
    const before = weights().data;
    let moved = 0;
    gptq(matrix, h, {
      ...nearest,
      enter: (column, { data }) => {
        seen.push(column);
        if (column > 0 && data[column] !== before[column]) moved += 1;
      },
    });
    assert.deepEqual(
      seen,
      Array.from({ length: columns }, (_, column) => column),
    );
    assert.ok(moved > columns / 2);
  });

  it('gives weights of inputs that are always 0 the value 0', () => {
    const [matrix, h] = [weights(), moments()];
    for (let i = 0; i < columns; i += 1) h[i * columns + 4] = h[4 * columns + i] = 0;
    gptq(matrix, h, nearest);
    for (let row = 0; row < rows; row += 1) assert.equal(matrix.data[row * columns + 4], 0);
  });
});
