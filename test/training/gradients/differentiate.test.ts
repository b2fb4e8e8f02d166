import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CompressionError, defined } from '../../../src/errors.ts';
import { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import { elementCount, type NdArray } from '../../../src/onnx/nd-array.ts';
import { differentiate } from '../../../src/training/differentiate.ts';
import { GradientBuilder } from '../../../src/training/gradients/gradient-builder.ts';
import { StaticTypes } from '../../../src/training/static-types.ts';
import { checkGradient, runtime } from './check-gradient.ts';

describe('differentiate', () => {
  it('adds up what several readers of one value give', async () => {
    // y = x * tanh(x) + x, and x is read three times
    const { maxRelativeError } = await checkGradient({
      inputs: [{ shape: [3, 4] }],
      seed: 5,
      build: (b, [x = '']) => [b.op('Add', [b.op('Mul', [x, b.op('Tanh', [x])]), x])],
    });
    assert.ok(maxRelativeError < 1e-3, String(maxRelativeError));
  });

  it('adds a value that is read twice by one node', async () => {
    const { maxRelativeError } = await checkGradient({
      inputs: [{ shape: [4, 4] }],
      seed: 5,
      build: (b, [x = '']) => [b.op('MatMul', [x, x])],
    });
    assert.ok(maxRelativeError < 1e-3, String(maxRelativeError));
  });

  it('starts from a scalar loss with gradient 1', async () => {
    const b = new GraphBuilder('case');
    const x = b.input('x', 'float', [3]);
    const loss = b.op('ReduceSum', [b.op('Mul', [x, x])], { attributes: { keepdims: 0 } });
    const model = b.model(21);
    const gradients = differentiate(b, { loss, wrt: [x], types: new StaticTypes(model) });
    b.output(defined(gradients.get(x), 'gradient'), 'dx', 'float', [3]);
    const session = await runtime.createSession(model, { threads: 1 });
    const results = await session.run({ x: { type: 'float', dims: [3], data: Float32Array.of(1, -2, 5) } });
    assert.deepEqual(Array.from(results.get('dx')?.data as Float32Array), [2, -4, 10]);
    await session.release();
  });

  it('writes nothing for what nobody asks for, and leaves out what the loss does not depend on', () => {
    const b = new GraphBuilder('case');
    const [x, frozen, unread] = [b.input('x', 'float', [2]), b.input('w', 'float', [2]), b.input('u', 'float', [2])];
    b.op('Neg', [unread]);
    const product = b.op('Mul', [x, frozen]);
    const loss = b.op('ReduceSum', [product], { attributes: { keepdims: 0 } });
    const gradients = differentiate(b, { loss, wrt: [x, unread], types: new StaticTypes(b.model(21)) });
    assert.deepEqual([...gradients.keys()], [x]);
    // One Mul, dX; none for the frozen operand.
    assert.equal(b.graph.nodes.slice(3).filter(({ opType }) => opType === 'Mul').length, 1);
  });

  it('needs no rule for operators before the first trained value', () => {
    const b = new GraphBuilder('case');
    const [x, w] = [b.input('x', 'float', [2, 2]), b.input('w', 'float', [2, 2])];
    const loss = b.op('ReduceSum', [b.op('Mul', [b.op('Det', [b.op('Unsqueeze', [x, b.ints('axes', [0])])]), w])], {
      attributes: { keepdims: 0 },
    });
    const gradients = differentiate(b, { loss, wrt: [w], types: new StaticTypes(b.model(21)) });
    assert.ok(gradients.has(w));
  });

  it('names the node that has no rule, and says what to do', () => {
    const b = new GraphBuilder('case');
    const x = b.input('x', 'float', [1, 2, 2]);
    const loss = b.op('ReduceSum', [b.op('Det', [x], { name: 'odd_one' })], { attributes: { keepdims: 0 } });
    assert.throws(
      () => differentiate(b, { loss, wrt: [x], types: new StaticTypes(b.model(21)) }),
      (error: unknown) =>
        error instanceof CompressionError &&
        error.code === 'TRAIN_NO_GRADIENT' &&
        /Det "odd_one".*freeze/.test(error.message),
    );
  });

  it('ends at integers: what depends on a value through them only has no gradient', () => {
    const b = new GraphBuilder('case');
    const x = b.input('x', 'float', [4]);
    const index = b.op('ArgMax', [x]);
    const loss = b.op('ReduceSum', [b.op('Cast', [index], { attributes: { to: 1 } })], { attributes: { keepdims: 0 } });
    assert.equal(differentiate(b, { loss, wrt: [x], types: new StaticTypes(b.model(21)) }).size, 0);
  });

  it('asks for fixed sizes', () => {
    const b = new GraphBuilder('case');
    const [x, w] = [b.input('x', 'float', ['N', 2]), b.input('w', 'float', [2, 2])];
    const loss = b.op('ReduceSum', [b.op('MatMul', [x, w])], { attributes: { keepdims: 0 } });
    const model = b.model(21);
    assert.throws(
      () => differentiate(b, { loss, wrt: [w], types: new StaticTypes(model) }),
      (error: unknown) => error instanceof CompressionError && error.code === 'MODEL_UNSUPPORTED',
    );
    const types = new StaticTypes(model, { symbols: { N: 5 } });
    assert.ok(differentiate(b, { loss, wrt: [w], types }).has(w));
  });

  it('gives the same graph for the same calls', () => {
    const written = (): string => {
      const b = new GraphBuilder('case');
      const [x, w] = [b.input('x', 'float', [2, 3, 8, 8]), b.input('w', 'float', [4, 3, 3, 3])];
      const loss = b.op('ReduceSum', [b.op('Relu', [b.op('Conv', [x, w])])], { attributes: { keepdims: 0 } });
      differentiate(b, { loss, wrt: [x, w], types: new StaticTypes(b.model(21)) });
      return JSON.stringify(b.graph.nodes.map(({ opType, inputs, outputs }) => [opType, inputs, outputs]));
    };
    assert.equal(written(), written());
  });
});

describe('unbroadcast', () => {
  it('is the adjoint of Expand for every pair of shapes that broadcast', async () => {
    const pair = fc
      .array(fc.record({ size: fc.integer({ min: 1, max: 3 }), isOne: fc.boolean() }), { maxLength: 4 })
      .chain((axes) =>
        fc.record({
          full: fc.constant(axes.map(({ size }) => size)),
          small: fc
            .integer({ min: 0, max: axes.length })
            .map((lead) => axes.slice(lead).map(({ size, isOne }) => (isOne ? 1 : size))),
        }),
      );
    const counting = (dims: readonly number[]): NdArray => ({
      type: 'float',
      dims,
      data: Float32Array.from({ length: elementCount(dims) }, (_, index) => (index % 7) - 3),
    });
    await fc.assert(
      fc.asyncProperty(pair, async ({ full, small }) => {
        const b = new GraphBuilder('case');
        const [g, v] = [b.input('g', 'float', full), b.input('v', 'float', small)];
        const model = b.model(21, { 'com.microsoft': 1 });
        const types = new StaticTypes(model);
        const sum = new GradientBuilder(b, types).unbroadcast(g, small);
        assert.deepEqual(types.shape(sum), small);
        const scalar = { attributes: { keepdims: 0 } };
        const [left, right] = [
          b.op('ReduceSum', [b.op('Mul', [b.op('Expand', [v, b.ints('full', full)]), g])], scalar),
          b.op('ReduceSum', [b.op('Mul', [v, sum])], scalar),
        ];
        b.output(left, 'left', 'float', []);
        b.output(right, 'right', 'float', []);
        const session = await runtime.createSession(model, { threads: 1, optimization: 'disabled' });
        const results = await session.run({ g: counting(full), v: counting(small) });
        await session.release();
        // Small integers: float32 sums of them are exact.
        assert.deepEqual(results.get('left')?.data, results.get('right')?.data);
      }),
      { numRuns: 60, seed: 17 },
    );
  });
});
