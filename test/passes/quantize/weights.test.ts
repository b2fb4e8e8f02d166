import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  canSaturatePairs,
  channelLayout,
  quantizeWeight,
  weightParams,
  type WeightScheme,
} from '../../../src/passes/quantize/weights.ts';

const full: WeightScheme = { type: 'int8', symmetric: true, range: 'full', powerOfTwo: false };
const pairSafe: WeightScheme = { ...full, range: 'pair-safe' };

function quantize(values: readonly number[], dims: readonly number[], axis: number | undefined, scheme: WeightScheme) {
  const layout = channelLayout(dims, axis);
  const data = Float32Array.from(values);
  return quantizeWeight(data, layout, scheme.type, weightParams(data, layout, scheme));
}

describe('channelLayout', () => {
  it('takes the last axis of a batch of matrices for -1', () => {
    assert.deepEqual(channelLayout([2, 3, 4], -1), { outer: 6, channels: 4, inner: 1 });
    assert.deepEqual(channelLayout([2, 3, 4], 1), { outer: 2, channels: 3, inner: 4 });
    assert.deepEqual(channelLayout([2, 3, 4], undefined), { outer: 1, channels: 1, inner: 24 });
  });
});

describe('quantizeWeight', () => {
  it('uses all of int8 in each channel', () => {
    const { codes, scales } = quantize([1, -2, 0.5, 100, 50, -25], [2, 3], 0, full);
    assert.deepEqual([...codes], [64, -127, 32, 127, 64, -32]);
    assert.deepEqual([...scales], [Math.fround(2 / 127), Math.fround(100 / 127)]);
  });

  it('puts the zero of symmetric uint8 at 127', () => {
    const { codes, zeroPoints } = quantize([-1, 0, 1], [3], undefined, { ...full, type: 'uint8' });
    assert.deepEqual([...zeroPoints], [127]);
    assert.deepEqual([...codes], [0, 127, 254]);
  });

  it('gives a channel of zeros scale 1', () => {
    assert.deepEqual([...quantize([0, 0, 1, -1], [2, 2], 0, full).scales], [1, Math.fround(1 / 127)]);
  });
});

describe('pair-safe int8', () => {
  it('keeps all codes where only one weight is large', () => {
    const { codes } = quantize([127, 1, -1, 0], [4], undefined, pairSafe);
    assert.deepEqual([...codes], [127, 1, -1, 0]);
  });

  it('halves the codes where two weights of equal sign are large', () => {
    const { codes } = quantize([1, 1, -1, -1], [4], undefined, pairSafe);
    assert.deepEqual([...codes], [64, 64, -64, -64]);
  });

  it('never lets two products of uint8 and a channel leave int16, in any pairing', () => {
    const weight = fc.float({ min: -8, max: 8, noNaN: true });
    fc.assert(
      fc.property(fc.array(weight, { minLength: 1, maxLength: 24 }), fc.boolean(), (values, powerOfTwo) => {
        const { codes } = quantize(values, [values.length], undefined, { ...pairSafe, powerOfTwo });
        for (let i = 0; i < codes.length; i += 1) {
          for (let j = i + 1; j < codes.length; j += 1) {
            const sum = 255 * (codes[i] ?? 0) + 255 * (codes[j] ?? 0);
            assert.ok(sum <= 32767 && sum >= -32768, `${codes[i]} and ${codes[j]}`);
          }
        }
        assert.equal(canSaturatePairs(codes, channelLayout([values.length], undefined)), false);
      }),
    );
  });

  it('is never coarser than 7-bit weights by more than the rounding of a pair', () => {
    const weight = fc.float({ min: -8, max: 8, noNaN: true });
    fc.assert(
      fc.property(fc.array(weight, { minLength: 2, maxLength: 24 }), (values) => {
        const data = Float32Array.from(values);
        const layout = channelLayout([values.length], undefined);
        const [scale = 0] = weightParams(data, layout, pairSafe).scales;
        const sevenBit = Math.max(...values.map(Math.abs)) / 64;
        assert.ok(scale <= sevenBit * (1 + 1 / 64) || scale === 1);
      }),
    );
  });

  it('sees that full int8 can saturate', () => {
    const { codes } = quantize([1, 1, -1, -1], [4], undefined, full);
    assert.equal(canSaturatePairs(codes, channelLayout([4], undefined)), true);
  });
});
