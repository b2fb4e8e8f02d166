import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defined } from '../../../src/errors.ts';
import { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import { elementCount } from '../../../src/onnx/nd-array.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { differentiate } from '../../../src/training/differentiate.ts';
import { fakeQuantizeFunction } from '../../../src/training/quantizers/fake-quantize.ts';
import { declareFunctions } from '../../../src/training/quantizers/marked-function.ts';
import { writeQuantizer, type Quantizer } from '../../../src/training/quantizers/quantizer.ts';
import { StaticTypes } from '../../../src/training/static-types.ts';
import { runtime } from './check-gradient.ts';

interface Result {
  readonly y: readonly number[];
  readonly dX: readonly number[];
  /** By parameter, in the order the quantizer has them. */
  readonly own: readonly (readonly number[])[];
}

/** The quantizer on `values`, and gradients of sum(1..n . Y). */
async function quantized(values: readonly number[], shape: readonly number[], quantizer: Quantizer): Promise<Result> {
  const b = new GraphBuilder('case');
  const x = b.input('x', 'float', shape);
  const model = b.model(21, { 'com.microsoft': 1 });
  declareFunctions(model, [fakeQuantizeFunction]);
  const { value, parameters } = writeQuantizer(b, x, quantizer, 1);
  const types = new StaticTypes(model);
  const ramp = Array.from(values, (_, i) => i + 1);
  const dY = b.initializer(Tensor.float('dY', ramp, shape));
  const wrt = [x, ...parameters.map(({ name }) => name)];
  const gradients = differentiate(b, { loss: [{ of: value, gradient: dY }], wrt, types });
  b.output(value, 'y', 'float', shape);
  wrt.forEach((name, i) => b.output(defined(gradients.get(name), name), `d${i}`, 'float', types.shape(name)));
  const session = await runtime.createSession(model, { threads: 1 });
  const results = await session.run({ x: { type: 'float', dims: shape, data: Float32Array.from(values) } });
  await session.release();
  const floats = (name: string): number[] => Array.from(defined(results.get(name), name).data as Float32Array);
  return { y: floats('y'), dX: floats('d0'), own: parameters.map((_, i) => floats(`d${i + 1}`)) };
}

function close(actual: readonly number[], expected: readonly number[]): void {
  assert.equal(actual.length, expected.length);
  // Float32, sums of eight terms of up to 30: 1e-5.
  actual.forEach((value, i) => {
    assert.ok(Math.abs(value - (expected[i] ?? NaN)) < 2e-5, `${actual.join()} / ${expected.join()}`);
  });
}

const quantizer = (given: Partial<Quantizer>): Quantizer => ({
  name: 'q',
  kind: 'lsq',
  range: [-4, 3],
  zeroPoint: 0,
  scales: Float32Array.of(0.5),
  dims: [],
  ...given,
});

const VALUES = [1.3, -0.7, 0.26, -2.6, 0.9, 3.1, 0.05, -1.15];

/** Reference values: PyTorch 2, with the straight-through rounding of zhutmost/lsq-net and the PACT function of its authors. */
describe('FakeQuantize', () => {
  it("has LSQ's gradients", async () => {
    const { y, dX, own } = await quantized(VALUES, [8], quantizer({}));
    close(y, [1.5, -0.5, 0.5, -2, 1, 1.5, 0, -1]);
    close(dX, [1, 2, 3, 0, 5, 0, 7, 8]);
    close(defined(own[0], 'ds'), [7.34]);
  });

  it('gives the scale 0.4 for v = 1.3, s = 0.5, Qn = 4, Qp = 3', async () => {
    const { own } = await quantized([1.3], [1], quantizer({}));
    close(defined(own[0], 'ds'), [0.4]);
  });

  it('has a scale a channel', async () => {
    const { y, dX, own } = await quantized(
      [0.31, -1.4, 0.8, 2.2, -0.05, 0.61],
      [2, 3],
      quantizer({ range: [-2, 1], scales: Float32Array.of(0.4, 0.7), dims: [2, 1] }),
    );
    close(y, [0.4, -0.8, 0.4, 0.7, 0, 0.7]);
    close(dX, [1, 0, 0, 0, 5, 6]);
    close(defined(own[0], 'ds'), [-0.775, 5.128571]);
  });

  it("moves its zero point by what lies outside, as LSQ+'s offset", async () => {
    const { y, dX, own } = await quantized(VALUES, [8], quantizer({ kind: 'lsq+', range: [0, 7], zeroPoint: 2.3 }));
    close(y, [1.5, -0.5, 0.5, -1, 1, 2.5, 0, -1]);
    close(dX, [1, 2, 3, 0, 5, 0, 7, 0]);
    close(defined(own[0], 'ds'), [8.94]);
    close(defined(own[1], 'dz'), [-9]);
  });

  it("gives PACT's clipping level what lies above it", async () => {
    const { y, dX, own } = await quantized(
      [1.3, -0.7, 0.26, 2.6, 0.9, 3.1, 0.05, 2.01],
      [8],
      quantizer({ kind: 'pact', range: [0, 7], scales: Float32Array.of(2 / 7) }),
    );
    close(y, [1.428571, 0, 0.2857143, 2, 0.8571429, 2, 0, 2]);
    close(own[0] ?? [], [18]);
    close(dX, [1, 0, 3, 0, 5, 0, 7, 0]);
  });

  it('divides gradients of scales by the root of elements times the largest code', () => {
    const b = new GraphBuilder('case');
    const { parameters } = writeQuantizer(b, b.input('x', 'float', [2, 6]), quantizer({}), 12);
    assert.deepEqual(
      parameters.map(({ gradientScale }) => gradientScale),
      [1 / Math.sqrt(12 * 3)],
    );
  });

  it('takes the largest magnitude of each channel where the scale is not trained', async () => {
    const values = [0.31, -1.4, 0.8, 2.2, -0.05, 0.61];
    const max = quantizer({ kind: 'max', range: [-7, 7], scales: Float32Array.of(1, 1), dims: [2, 1] });
    const { y, dX, own } = await quantized(values, [2, 3], max);
    close(y, [0.4, -1.4, 0.8, 2.2, 0, 2.2 * (2 / 7)]);
    close(dX, [1, 2, 3, 4, 5, 6]);
    assert.equal(own.length, 0);
    assert.equal(elementCount(max.dims), 2);
  });
});
