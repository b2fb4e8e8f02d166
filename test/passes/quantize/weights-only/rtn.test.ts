import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { blocksAlong } from '../../../../src/passes/quantize/weights-only/block-view.ts';
import { dequantizeRows, type Bits } from '../../../../src/passes/quantize/weights-only/quantized-rows.ts';
import { RowReader } from '../../../../src/passes/quantize/weights-only/read-rows.ts';
import { rtnRows } from '../../../../src/passes/quantize/weights-only/rtn.ts';
import { NBitsStore } from '../../../../src/passes/quantize/weights-only/stored-codes.ts';

const numbers = z.array(z.number());
const Golden = z.object({
  cases: z.array(
    z.object({
      k: z.number(),
      n: z.number(),
      bits: z.union([z.literal(8), z.literal(4), z.literal(2)]),
      blockSize: z.number(),
      symmetric: z.boolean(),
      weight: numbers,
      codes: numbers,
      scales: numbers,
      zeroPoints: numbers.nullable(),
      x: numbers,
      y: numbers,
    }),
  ),
});

// Made by ONNX Runtime's quantizer and kernel: see make_nbits_golden.py beside it.
const golden = Golden.parse(JSON.parse(readFileSync('test/golden/quantize/nbits.json', 'utf8')));

describe('round to nearest in the layout of MatMulNBits', () => {
  for (const { k, n, bits, blockSize, symmetric, ...expected } of golden.cases) {
    it(`gives ONNX Runtime's bytes: [${k}, ${n}], ${bits} bits, ${symmetric ? '' : 'a'}symmetric`, () => {
      const scheme = { bits, symmetric };
      const view = blocksAlong([k, n], 0, blockSize);
      const rows = new RowReader(Tensor.float('w', expected.weight, [k, n]), view).read(0, n);
      const quantized = rtnRows(rows, view, scheme);
      const store = new NBitsStore({ view, scheme, floatZeros: false, spool: undefined });
      store.add(quantized);
      const { codes, scales, zeroPoints } = store.finish('w');
      // A block of zeros has scale -0 there, 0 here.
      assert.deepEqual(
        scales.floats(),
        Float32Array.from(expected.scales, (scale) => scale + 0),
      );
      // What fills up a byte of zero points, or a block behind the end of a row, is nobody's business: it multiplies nothing.
      const blocks = { k: Math.ceil(k / blockSize), bits, blockSize: 8 / bits };
      assert.deepEqual(
        zeroPoints && used(zeroPoints.bytes(), blocks),
        expected.zeroPoints === null ? undefined : used(Uint8Array.from(expected.zeroPoints), blocks),
      );
      assert.deepEqual(
        used(codes.bytes(), { k, bits, blockSize }),
        used(Uint8Array.from(expected.codes), { k, bits, blockSize }),
      );

      const weights = dequantizeRows(quantized, view);
      const y = expected.y.map((_, at) => {
        const [sample, column] = [Math.floor(at / n), at % n];
        let sum = 0;
        for (let i = 0; i < k; i += 1) sum += (expected.x[sample * k + i] ?? 0) * (weights[column * k + i] ?? 0);
        return sum;
      });
      // float32 sums of 40 products of about 1.
      y.forEach((value, at) => assert.ok(Math.abs(value - (expected.y[at] ?? 0)) < 1e-5));
    });
  }

  it('maps the value farthest from zero to code 0 when symmetric, so a scale is negative where that value is positive', () => {
    const view = blocksAlong([1, 16], 1, 16);
    const values = Float32Array.from({ length: 16 }, (_, i) => i / 15);
    const { scales, codes, zeros } = rtnRows(values, view, { bits: 4, symmetric: true });
    assert.deepEqual([scales[0], codes[15], codes[0], zeros[0]], [-0.125, 0, 8, 8]);
  });

  it('keeps a block of denormal numbers at zero instead of dividing by nothing', () => {
    const view = blocksAlong([1, 16], 1, 16);
    for (const symmetric of [true, false]) {
      const quantized = rtnRows(new Float32Array(16).fill(1e-44), view, { bits: 4, symmetric });
      assert.deepEqual(dequantizeRows(quantized, view), new Float32Array(16));
    }
  });
});

/** The codes of real weights. */
function used(bytes: Uint8Array, { k, bits, blockSize }: { k: number; bits: Bits; blockSize: number }): number[] {
  const padded = Math.ceil(k / blockSize) * blockSize;
  const perByte = 8 / bits;
  const codes: number[] = [];
  for (let i = 0; i < bytes.length * perByte; i += 1) {
    if (i % padded < k) codes.push(((bytes[Math.floor(i / perByte)] ?? 0) >> (bits * (i % perByte))) & (2 ** bits - 1));
  }
  return codes;
}
