import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Graph } from '../../../../src/onnx/graph.ts';
import { opsetOf, type Model } from '../../../../src/onnx/model.ts';
import type { NdArray } from '../../../../src/onnx/nd-array.ts';
import { makeNode, type Node } from '../../../../src/onnx/node.ts';
import { isPackedType, unpackIntegers } from '../../../../src/onnx/packed-integers.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { upgradeOpset } from '../../../../src/onnx/upgrade/upgrade-opset.ts';
import { tensorValue } from '../../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { quantizeWeights } from '../../../../src/passes/quantize/weights-only/quantize-weights.ts';
import { apply, contextOf, cosine, net, noise, operators, outputOf, weight, type NetParts } from '../helpers.ts';

const context = contextOf();

/** Quantizes, and runs before and after in ONNX Runtime. */
async function check(parts: NetParts, options: object = {}, feeds = feedsOf(parts)) {
  const model = net(parts);
  const needed = 'bits' in options && options.bits === 2 ? 25 : 21;
  if (opsetOf(model) < needed) upgradeOpset(model, needed);
  const before = await outputOf(model, feeds);
  const result = await apply(quantizeWeights, model, options, context);
  verifyModel(model);
  return { model, result, before, cosine: cosine(before, await outputOf(model, feeds)) };
}

function feedsOf({ inputs }: NetParts): Record<string, NdArray> {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, dims]) => {
      const sizes = dims.map(Number);
      const count = sizes.reduce((product, size) => product * size, 1);
      return [name, { type: 'float', dims: sizes, data: noise(count, 50) }];
    }),
  );
}

function product(node: Node = makeNode('MatMul', ['x', 'w'], ['y'], { name: 'product' }), dims = [64, 8]): NetParts {
  return {
    nodes: [node],
    tensors: [weight('w', dims), weight('b', [8], 3)],
    inputs: { x: [3, 64] },
    outputs: { y: [3, 8] },
  };
}

/** What a blocked DequantizeLinear along the last axis makes, by its definition in ONNX. */
function decoded({ graph }: Model, name: string): Float32Array {
  const node = graph.nodes.find(({ outputs }) => outputs[0] === name)!;
  const [codes, scales, zeros] = node.inputs.map((input) => graph.initializers.get(input));
  assert.equal(node.int('axis', 1), codes!.dims.length - 1);
  const width = codes!.dims.at(-1)!;
  const blockSize = node.int('block_size', 0);
  const blocks = Math.ceil(width / blockSize);
  const integers = (tensor: Tensor): ArrayLike<number> =>
    isPackedType(tensor.dataType)
      ? unpackIntegers(tensor.dataType, tensor.bytes(), tensor.elementCount)
      : tensor.integers();
  const [code, zero] = [integers(codes!), zeros === undefined ? undefined : integers(zeros)];
  return Float32Array.from({ length: codes!.elementCount }, (_, i) => {
    const block = Math.floor(i / width) * blocks + Math.floor((i % width) / blockSize);
    return (code[i]! - (zero?.[block] ?? 0)) * scales!.floats()[block]!;
  });
}

/** Cosine of the outputs that so many bits keep at least; of 64 noisy products each. */
const KEPT = { 8: 0.9999, 4: 0.99, 2: 0.7 } as const;

describe('quantize.weights', () => {
  for (const format of ['matmulnbits', 'qdq'] as const) {
    for (const bits of [8, 4, 2] as const) {
      for (const symmetric of [false, true]) {
        for (const blockSize of [16, 32] as const) {
          const options = { format, bits, symmetric, blockSize };
          it(`MatMul with ${JSON.stringify(options)}`, async () => {
            const { model, result, cosine: similarity } = await check(product(), options);
            assert.equal(result.changes, 1);
            assert.deepEqual(
              operators(model),
              format === 'qdq' ? { DequantizeLinear: 1, MatMul: 1 } : { MatMulNBits: 1 },
            );
            assert.ok(!model.graph.initializers.has('w'));
            assert.ok(similarity > KEPT[bits], `cosine ${similarity}`);
          });
        }
      }
      it(`a row that ends within a block, ${format}, ${bits} bits`, async () => {
        const parts = { ...product(undefined, [40, 8]), inputs: { x: [3, 40] } };
        const { result, cosine: similarity } = await check(parts, { format, bits, blockSize: 16 });
        assert.equal(result.changes, 1);
        assert.ok(similarity > KEPT[bits], `cosine ${similarity}`);
      });
    }

    for (const transB of [0, 1]) {
      const dims = transB === 1 ? [8, 64] : [64, 8];
      for (const attributes of [{}, { alpha: 0.5, beta: { float: 2 } }, { alpha: { float: 2 } }]) {
        const name = `Gemm with transB ${transB} and ${JSON.stringify(attributes)}, ${format}`;
        it(name, async () => {
          const node = makeNode('Gemm', ['x', 'w', 'b'], ['y'], { attributes: { ...attributes, transB }, name: 'fc' });
          const { result, cosine: similarity } = await check(product(node, dims), { format });
          assert.equal(result.changes, 1);
          assert.ok(similarity > KEPT[4], `cosine ${similarity}`);
        });
      }
    }

    for (const bits of [8, 4] as const) {
      for (const symmetric of [true, false]) {
        it(`the rows of an embedding, ${format}, ${bits} bits, ${symmetric ? '' : 'a'}symmetric`, async () => {
          const parts = {
            nodes: [makeNode('Gather', ['table', 'x'], ['y'], { name: 'embed' })],
            tensors: [weight('table', [50, 48])],
            inputs: {},
            outputs: { y: [2, 3, 48] },
          };
          const model = net(parts);
          model.graph.inputs = [tensorValue('x', 'int64', [2, 3])];
          const feeds = {
            x: { type: 'int64', dims: [2, 3], data: BigInt64Array.from([0n, 7n, 49n, 3n, 3n, 21n]) },
          } as const;
          const before = await outputOf(model, feeds);
          const result = await apply(quantizeWeights, model, { format, bits, symmetric }, context);
          verifyModel(model);
          assert.equal(result.changes, 1);
          assert.deepEqual(
            operators(model),
            format === 'qdq' ? { DequantizeLinear: 1, Gather: 1 } : { GatherBlockQuantized: 1 },
          );
          const similarity = cosine(before, await outputOf(model, feeds));
          assert.ok(similarity > KEPT[bits], `cosine ${similarity}`);
        });
      }
    }
  }

  for (const options of [
    { accuracyLevel: 4 },
    { algorithm: 'k-quant' },
    { algorithm: 'k-quant', symmetric: true },
    { algorithm: 'hqq' },
    { algorithm: 'hqq', accuracyLevel: 4 },
    { algorithm: 'hqq', format: 'qdq' },
  ]) {
    it(`runs with ${JSON.stringify(options)}`, async () => {
      const { result, cosine: similarity } = await check(product(), options);
      assert.equal(result.changes, 1);
      assert.ok(similarity > KEPT[4], `cosine ${similarity}`);
    });
  }

  it('convolutions in qdq: blocks of input channels where there are enough, else a scale for each output', async () => {
    const {
      model,
      result,
      cosine: similarity,
    } = await check(
      {
        nodes: [
          makeNode('Conv', ['x', 'w1'], ['c'], { name: 'stem' }),
          makeNode('Conv', ['c', 'w2'], ['d'], { name: 'body' }),
          makeNode('ConvTranspose', ['d', 'w3'], ['y'], { name: 'up' }),
        ],
        tensors: [weight('w1', [32, 3, 3, 3]), weight('w2', [32, 32, 3, 3], 2), weight('w3', [32, 4, 2, 2], 3)],
        inputs: { x: [1, 3, 8, 8] },
        outputs: { y: [1, 4, 5, 5] },
      },
      { format: 'qdq' },
    );
    assert.equal(result.changes, 3);
    const scales = [...model.graph.initializers].filter(([name]) => name.endsWith('_scales'));
    assert.deepEqual(
      scales.map(([, { dims }]) => dims),
      [[32], [32, 1, 3, 3], [1, 4, 2, 2]],
    );
    assert.ok(similarity > 0.98, `cosine ${similarity}`);
  });

  it('both weights of a recurrent node in qdq', async () => {
    const { result, cosine: similarity } = await check(
      {
        nodes: [makeNode('LSTM', ['x', 'w', 'r'], ['y'], { attributes: { hidden_size: 32 }, name: 'lstm' })],
        tensors: [weight('w', [1, 128, 64]), weight('r', [1, 128, 32], 2)],
        inputs: { x: [5, 1, 64] },
        outputs: { y: [5, 1, 1, 32] },
      },
      { format: 'qdq' },
    );
    assert.equal(result.changes, 2);
    assert.ok(similarity > 0.99, `cosine ${similarity}`);
  });

  for (const [opType, gates] of [
    ['GRU', 3],
    ['RNN', 1],
  ] as const) {
    for (const options of [{ bits: 8 }, { bits: 4 }, { bits: 4, symmetric: true }] as const) {
      it(`${opType} in qdq computes with the values of the codes (${JSON.stringify(options)})`, async () => {
        const rows = 2 * gates * 32;
        // Anew each time: quantizing rewrites the nodes.
        const parts = (): NetParts => ({
          nodes: [
            makeNode(opType, ['x', 'w', 'r', 'b'], ['y'], {
              attributes: { hidden_size: 32, direction: 'bidirectional' },
              name: 'recurrent',
            }),
          ],
          tensors: [weight('w', [2, rows / 2, 64]), weight('r', [2, rows / 2, 32], 2), weight('b', [2, rows], 3)],
          inputs: { x: [5, 1, 64] },
          outputs: { y: [5, 2, 1, 32] },
        });
        const { model, result, cosine: similarity } = await check(parts(), { ...options, format: 'qdq' });
        assert.equal(result.changes, 2);
        assert.deepEqual(operators(model), { DequantizeLinear: 2, [opType]: 1 });
        assert.ok(similarity > KEPT[options.bits], `cosine ${similarity}`);
        const plain = net(parts());
        const names = model.graph.nodes.find(({ opType: type }) => type === opType)!.inputs;
        for (const [index, name] of [
          [1, 'w'],
          [2, 'r'],
        ] as const) {
          const tensor = plain.graph.initializers.get(name)!;
          const values = decoded(model, names[index]!);
          assert.notDeepEqual(values, tensor.floats());
          plain.graph.initializers.set(name, Tensor.float(name, values, tensor.dims));
        }
        const [a, b] = [await outputOf(plain, feedsOf(parts())), await outputOf(model, feedsOf(parts()))];
        // The same numbers; ONNX Runtime packs constant weights ahead, and adds the products of a GRU up in another order.
        const largest = a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
        assert.ok(largest < 1e-6, `off by ${largest}`);
      });
    }
  }

  it('says why it leaves a node alone', async () => {
    const { result } = await check(
      {
        nodes: [
          makeNode('Conv', ['x', 'k'], ['c'], { name: 'conv' }),
          makeNode('Reshape', ['c', 'shape'], ['m'], { name: 'reshape' }),
          makeNode('MatMul', ['m', 'shared'], ['a'], { name: 'a' }),
          makeNode('Add', ['shared', 'a'], ['b'], { name: 'sum' }),
          makeNode('MatMul', ['b', 'a'], ['d'], { name: 'dynamic' }),
          makeNode('MatMul', ['d', 'nan'], ['e'], { name: 'nan' }),
          makeNode('MatMul', ['e', 'other'], ['y'], { name: 'excluded' }),
        ],
        tensors: [
          weight('k', [4, 1, 1, 1]),
          Tensor.int64('shape', [16, 16]),
          weight('shared', [16, 16]),
          Tensor.float('nan', new Float32Array(256).fill(NaN), [16, 16]),
          weight('other', [16, 16]),
        ],
        inputs: { x: [1, 1, 8, 8] },
        outputs: { y: [16, 16] },
      },
      { exclude: ['excl*'], blockSize: 16 },
    );
    assert.equal(result.changes, 0);
    const reasons = Object.fromEntries(result.skipped.map(({ node, reason }) => [node, reason]));
    assert.deepEqual(Object.keys(reasons).sort(), ['a', 'conv', 'dynamic', 'excluded', 'nan']);
    assert.match(reasons['conv'] ?? '', /use format qdq/);
    assert.match(reasons['a'] ?? '', /also read by Add "sum", which stays in float/);
    assert.match(reasons['dynamic'] ?? '', /not an initializer/);
    assert.match(reasons['nan'] ?? '', /NaN/);
    assert.match(reasons['excluded'] ?? '', /excluded/);
  });

  it('stores a shared weight once', async () => {
    for (const format of ['matmulnbits', 'qdq']) {
      const {
        model,
        result,
        cosine: similarity,
      } = await check(
        {
          nodes: [
            makeNode('MatMul', ['x', 'w'], ['a'], { name: 'a' }),
            makeNode('MatMul', ['a', 'w'], ['y'], { name: 'b' }),
          ],
          tensors: [weight('w', [64, 64])],
          inputs: { x: [3, 64] },
          outputs: { y: [3, 64] },
        },
        { format },
      );
      assert.equal(result.changes, 1);
      assert.equal(model.graph.initializers.size, 3);
      assert.ok(similarity > 0.98, `cosine ${similarity}`);
    }
  });

  it('reaches weights in subgraphs and leaves them in the graph that holds them', async () => {
    const branch = (name: string): Graph => {
      const graph = new Graph({
        name,
        nodes: [
          makeNode('MatMul', ['x', 'outer'], [`${name}_a`], { name: `${name}_outer` }),
          makeNode('MatMul', [`${name}_a`, `${name}_w`], [`${name}_y`], { name: `${name}_inner` }),
        ],
        outputs: [tensorValue(`${name}_y`, 'float', [3, 8])],
      });
      graph.initializers.set(`${name}_w`, weight(`${name}_w`, [64, 8]));
      return graph;
    };
    for (const format of ['matmulnbits', 'qdq']) {
      const [yes, no] = [branch('yes'), branch('no')];
      const {
        model,
        result,
        cosine: similarity,
      } = await check(
        {
          nodes: [
            makeNode('If', ['which'], ['y'], {
              attributes: { then_branch: { kind: 'graph', value: yes }, else_branch: { kind: 'graph', value: no } },
            }),
          ],
          tensors: [
            weight('outer', [64, 64]),
            Tensor.fromArray('which', { type: 'bool', dims: [], data: Uint8Array.of(1) }),
          ],
          inputs: { x: [3, 64] },
          outputs: { y: [3, 8] },
        },
        { format },
      );
      assert.equal(result.changes, 3);
      assert.ok(model.graph.initializers.has('outer_q4'));
      assert.ok(yes.initializers.has('yes_w_q4') && no.initializers.has('no_w_q4'));
      assert.ok(similarity > 0.98, `cosine ${similarity}`);
    }
  });

  it('a weight that is a graph output, or that callers may replace, stays', async () => {
    const model: Model = net(product());
    model.graph.outputs.push(tensorValue('w', 'float', [64, 8]));
    const kept = await apply(quantizeWeights, model, {}, context);
    assert.match(kept.skipped[0]?.reason ?? '', /output of a graph/);
    model.graph.outputs.pop();
    model.graph.inputs.push(tensorValue('w', 'float', [64, 8]));
    const replaceable = await apply(quantizeWeights, model, {}, context);
    assert.match(replaceable.skipped[0]?.reason ?? '', /caller may replace/);
  });

  it('refuses what the opset has no types for', () => {
    const model = net(product());
    const requires = (options: object): string | undefined =>
      quantizeWeights.requires(model, quantizeWeights.options.parse(options));
    assert.equal(requires({ format: 'qdq' }), undefined);
    assert.match(requires({ format: 'qdq', bits: 2 }) ?? '', /needs opset 25, the model has 21; put .*canonicalize/);
    assert.equal(requires({ bits: 2 }), undefined);
    assert.match(requires({ algorithm: 'hqq', symmetric: true }) ?? '', /symmetric codes have none/);
  });
});
