import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { z } from 'zod';
import { blocksAlong } from '../../../../src/passes/quantize/weights-only/block-view.ts';
import { hqqRows } from '../../../../src/passes/quantize/weights-only/hqq.ts';
import { searchedRows } from '../../../../src/passes/quantize/weights-only/k-quant.ts';
import { dequantizeRows, type QuantizedRows } from '../../../../src/passes/quantize/weights-only/quantized-rows.ts';
import { rtnRows } from '../../../../src/passes/quantize/weights-only/rtn.ts';

const Golden = z.object({
  cases: z.array(
    z.object({ values: z.array(z.number()), kQuantError: z.number(), hqqScale: z.number(), hqqZero: z.number() }),
  ),
});
// ONNX Runtime's own k-quant and HQQ: see make_search_golden.py beside it.
const golden = Golden.parse(JSON.parse(readFileSync('test/golden/quantize/search.json', 'utf8')));

const view = blocksAlong([1, 32], 1, 32);

function errorOf(values: Float32Array, quantized: QuantizedRows, weigh: (value: number) => number): number {
  const restored = dequantizeRows(quantized, view);
  return values.reduce((sum, value, i) => sum + weigh(value) * (value - (restored[i] ?? 0)) ** 2, 0);
}

function kQuantWeight(values: Float32Array): (value: number) => number {
  const rms = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  return (value) => rms + Math.abs(value);
}

describe('k-quant', () => {
  it('loses no more than the k-quant of ONNX Runtime, by that one’s measure', () => {
    for (const { values, kQuantError } of golden.cases) {
      const block = Float32Array.from(values);
      const error = errorOf(block, searchedRows(block, view, { bits: 4, symmetric: false }), kQuantWeight(block));
      assert.ok(error <= kQuantError * (1 + 1e-5), `${error} against ${kQuantError}`);
    }
  });

  it('never loses more than rounding to nearest, whatever the block, the width and the importance', () => {
    const value = fc.float({ min: -10, max: 10, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 32, maxLength: 32 }),
        fc.array(fc.double({ min: 0.01, max: 10, noNaN: true }), { minLength: 32, maxLength: 32 }),
        fc.constantFrom(8, 4, 2),
        fc.boolean(),
        (values, weights, bits, symmetric) => {
          const block = Float32Array.from(values);
          const importance = Float64Array.from(weights);
          const scheme = { bits: bits, symmetric };
          const weighted = (quantized: QuantizedRows): number => {
            const restored = dequantizeRows(quantized, view);
            return block.reduce((sum, x, i) => sum + (importance[i] ?? 0) * (x - (restored[i] ?? 0)) ** 2, 0);
          };
          const searched = weighted(searchedRows(block, view, scheme, importance));
          const plain = weighted(rtnRows(block, view, scheme));
          // Scales are float32, and values near a half may round to either side: 1e-4 of the error.
          assert.ok(searched <= plain * (1 + 1e-4) + 1e-9, `${searched} against ${plain}`);
        },
      ),
    );
  });

  it('keeps a block of zeros at zero', () => {
    for (const symmetric of [true, false]) {
      const quantized = searchedRows(new Float32Array(32), view, { bits: 4, symmetric });
      assert.deepEqual(dequantizeRows(quantized, view), new Float32Array(32));
    }
  });
});

describe('HQQ', () => {
  it('finds the zeros that the authors’ code finds, at the same scale', () => {
    for (const { values, hqqScale, hqqZero } of golden.cases) {
      const block = Float32Array.from(values);
      const { scales, zeros } = hqqRows(block, view, { bits: 4 }, true);
      assert.ok(Math.abs((scales[0] ?? 0) / hqqScale - 1) < 1e-5);
      assert.ok(Math.abs((zeros[0] ?? 0) - hqqZero) < 0.1, `zero ${zeros[0] ?? ''}, there ${hqqZero}`);
    }
  });

  it('stores codes as zeros where the format has no others', () => {
    const block = Float32Array.from(golden.cases[0]?.values ?? []);
    const { zeros } = hqqRows(block, view, { bits: 4 }, false);
    assert.ok(Number.isInteger(zeros[0]));
  });

  it('survives blocks of one value', () => {
    for (const value of [0, 1, -3, 1e-30]) {
      const block = new Float32Array(32).fill(value);
      const restored = dequantizeRows(hqqRows(block, view, { bits: 4 }, true), view);
      restored.forEach((found) =>
        assert.ok(Math.abs(found - value) <= Math.abs(value) * 1e-3, `${found} for ${value}`),
      );
    }
  });
});
