import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { roundHalfEven } from '../../../src/numerics/round-half-even.ts';
import { quantizeStatic } from '../../../src/passes/quantize/static.ts';
import { saturationRisk, targetRules } from '../../../src/passes/quantize/target.ts';
import { channelLayout, quantizeWeight, weightParams, type WeightRange } from '../../../src/passes/quantize/weights.ts';
import { apply, contextOf, net, noise, runtime, source, weight } from './helpers.ts';

/** A 3x3 convolution of 8 channels to 4 on a 6x6 image without padding, in integers. */
const [CIN, COUT, SIZE, OUT] = [8, 4, 6, 4] as const;
const REDUCTION = CIN * 9;

/** How the CPU adds products: exactly (VNNI), or by pairs in int16 with saturation (VPMADDUBSW). */
type Adder = (products: readonly number[]) => number;
const exact: Adder = (products) => products.reduce((sum, product) => sum + product, 0);
const saturatingPairs: Adder = (products) => {
  let sum = 0;
  for (let k = 0; k < products.length; k += 2) {
    sum += Math.min(Math.max((products[k] ?? 0) + (products[k + 1] ?? 0), -32768), 32767);
  }
  return sum;
};

/** Accumulators of QLinearConv by definition; the zero point of x is taken away afterwards, as kernels do. */
function accumulate(x: Uint8Array, w: ArrayLike<number>, zeroPoint: number, add: Adder): Int32Array {
  const acc = new Int32Array(COUT * OUT * OUT);
  for (let o = 0; o < COUT; o += 1) {
    for (let row = 0; row < OUT; row += 1) {
      for (let column = 0; column < OUT; column += 1) {
        const products: number[] = [];
        let weights = 0;
        // Channel last: the order in which the kernels read, two neighbours make a pair.
        for (let tap = 0; tap < 9; tap += 1) {
          for (let c = 0; c < CIN; c += 1) {
            const code = w[(o * CIN + c) * 9 + tap] ?? 0;
            const at = (c * SIZE + row + Math.floor(tap / 3)) * SIZE + column + (tap % 3);
            products.push((x[at] ?? 0) * code);
            weights += code;
          }
        }
        acc[(o * OUT + row) * OUT + column] = add(products) - zeroPoint * weights;
      }
    }
  }
  return acc;
}

function weightsOf(range: WeightRange) {
  // All weights large and of one sign in half of the channels: the worst case for pairs.
  const values = noise(COUT * REDUCTION, 5).map((value, i) =>
    i < (COUT * REDUCTION) / 2 ? 1 - 0.1 * Math.abs(value) : value,
  );
  const layout = channelLayout([COUT, CIN, 3, 3], 0);
  return quantizeWeight(
    values,
    layout,
    'int8',
    weightParams(values, layout, { type: 'int8', symmetric: true, range, powerOfTwo: false }),
  );
}

const bright = Uint8Array.from({ length: CIN * SIZE * SIZE }, (_, i) => 255 - (i % 3));

describe('int8 on x64 without VNNI', () => {
  it('saturates with the full range of codes', () => {
    const { codes } = weightsOf('full');
    assert.notDeepEqual(accumulate(bright, codes, 0, saturatingPairs), accumulate(bright, codes, 0, exact));
  });

  it('is exact with pair-safe codes, for the brightest input', () => {
    const { codes } = weightsOf('pair-safe');
    assert.deepEqual(accumulate(bright, codes, 0, saturatingPairs), accumulate(bright, codes, 0, exact));
  });

  it('is exact in a quantized model, for any input', async () => {
    const model = net({
      nodes: [makeNode('Conv', ['x', 'w'], ['y'])],
      tensors: [weight('w', [COUT, CIN, 3, 3], 7)],
      inputs: { x: [1, CIN, SIZE, SIZE] },
      outputs: { y: [1, COUT, OUT, OUT] },
    });
    const { details } = await apply(quantizeStatic, model, {}, contextOf(source('x', [1, CIN, SIZE, SIZE])));
    assert.deepEqual(details['saturationRisk'], saturationRisk([]));
    const codes = [...model.graph.initializers.values()].find(
      ({ dataType, dims }) => dataType === 'int8' && dims.length === 4,
    )!;
    const extremes = [bright, new Uint8Array(bright.length), bright.map((_, i) => (i % 2) * 255)];
    for (const x of extremes) {
      assert.deepEqual(
        accumulate(x, codes.integers(), 128, saturatingPairs),
        accumulate(x, codes.integers(), 128, exact),
      );
    }
  });
});

describe('QLinearConv of ONNX Runtime', () => {
  it('is bit-equal to the integer definition', async () => {
    // Scales are powers of two but for one, so that the product of scales is the same in any order of multiplication.
    const { codes } = weightsOf('pair-safe');
    const [scaleX, scaleW, scaleY, zeroX, zeroY] = [1 / 64, 1 / 128, 0.75, 100, 90];
    const model = net({
      nodes: [makeNode('QLinearConv', ['x', 'sx', 'zx', 'w', 'sw', 'zw', 'sy', 'zy'], ['y'])],
      tensors: [
        Tensor.float('sx', [scaleX], []),
        Tensor.fromArray('zx', { type: 'uint8', dims: [], data: Uint8Array.of(zeroX) }),
        Tensor.fromArray('w', { type: 'int8', dims: [COUT, CIN, 3, 3], data: codes }),
        Tensor.float('sw', [scaleW], []),
        Tensor.fromArray('zw', { type: 'int8', dims: [], data: Int8Array.of(0) }),
        Tensor.float('sy', [scaleY], []),
        Tensor.fromArray('zy', { type: 'uint8', dims: [], data: Uint8Array.of(zeroY) }),
      ],
      inputs: {},
      outputs: {},
    });
    model.graph.inputs = [tensorValue('x', 'uint8', [1, CIN, SIZE, SIZE])];
    model.graph.outputs = [tensorValue('y', 'uint8', [1, COUT, OUT, OUT])];
    const x = Uint8Array.from(noise(CIN * SIZE * SIZE, 11), (value) => Math.floor((value + 1) * 127.99));
    const session = await runtime.createSession(model, { threads: 1 });
    const y = (await session.run({ x: { type: 'uint8', dims: [1, CIN, SIZE, SIZE], data: x } })).get('y')!.data;
    await session.release();
    const factor = Math.fround((scaleX * scaleW) / scaleY);
    const expected = Array.from(accumulate(x, codes, zeroX, exact), (acc) =>
      Math.min(Math.max(roundHalfEven(Math.fround(acc * factor)) + zeroY, 0), 255),
    );
    assert.deepEqual(Array.from(y as Uint8Array), expected);
  });
});

describe('targetRules', () => {
  const of = (targetCpu: Parameters<typeof targetRules>[0]['targetCpu'], ...flags: string[]) =>
    targetRules({ targetCpu, cpuFlags: new Set(flags) }).weightRange;

  it('hold weights to safe pairs unless the CPU is known to accumulate in int32', () => {
    assert.equal(of('portable', 'avx512_vnni'), 'pair-safe');
    assert.equal(of('x64-vnni'), 'full');
    assert.equal(of('arm64-dotprod'), 'full');
    assert.equal(of('this', 'avx2'), 'pair-safe');
    assert.equal(of('this', 'avx2', 'avx_vnni'), 'full');
    assert.equal(of('this', 'asimddp'), 'full');
  });
});
