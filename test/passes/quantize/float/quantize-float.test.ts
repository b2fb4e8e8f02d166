import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { LARGEST, decodeTable, encodeFloats } from '../../../../src/numerics/float-formats.ts';
import { Graph } from '../../../../src/onnx/graph.ts';
import { makeNode } from '../../../../src/onnx/node.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { quantizeFloat } from '../../../../src/passes/quantize/float/quantize-float.ts';
import { apply, contextOf, net, noise, operators, outputOf, weight, type NetParts } from '../helpers.ts';

const numbers = z.array(z.number());
// PyTorch's rounding and ONNX Runtime's float8 scale: see make_float_golden.py beside it.
const golden = z
  .object({
    bits: numbers,
    float16: numbers,
    bfloat16: numbers,
    float8e4m3fn: numbers,
    float8ScaleOfUnitDeviation: z.number(),
  })
  .parse(JSON.parse(readFileSync('test/golden/quantize/floats.json', 'utf8')));
const context = contextOf();
const TYPES = ['float16', 'bfloat16', 'float8e4m3fn'] as const;

describe('narrow floats', () => {
  for (const type of TYPES) {
    it(`${type}: rounds as PyTorch does`, () => {
      const values = new Float32Array(Uint32Array.from(golden.bits).buffer);
      const codes = new Uint16Array(values.length);
      encodeFloats(values, type, codes);
      assert.deepEqual([...codes], golden[type]);
    });

    it(`${type}: every finite number comes back, and what is larger becomes the largest`, () => {
      const table = decodeTable(type);
      const finite = [...table.keys()].filter((code) => Number.isFinite(table[code]));
      const values = Float32Array.from(finite, (code) => table[code] ?? 0);
      const codes = new Uint16Array(values.length);
      encodeFloats(values, type, codes);
      assert.deepEqual([...codes], finite);
      assert.equal(Math.max(...values.slice(0, values.length / 2)), LARGEST[type]);
      encodeFloats(Float32Array.of(3.4e38, -3.4e38), type, codes);
      const largest = finite.filter((code) => table[code] === LARGEST[type]);
      const smallest = finite.filter((code) => table[code] === -LARGEST[type]);
      assert.deepEqual([...codes.subarray(0, 2)], [...largest, ...smallest]);
    });
  }
});

const parts: NetParts = {
  nodes: [
    makeNode('Conv', ['x', 'k', 'kb'], ['c'], { name: 'conv' }),
    makeNode('Flatten', ['c'], ['f']),
    makeNode('Gemm', ['f', 'w', 'b'], ['y'], { name: 'fc' }),
  ],
  tensors: [weight('k', [8, 4, 3, 3]), weight('kb', [8], 2), weight('w', [128, 100], 3), weight('b', [100], 4)],
  inputs: { x: [1, 4, 6, 6] },
  outputs: { y: [1, 100] },
};
const feeds = { x: { type: 'float' as const, dims: [1, 4, 6, 6], data: noise(144, 5) } };

describe('quantize.float', () => {
  // Relative rounding of 2^-11, 2^-8 and 2^-4 of each weight, averaged over products of a hundred.
  for (const [type, worst] of [
    ['float16', 1e-6],
    ['bfloat16', 1e-4],
    ['float8e4m3fn', 1e-2],
  ] as const) {
    it(`stores weights in ${type}; the outputs stay`, async () => {
      const model = net(parts);
      const before = await outputOf(model, feeds);
      const { changes, warnings, details } = await apply(quantizeFloat, model, { type }, context);
      verifyModel(model);
      const after = await outputOf(model, feeds);
      assert.equal(changes, type === 'float8e4m3fn' ? 2 : 3);
      const nodes = operators(model);
      assert.equal(nodes[type === 'float8e4m3fn' ? 'DequantizeLinear' : 'Cast'], changes);
      const error = before.reduce((sum, value, i) => sum + (value - (after[i] ?? 0)) ** 2, 0);
      const energy = before.reduce((sum, value) => sum + value ** 2, 0);
      assert.ok(error > 0 && error / energy < worst, `${error / energy}`);
      assert.match(warnings.at(-1) ?? '', /memory and speed are those of the float model/);
      const tensors = details['tensors'] as { error: number }[];
      assert.ok(tensors.every((tensor) => tensor.error > 0 && tensor.error < worst));
    });
  }

  it('scales float8 as ONNX Runtime does', async () => {
    const model = net(parts);
    const { details } = await apply(quantizeFloat, model, { type: 'float8e4m3fn' }, context);
    const [, fc] = details['tensors'] as { scale: number }[];
    const values = weight('w', [128, 100], 3).floats();
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
    assert.ok(Math.abs((fc?.scale ?? 0) / (deviation * golden.float8ScaleOfUnitDeviation) - 1) < 1e-5);
  });

  it('keeps what would become infinity or vanish, and says so', async () => {
    const large = weight('k', [8, 4, 3, 3])
      .floats()
      .map((value, i) => (i === 7 ? 1e5 : value));
    const small = weight('w', [128, 100], 3)
      .floats()
      .map((value) => value * 1e-7);
    const model = net(parts);
    model.graph.initializers.set('k', Tensor.float('k', large, [8, 4, 3, 3]));
    model.graph.initializers.set('w', Tensor.float('w', small, [128, 100]));
    const { changes, skipped } = await apply(quantizeFloat, model, { type: 'float16' }, context);
    assert.equal(changes, 1);
    const reasons = skipped.map(({ node, reason }) => `${node}: ${reason}`).sort();
    assert.match(reasons[0] ?? '', /conv: .*holds 100000, float16 ends at 65504/);
    assert.match(reasons[1] ?? '', /fc: .*too small for float16/);
  });

  it('clamps outliers in float8, and warns', async () => {
    const model = net(parts);
    const values = weight('w', [128, 100], 3)
      .floats()
      .map((value, i) => (i === 7 ? 2 : value));
    model.graph.initializers.set('w', Tensor.float('w', values, [128, 100]));
    const { warnings } = await apply(quantizeFloat, model, { type: 'float8e4m3fn' }, context);
    assert.match(warnings[0] ?? '', /weight "w": 1 of 12800 values lie beyond/);
  });

  it('reaches weights in subgraphs, leaves inputs, outputs and what is excluded alone', async () => {
    const branch = (name: string): Graph => {
      const graph = new Graph({
        name,
        nodes: [makeNode('MatMul', ['x', `${name}_w`], [`${name}_y`], { name: `${name}_product` })],
        outputs: [tensorValue(`${name}_y`, 'float', [3, 32])],
      });
      graph.initializers.set(`${name}_w`, weight(`${name}_w`, [64, 32]));
      return graph;
    };
    const model = net({
      nodes: [
        makeNode('If', ['which'], ['z'], {
          attributes: {
            then_branch: { kind: 'graph', value: branch('yes') },
            else_branch: { kind: 'graph', value: branch('no') },
          },
        }),
        makeNode('Add', ['z', 'bias'], ['s'], { name: 'sum' }),
        makeNode('Add', ['s', 'returned'], ['y']),
      ],
      tensors: [
        Tensor.fromArray('which', { type: 'bool', dims: [], data: Uint8Array.of(1) }),
        weight('bias', [3, 32], 7),
        weight('returned', [3, 32], 8),
      ],
      inputs: { x: [3, 64] },
      outputs: { y: [3, 32], returned: [3, 32] },
    });
    const { changes, skipped } = await apply(quantizeFloat, model, { exclude: ['sum'] }, context);
    verifyModel(model);
    assert.equal(changes, 2);
    assert.deepEqual(skipped.map(({ reason }) => reason).sort(), [
      'weight "bias" is excluded by the recipe',
      'weight "returned" is an input or output of a graph',
    ]);
    await outputOf(model, { x: { type: 'float', dims: [3, 64], data: noise(192) } });
  });
});
