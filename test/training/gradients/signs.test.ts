import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defined } from '../../../src/errors.ts';
import { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { differentiate } from '../../../src/training/differentiate.ts';
import { declareFunctions, TERSOR } from '../../../src/training/quantizers/marked-function.ts';
import {
  BINARIZE,
  PASSES,
  TERNARIZE,
  binarizeFunction,
  ternarizeFunction,
} from '../../../src/training/quantizers/signs.ts';
import { StaticTypes } from '../../../src/training/static-types.ts';
import { runtime } from './check-gradient.ts';

/** Y, and gradients of sum(1..n . Y), of a function on vectors and scalars. */
async function valuesOf(
  opType: string,
  passes: string,
  inputs: Readonly<Record<string, readonly number[] | number>>,
): Promise<Record<string, number[]>> {
  const b = new GraphBuilder('case');
  const names = Object.entries(inputs).map(([name, values]) =>
    b.initializer(
      Tensor.float(
        name,
        typeof values === 'number' ? [values] : values,
        typeof values === 'number' ? [] : [values.length],
      ),
    ),
  );
  const model = b.model(21, { 'com.microsoft': 1 });
  declareFunctions(model, [binarizeFunction, ternarizeFunction]);
  const y = b.op(opType, names, { domain: TERSOR, attributes: { [PASSES]: passes } });
  const types = new StaticTypes(model);
  const count = defined(types.shape(y)[0], 'size');
  const dY = b.initializer(
    Tensor.float(
      'dY',
      Array.from({ length: count }, (_, i) => i + 1),
    ),
  );
  const gradients = differentiate(b, { loss: [{ of: y, gradient: dY }], wrt: names, types });
  b.output(y, 'y', 'float', [count]);
  for (const [name, gradient] of gradients) b.output(gradient, `d_${name}`, 'float', types.shape(name));
  const session = await runtime.createSession(model, { threads: 1 });
  const results = await session.run({});
  await session.release();
  return Object.fromEntries([...results].map(([name, { data }]) => [name, Array.from(data as Float32Array)]));
}

function close(actual: readonly number[] | undefined, expected: readonly number[]): void {
  assert.equal(actual?.length, expected.length);
  expected.forEach((value, i) => {
    assert.ok(Math.abs(value - (actual[i] ?? NaN)) < 1e-5, `${actual.join()} / ${expected.join()}`);
  });
}

const X = [-1.5, -1, -0.25, 0, 0.5, 1.2];

describe('Binarize', () => {
  it('takes zero as positive', async () => {
    assert.deepEqual((await valuesOf(BINARIZE, 'all', { x: X }))['y'], [-1, -1, -1, 1, 1, 1]);
  });

  it('passes the gradient on, or where |x| <= 1', async () => {
    assert.deepEqual((await valuesOf(BINARIZE, 'all', { x: X }))['d_x'], [1, 2, 3, 4, 5, 6]);
    assert.deepEqual((await valuesOf(BINARIZE, 'window', { x: X }))['d_x'], [0, 2, 3, 4, 5, 0]);
  });

  it("has the slope of Bi-Real's parabolas (PyTorch's derivative of them)", async () => {
    close((await valuesOf(BINARIZE, 'polynomial', { x: X }))['d_x'], [0, 0, 4.5, 8, 5, 0]);
  });
});

/** Reference values: PyTorch on `p a - n b` with the masks a and b, and equation 8 of the TTQ paper for dX. */
describe('Ternarize', () => {
  const inputs = { x: [0.9, -0.8, 0.05, -0.02, 0.3, -0.4], t: 0.1, p: 0.7, n: 0.6 };

  it('replaces by place, and trains both magnitudes', async () => {
    const { y, d_x, d_p, d_n, d_t } = await valuesOf(TERNARIZE, 'scaled', inputs);
    close(y, [0.7, -0.6, 0, 0, 0.7, -0.6]);
    close(d_p, [6]);
    close(d_n, [-8]);
    close(d_x, [0.7, 1.2, 3, 4, 3.5, 3.6]);
    assert.equal(d_t, undefined);
  });

  it('passes the gradient on as it is, and none to magnitudes that follow from the weights', async () => {
    const { d_x, d_p } = await valuesOf(TERNARIZE, 'all', inputs);
    close(d_x, [1, 2, 3, 4, 5, 6]);
    assert.equal(d_p, undefined);
  });
});
