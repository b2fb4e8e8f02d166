import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { InputMoments } from '../../../../src/passes/layer-inputs/input-moments.ts';
import type { MatrixLayout } from '../../../../src/passes/layer-inputs/weight-targets.ts';
import { blocksAlong } from '../../../../src/passes/quantize/weights-only/block-view.ts';
import { gptqRows, type LayerWeight } from '../../../../src/passes/quantize/weights-only/gptq-rows.ts';
import { searchedRows } from '../../../../src/passes/quantize/weights-only/k-quant.ts';
import { outputError } from '../../../../src/passes/quantize/weights-only/output-error.ts';
import { rowsOf } from '../../../../src/passes/quantize/weights-only/read-rows.ts';
import { rtnRows } from '../../../../src/passes/quantize/weights-only/rtn.ts';
import { noise } from '../helpers.ts';

/** [K, N] of a MatMul. */
function product(k: number, n: number, blockSize: number): LayerWeight {
  const layout: MatrixLayout = { outputs: n, inputs: k, kernel: 1, outputStride: 1, inputStride: n, groups: 1 };
  return { values: noise(k * n, 3), view: blocksAlong([k, n], 0, blockSize), layout };
}

/** [M, C/g, kernel] of a convolution. */
function convolution(groups: number, blockSize: number | undefined): LayerWeight {
  const [outputs, inputs, kernel] = [4, 32, 3];
  const layout = { outputs, inputs, kernel, outputStride: inputs * kernel, inputStride: kernel, groups };
  const values = noise(outputs * inputs * kernel, 5);
  const size = inputs * kernel;
  const view =
    blockSize === undefined
      ? { outer: outputs, size, inner: 1, blockSize: size }
      : blocksAlong([outputs, inputs, kernel], 1, blockSize);
  return { values, view, layout };
}

function momentsOf({ layout }: LayerWeight, make: (i: number, j: number) => number): InputMoments {
  const columns = layout.inputs * layout.kernel;
  const products = Float64Array.from({ length: columns ** 2 }, (_, at) => make(Math.floor(at / columns), at % columns));
  return { columns, rows: 1, groups: Array.from({ length: layout.groups }, () => products) };
}

const identity = (weight: LayerWeight): InputMoments => momentsOf(weight, (i, j) => (i === j ? 2 : 0));
/** Neighbours go together, and inputs have different strengths. */
const correlated = (weight: LayerWeight): InputMoments =>
  momentsOf(weight, (i, j) => 0.9 ** Math.abs(i - j) * (1 + (i % 7)) * (1 + (j % 7)));

describe('GPTQ', () => {
  const weights = {
    'a product': product(64, 6, 16),
    'a product whose rows end within a block': product(40, 6, 32),
    'a convolution in blocks': convolution(1, 16),
    'a grouped convolution in blocks': convolution(2, 16),
    'a convolution with one scale an output': convolution(1, undefined),
  };
  for (const [name, weight] of Object.entries(weights)) {
    for (const bits of [8, 4, 2] as const) {
      for (const symmetric of [false, true]) {
        const scheme = { bits, symmetric };
        const rows = rowsOf(weight.values, weight.view);
        it(`is rounding to nearest when H is the identity: ${name}, ${bits} bits, symmetric ${symmetric}`, () => {
          const settings = { scheme, scales: 'extremes', actOrder: false, damping: 0.01 } as const;
          assert.deepEqual(gptqRows(weight, identity(weight), settings), rtnRows(rows, weight.view, scheme));
        });

        it(`changes outputs less than rounding to nearest where inputs go together: ${name}, ${bits} bits, symmetric ${symmetric}`, () => {
          const moments = correlated(weight);
          const plain = outputError(weight, rtnRows(rows, weight.view, scheme), moments);
          for (const actOrder of [false, true]) {
            for (const scales of ['extremes', 'search'] as const) {
              const quantized = gptqRows(weight, moments, { scheme, scales, actOrder, damping: 0.01 });
              const error = outputError(weight, quantized, moments);
              assert.ok(error < 0.8 * plain, `${scales}, order ${actOrder}: ${error} against ${plain}`);
            }
          }
        });
      }
    }
  }

  it('with scales by search and H the identity is the search with equal importance', () => {
    const weight = product(64, 6, 16);
    const scheme = { bits: 4, symmetric: false } as const;
    const settings = { scheme, scales: 'search', actOrder: false, damping: 0.01 } as const;
    const rows = rowsOf(weight.values, weight.view);
    const expected = searchedRows(rows, weight.view, scheme, new Float64Array(64).fill(2));
    assert.deepEqual(gptqRows(weight, identity(weight), settings), expected);
  });

  it('damping pulls it towards rounding to nearest', () => {
    const weight = product(64, 6, 16);
    const scheme = { bits: 4, symmetric: false } as const;
    const different = (damping: number): number => {
      const quantized = gptqRows(weight, correlated(weight), { scheme, scales: 'extremes', actOrder: false, damping });
      const plain = rtnRows(rowsOf(weight.values, weight.view), weight.view, scheme);
      return quantized.codes.reduce((count, code, i) => count + (code === plain.codes[i] ? 0 : 1), 0);
    };
    assert.ok(different(1) < different(0.01));
  });
});
