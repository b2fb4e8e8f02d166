import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { roundHalfEven } from '../../../src/numerics/round-half-even.ts';
import { affineParams, powerOfTwoParams, quantizeValue } from '../../../src/passes/quantize/affine.ts';
import { QUANT_RANGE, SYMMETRIC_RANGE, type QuantRange } from '../../../src/passes/quantize/quant-type.ts';

describe('affineParams', () => {
  // Values of onnxruntime's quant_utils.compute_scale_zp for the range [-1, 3].
  const golden: readonly [name: string, range: QuantRange, symmetric: boolean, scale: number, zeroPoint: number][] = [
    ['uint8', QUANT_RANGE.uint8, false, 0.0156862745, 64],
    ['int8', QUANT_RANGE.int8, false, 0.0156862745, -64],
    ['int8 symmetric', SYMMETRIC_RANGE.int8, true, 0.0236220472, 0],
    ['uint8 symmetric', SYMMETRIC_RANGE.uint8, true, 0.0236220472, 127],
    ['int8 symmetric, 7 bits', [-64, 64], true, 0.046875, 0],
    ['uint8, 7 bits', [0, 127], false, 0.031496063, 32],
    ['int4 symmetric', [-8, 7], true, 0.4, 0],
    ['uint4', [0, 15], false, 0.2666666667, 4],
    ['uint16', QUANT_RANGE.uint16, false, 6.1036087586e-5, 16384],
  ];
  for (const [name, range, symmetric, scale, zeroPoint] of golden) {
    it(`${name}: scale ${scale}, zero point ${zeroPoint}`, () => {
      const params = affineParams(-1, 3, range, symmetric);
      // The scale is stored as float32: 2^-24 relative.
      assert.ok(Math.abs(params.scale / scale - 1) < 1e-7);
      assert.equal(params.zeroPoint, zeroPoint);
    });
  }

  it('puts zero of a symmetric uint8 range at 127, not 128', () => {
    assert.equal(affineParams(-5, 5, SYMMETRIC_RANGE.uint8, true).zeroPoint, 127);
  });

  it('gives scale 1 for a range that is a point', () => {
    assert.deepEqual(affineParams(0, 0, QUANT_RANGE.uint8, false), { scale: 1, zeroPoint: 0 });
    assert.deepEqual(affineParams(0, 1e-45, QUANT_RANGE.int8, false), { scale: 1, zeroPoint: 0 });
  });

  it('refuses what is no range', () => {
    assert.throws(() => affineParams(1, 0, QUANT_RANGE.int8, false), RangeError);
    assert.throws(() => affineParams(0, Infinity, QUANT_RANGE.int8, false), RangeError);
    assert.throws(() => affineParams(NaN, 1, QUANT_RANGE.int8, false), RangeError);
  });

  it('represents zero exactly and every value of the range to within one step', () => {
    const type = fc.constantFrom('int8', 'uint8', 'int16', 'uint16');
    const finite = fc.float({ min: -1e6, max: 1e6, noNaN: true });
    fc.assert(
      fc.property(
        type,
        fc.boolean(),
        finite,
        finite,
        fc.double({ min: 0, max: 1, noNaN: true }),
        (name, symmetric, a, b, t) => {
          const [min, max] = a < b ? [a, b] : [b, a];
          const range = symmetric ? SYMMETRIC_RANGE[name] : QUANT_RANGE[name];
          const params = affineParams(min, max, range, symmetric);
          assert.equal(quantizeValue(0, params, range), params.zeroPoint);
          const x = min + (max - min) * t;
          const back = (quantizeValue(x, params, range) - params.zeroPoint) * params.scale;
          // Half a step of rounding, at most half a step at the edges where the zero point was rounded, and float32.
          assert.ok(Math.abs(back - x) <= params.scale * 1.001 || params.scale === 1);
        },
      ),
    );
  });
});

describe('powerOfTwoParams', () => {
  it('gives a power of two that still covers the range', () => {
    const { scale, zeroPoint } = powerOfTwoParams(-1, 3, QUANT_RANGE.uint8, false);
    assert.equal(scale, 1 / 32);
    assert.equal(zeroPoint, 32);
    assert.ok((255 - zeroPoint) * scale >= 3);
  });
});

describe('roundHalfEven', () => {
  it('rounds as the ONNX specification says', () => {
    // 0.5, 1.5, 2.5, 3.5 give 0, 2, 2, 4 in ONNX Runtime.
    assert.deepEqual(
      [0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, 2.4, -2.6].map(roundHalfEven),
      [0, 2, 2, 4, 0, -2, -2, 2, -3],
    );
  });
});
