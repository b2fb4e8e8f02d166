import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CompressionError } from '../../../src/errors.ts';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { Graph } from '../../../src/onnx/graph.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { makeCostTable } from '../../../src/passes/cost/kernel-cost-table.ts';
import { quantizeDynamic } from '../../../src/passes/quantize/dynamic.ts';
import { apply, contextOf, cosine, net, noise, operators, outputOf, weight, type NetParts } from './helpers.ts';

const context = contextOf();

async function check(parts: NetParts, options: unknown = {}) {
  const model = net(parts);
  const [[input, dims] = ['', []]] = Object.entries(parts.inputs);
  const sizes = dims.map(Number);
  const data = noise(
    sizes.reduce((product, size) => product * size, 1),
    50,
  );
  const feeds: Record<string, NdArray> = { [input]: { type: 'float', dims: sizes, data } };
  const before = await outputOf(model, feeds);
  const result = await apply(quantizeDynamic, model, options, context);
  verifyModel(model);
  return { model, result, cosine: cosine(before, await outputOf(model, feeds)) };
}

const matMul: NetParts = {
  nodes: [makeNode('MatMul', ['x', 'w'], ['y'], { name: 'product' })],
  tensors: [weight('w', [16, 8])],
  inputs: { x: [3, 16] },
  outputs: { y: [3, 8] },
};

describe('quantize.dynamic', () => {
  it('quantizes MatMul and drops the float weight', async () => {
    const { model, result, cosine: similarity } = await check(matMul);
    assert.equal(result.changes, 1);
    assert.deepEqual(operators(model), { DynamicQuantizeLinear: 1, MatMulInteger: 1, Cast: 1, Mul: 2 });
    assert.ok(!model.graph.initializers.has('w'));
    assert.ok(similarity > 0.999);
  });

  for (const options of [{ weights: 'uint8' }, { perChannel: false }, { weights: 'uint8', perChannel: false }]) {
    it(`runs with ${JSON.stringify(options)}`, async () => {
      const { cosine: similarity } = await check(matMul, options);
      assert.ok(similarity > 0.999);
    });
  }

  it('takes the last axis of a batch of matrices for the columns', async () => {
    const { model, cosine: similarity } = await check({
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'])],
      tensors: [weight('w', [2, 16, 8])],
      inputs: { x: [2, 3, 16] },
      outputs: { y: [2, 3, 8] },
    });
    const scales = [...model.graph.initializers.values()].filter(({ dataType }) => dataType === 'float');
    assert.deepEqual(
      scales.map(({ dims }) => dims),
      [[8]],
    );
    assert.ok(similarity > 0.999);
  });

  it('folds alpha, beta and transB of Gemm', async () => {
    const { result, cosine: similarity } = await check({
      nodes: [makeNode('Gemm', ['x', 'w', 'b'], ['y'], { attributes: { transB: 1, alpha: 0.5, beta: { float: 2 } } })],
      tensors: [weight('w', [8, 16]), weight('b', [8], 3)],
      inputs: { x: [3, 16] },
      outputs: { y: [3, 8] },
    });
    assert.equal(result.changes, 1);
    assert.ok(similarity > 0.999);
  });

  it('quantizes Conv with its bias, padding with real zero', async () => {
    const { model, cosine: similarity } = await check({
      nodes: [makeNode('Conv', ['x', 'w', 'b'], ['y'], { attributes: { pads: [1, 1, 1, 1] } })],
      tensors: [weight('w', [5, 3, 3, 3]), weight('b', [5], 3)],
      inputs: { x: [1, 3, 6, 6] },
      outputs: { y: [1, 5, 6, 6] },
    });
    assert.equal(operators(model)['ConvInteger'], 1);
    assert.ok(similarity > 0.999);
  });

  it('quantizes an input and a shared weight once', async () => {
    const { model } = await check({
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['a'], { name: 'a' }),
        makeNode('MatMul', ['x', 'w'], ['b'], { name: 'b' }),
        makeNode('Sub', ['a', 'b'], ['c']),
        makeNode('Add', ['c', 'a'], ['y']),
      ],
      tensors: [weight('w', [16, 8])],
      inputs: { x: [3, 16] },
      outputs: { y: [3, 8] },
    });
    assert.equal(operators(model)['DynamicQuantizeLinear'], 1);
    assert.equal([...model.graph.initializers.values()].filter(({ dataType }) => dataType === 'int8').length, 1);
  });

  it('visits subgraphs, and stores a weight where it was', async () => {
    const branch = (name: string): Graph => {
      const graph = new Graph({
        name,
        nodes: [makeNode('MatMul', ['x', `${name}_w`], [`${name}_y`], { name: `${name}_product` })],
        outputs: [tensorValue(`${name}_y`, 'float', [3, 8])],
      });
      graph.initializers.set(`${name}_w`, weight(`${name}_w`, [16, 8]));
      return graph;
    };
    const {
      model,
      result,
      cosine: similarity,
    } = await check({
      nodes: [
        makeNode('If', ['yes'], ['y'], {
          attributes: {
            then_branch: { kind: 'graph', value: branch('a') },
            else_branch: { kind: 'graph', value: branch('b') },
          },
        }),
      ],
      tensors: [Tensor.fromArray('yes', { type: 'bool', dims: [], data: Uint8Array.of(1) })],
      inputs: { x: [3, 16] },
      outputs: { y: [3, 8] },
    });
    assert.equal(result.changes, 2);
    assert.deepEqual([...model.graph.initializers.keys()], ['yes']);
    assert.ok(similarity > 0.999);
  });

  it('says why it leaves a node alone', async () => {
    const { result } = await check({
      nodes: [makeNode('Neg', ['w'], ['n']), makeNode('MatMul', ['x', 'n'], ['y'], { name: 'product' })],
      tensors: [weight('w', [16, 8])],
      inputs: { x: [3, 16] },
      outputs: { y: [3, 8] },
    });
    assert.equal(result.changes, 0);
    assert.deepEqual(result.skipped, [{ node: 'product', reason: 'weight "n" is not an initializer' }]);
  });

  it('says what to do for a recurrent operator that has no integer form', async () => {
    const model = net({
      nodes: [makeNode('RNN', ['x', 'w', 'r'], ['y'], { attributes: { hidden_size: 2 }, name: 'rnn' })],
      tensors: [weight('w', [1, 2, 3]), weight('r', [1, 2, 2])],
      inputs: { x: [4, 1, 3] },
      outputs: { y: [4, 1, 1, 2] },
    });
    const result = await apply(quantizeDynamic, model, {}, context);
    assert.match(result.skipped[0]?.reason ?? '', /no integer form of RNN; quantize\.weights with format qdq/);
  });

  it('leaves a weight alone that a caller may replace', async () => {
    const model = net({ ...matMul, inputs: { x: [3, 16], w: [16, 8] } });
    const bytes = encodeModel(model);
    const result = await apply(quantizeDynamic, model, {}, context);
    assert.match(result.skipped[0]!.reason, /also a graph input/);
    assert.equal(result.changes, 0);
    assert.deepEqual(encodeModel(model), bytes);
  });

  it('leaves a weight alone that is not finite', async () => {
    const model = net({ ...matMul, tensors: [Tensor.float('w', new Float32Array(128).fill(NaN), [16, 8])] });
    assert.match((await apply(quantizeDynamic, model, {}, context)).skipped[0]!.reason, /NaN/);
  });

  it('keeps a float weight that others read', async () => {
    const { model } = await check({
      ...matMul,
      nodes: [
        ...matMul.nodes.map((node) => makeNode('MatMul', node.inputs, ['m'])),
        makeNode('ReduceSum', ['w'], ['s']),
        makeNode('Add', ['m', 's'], ['y']),
      ],
    });
    assert.ok(model.graph.initializers.has('w'));
  });

  it('leaves excluded nodes alone, and refuses a glob that matches nothing', async () => {
    assert.equal((await check(matMul, { exclude: ['prod*'] })).result.changes, 0);
    await assert.rejects(
      apply(quantizeDynamic, net(matMul), { exclude: ['Conv'] }, context),
      (error) => error instanceof CompressionError && error.code === 'RECIPE_NO_MATCH',
    );
  });

  it('leaves in float what the kernel cost table finds slower', async () => {
    const entries = [{ kernel: 'dynamic-matmul' as const, shape: [8, 16, 3], work: 384, floatNs: 100, int8Ns: 200 }];
    const costTable = makeCostTable({ cpuKind: 'test', runtimeVersion: 'test', threads: 1, entries });
    const result = await apply(quantizeDynamic, net(matMul), {}, { ...context, costTable });
    assert.equal(result.changes, 0);
    assert.match(result.skipped[0]!.reason, /slower here .*kernel cost table/);
  });
});
