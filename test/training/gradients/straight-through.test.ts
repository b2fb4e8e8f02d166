import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defined } from '../../../src/errors.ts';
import { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { differentiate } from '../../../src/training/differentiate.ts';
import { StaticTypes } from '../../../src/training/static-types.ts';
import { runtime } from './check-gradient.ts';

/** Gradients of sum(1..n . Y) at the given values. */
async function gradientsOf(
  inputs: Readonly<Record<string, readonly number[]>>,
  build: (b: GraphBuilder) => string,
): Promise<Record<string, number[]>> {
  const b = new GraphBuilder('case');
  for (const [name, values] of Object.entries(inputs)) b.input(name, 'float', [values.length]);
  const model = b.model(21);
  model.opsetImports.set('com.microsoft', 1);
  const y = build(b);
  const types = new StaticTypes(model);
  const dY = b.input('dY', 'float', types.shape(y));
  const wrt = Object.keys(inputs);
  const gradients = differentiate(b, { loss: [{ of: y, gradient: dY }], wrt, types });
  for (const name of wrt) b.output(defined(gradients.get(name), name), `grad_${name}`, 'float', types.shape(name));
  const session = await runtime.createSession(model, { threads: 1 });
  const array = (values: readonly number[]): NdArray => ({
    type: 'float',
    dims: [values.length],
    data: Float32Array.from(values),
  });
  const feeds = Object.fromEntries(Object.entries(inputs).map(([name, values]) => [name, array(values)]));
  const count = types.shape(y)[0] ?? 0;
  const results = await session.run({ ...feeds, dY: array(Array.from({ length: count }, (_, index) => index + 1)) });
  await session.release();
  return Object.fromEntries(
    wrt.map((name) => {
      const data = defined(results.get(`grad_${name}`), name).data;
      assert.ok(data instanceof Float32Array);
      return [name, Array.from(data)];
    }),
  );
}

describe('straight-through gradients', () => {
  it('Sign lets pass where |x| <= 1, the bounds included', async () => {
    const { x } = await gradientsOf({ x: [-1.5, -1, -0.2, 0, 1, 1.01] }, (b) => b.op('Sign', ['x']));
    assert.deepEqual(x, [0, 2, 3, 4, 5, 0]);
  });

  for (const op of ['Round', 'Floor', 'Ceil']) {
    it(`${op} passes the gradient on`, async () => {
      const { x } = await gradientsOf({ x: [-1.5, 0.2, 7.9] }, (b) => b.op(op, ['x']));
      assert.deepEqual(x, [1, 2, 3]);
    });
  }

  /** uint8, scale 0.5, zero point 2: q = rne(x / 0.5) + 2 reaches 0..255 for x from -1.25 (q = rne(-2.5) + 2 = 0) to 126.5. */
  const quantized = (b: GraphBuilder, scale: string, middle: (q: string) => string = (q) => q): string => {
    const zero = b.array('zero_point', { type: 'uint8', dims: [], data: Uint8Array.of(2) });
    const q = b.op('QuantizeLinear', ['x', scale, zero]);
    return b.op('DequantizeLinear', [middle(q), scale, zero]);
  };

  it('QuantizeLinear and DequantizeLinear let pass what the range holds', async () => {
    const { x } = await gradientsOf({ x: [-1.3, -1.25, -1, 0, 126.5, 126.9] }, (b) =>
      quantized(b, b.float('scale', 0.5)),
    );
    assert.deepEqual(x, [0, 2, 3, 4, 5, 0]);
  });

  it('what stands between the pair carries the gradient too', async () => {
    const { x } = await gradientsOf({ x: [-9, 1, 2] }, (b) =>
      quantized(b, b.float('scale', 0.5), (q) => b.op('Reshape', [q, b.ints('shape', [-1])])),
    );
    assert.deepEqual(x, [0, 2, 3]);
  });

  it('a trained scale gets rne(x/s) - x/s within the range and the bound beyond it (LSQ, Esser et al. 2020, eq. 3)', async () => {
    // x/s = 0.6, 3.2, -20, 600: 1 * (1 - 0.6) + 2 * (3 - 3.2) + 3 * (-2) + 4 * 253 = 1006
    const { s } = await gradientsOf({ x: [0.3, 1.6, -10, 300], s: [0.5] }, (b) =>
      quantized(b, b.op('Reshape', ['s', b.ints('scalar', [])])),
    );
    assert.ok(Math.abs(defined(s?.[0], 'scale gradient') - 1006) < 1e-3, String(s));
  });

  it('quantization per channel has its own scale gradients', async () => {
    const b = new GraphBuilder('case');
    b.input('x', 'float', [2, 2]);
    b.input('s', 'float', [2]);
    const model = b.model(21, { 'com.microsoft': 1 });
    const zero = b.array('zero_point', { type: 'int8', dims: [2], data: new Int8Array(2) });
    const q = b.op('QuantizeLinear', ['x', 's', zero], { attributes: { axis: 0 } });
    const y = b.op('DequantizeLinear', [q, 's', zero], { attributes: { axis: 0 } });
    const types = new StaticTypes(model);
    const dY = b.array('dY', { type: 'float', dims: [2, 2], data: Float32Array.of(1, 2, 3, 4) });
    const gradients = differentiate(b, { loss: [{ of: y, gradient: dY }], wrt: ['s'], types });
    b.output(defined(gradients.get('s'), 's'), 'ds', 'float', [2]);
    const session = await runtime.createSession(model, { threads: 1 });
    const results = await session.run({
      x: { type: 'float', dims: [2, 2], data: Float32Array.of(0.25, 1, 100, -1000) },
      s: { type: 'float', dims: [2], data: Float32Array.of(1, 0.5) },
    });
    // Row 0: 1 (0 - 0.25) + 2 (1 - 1); row 1: 3 * 127 + 4 * (-128).
    assert.deepEqual(Array.from(results.get('ds')?.data as Float32Array), [-0.25, 3 * 127 - 4 * 128]);
    await session.release();
  });
});
