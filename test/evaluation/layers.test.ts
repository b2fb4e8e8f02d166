import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { matchLayers } from '../../src/evaluation/layer-match.ts';
import { perLayer } from '../../src/evaluation/per-layer.ts';
import type { Model } from '../../src/onnx/model.ts';
import type { Node } from '../../src/onnx/node.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { tensorValue } from '../../src/onnx/value-type.ts';
import { makeNode, model, rows, withContext } from './helpers.ts';

const uint8 = (name: string, value: number): Tensor =>
  Tensor.fromArray(name, { type: 'uint8', dims: [], data: Uint8Array.of(value) });

function net(nodes: Node[], initializers: Tensor[], width = 2): Model {
  return model({
    nodes,
    inputs: [tensorValue('x', 'float', ['n', 2])],
    outputs: [tensorValue('y', 'float', ['n', width])],
    initializers,
  });
}

const weight = Tensor.float('w', [1, -1, 0.5, 2], [2, 2]);
const second = Tensor.float('v', [1, 0, 0, 1], [2, 2]);
/** fc, Relu, fc2. */
const float = (): Model =>
  net(
    [
      makeNode('MatMul', ['x', 'w'], ['h'], { name: 'fc' }),
      makeNode('Relu', ['h'], ['r'], { name: 'act' }),
      makeNode('MatMul', ['r', 'v'], ['y'], { name: 'fc2' }),
    ],
    [weight, second],
  );

describe('matchLayers', () => {
  it('compares behind a Relu that a quantizer took over, known by its name', () => {
    const result = net(
      [
        makeNode('MatMul', ['x', 'w'], ['h_f'], { name: 'fc' }),
        makeNode('QuantizeLinear', ['h_f', 's', 'z'], ['h_q']),
        makeNode('DequantizeLinear', ['h_q', 's', 'z'], ['r']),
        makeNode('MatMul', ['r', 'v'], ['y'], { name: 'fc2' }),
      ],
      [weight, second, Tensor.float('s', [0.01], []), uint8('z', 0)],
    );
    const [pair] = matchLayers(float().graph, result.graph);
    assert.equal(pair?.output, 'r');
    assert.deepEqual(
      [pair.counterpart?.name, pair.counterpart?.quantized?.type, pair.counterpart?.quantized?.low],
      ['r', 'uint8', 0],
    );
    assert.equal(pair.resultWeight?.tensor.name, 'w');
  });

  it('compares behind a Relu that integer operators took over without a trace', () => {
    const result = net(
      [
        makeNode('QuantizeLinear', ['x', 's', 'z'], ['x_q']),
        makeNode('QLinearMatMul', ['x_q', 's', 'z', 'w_q', 's', 'z', 's2', 'z'], ['h_q'], { name: 'fc' }),
        makeNode('QLinearMatMul', ['h_q', 's2', 'z', 'v_q', 's', 'z', 's', 'z'], ['y_q'], { name: 'fc2' }),
        makeNode('DequantizeLinear', ['y_q', 's', 'z'], ['y']),
      ],
      [
        Tensor.float('s', [0.01], []),
        Tensor.float('s2', [0.02], []),
        uint8('z', 0),
        Tensor.fromArray('w_q', { type: 'uint8', dims: [2, 2], data: Uint8Array.of(100, 0, 50, 200) }),
        Tensor.fromArray('v_q', { type: 'uint8', dims: [2, 2], data: Uint8Array.of(100, 0, 0, 100) }),
      ],
    );
    const [pair, last] = matchLayers(float().graph, result.graph);
    assert.equal(pair?.output, 'r');
    assert.deepEqual(
      [pair.counterpart?.name, pair.counterpart?.quantized?.stored, pair.counterpart?.quantized?.scale],
      ['h_q', true, Math.fround(0.02)],
    );
    assert.equal(pair.resultWeight?.tensor.name, 'w_q');
    assert.deepEqual([last?.output, last?.counterpart?.name, last?.resultWeight?.tensor.name], ['y', 'y', 'v_q']);
  });

  it('stays before a Relu that the result still runs on the dequantized value', () => {
    const result = net(
      [
        makeNode('MatMul', ['x', 'w'], ['h'], { name: 'fc' }),
        makeNode('QuantizeLinear', ['h', 's', 'z'], ['h_q']),
        makeNode('DequantizeLinear', ['h_q', 's', 'z'], ['h_dq']),
        makeNode('Relu', ['h_dq'], ['r']),
        makeNode('MatMul', ['r', 'v'], ['y'], { name: 'fc2' }),
      ],
      [weight, second, Tensor.float('s', [0.01], []), uint8('z', 128)],
    );
    const [pair] = matchLayers(float().graph, result.graph);
    assert.deepEqual([pair?.output, pair?.counterpart?.name], ['h', 'h_dq']);
  });

  it('follows a folded normalization, and knows what it made of the weights', () => {
    const statistics = [
      Tensor.float('scale', [3, 1]),
      Tensor.float('shift', [1, 1]),
      Tensor.float('mean', [0, 0]),
      Tensor.float('var', [8.5, 0.5]),
    ];
    const names = statistics.map(({ name }) => name);
    const normalize = makeNode('BatchNormalization', ['h', ...names], ['y'], { attributes: { epsilon: 0.5 } });
    const before = net([makeNode('MatMul', ['x', 'w'], ['h'], { name: 'fc' }), normalize], [weight, ...statistics]);
    const after = net([makeNode('MatMul', ['x', 'w'], ['y'], { name: 'fc' })], [weight]);
    const [pair] = matchLayers(before.graph, after.graph);
    assert.deepEqual([pair?.output, pair?.sameWeights, pair?.resultWeight?.tensor.name], ['y', true, 'w']);
    assert.deepEqual([...(pair?.channelFactors ?? [])], [1, 1]); // 3 / sqrt(8.5 + 0.5), 1 / sqrt(0.5 + 0.5)
  });
});

describe('perLayer', () => {
  it('counts removed channels and says that shapes changed', async () => {
    const pruned = net(
      [
        makeNode('MatMul', ['x', 'w'], ['h'], { name: 'fc' }),
        makeNode('Relu', ['h'], ['r']),
        makeNode('MatMul', ['r', 'v'], ['y'], { name: 'fc2' }),
      ],
      [Tensor.float('w', [1, 0.5], [2, 1]), Tensor.float('v', [1, 0], [1, 2])],
    );
    await withContext(async ({ runtime }) => {
      const feeds = rows([
        [1, 2],
        [-1, 3],
      ]);
      const layers = await perLayer(runtime, { baseline: float(), result: pruned }, feeds, { threads: 1 });
      const [fc] = layers;
      assert.equal(fc?.weights?.removedChannels, 1);
      assert.match(fc.note ?? '', /shape changed from \[1, 2\] to \[1, 1\]/);
      assert.equal(fc.sqnrDb, undefined);
    });
  });

  it('gives the same with values fetched one by one', async () => {
    const noisy = net(
      [
        makeNode('MatMul', ['x', 'w'], ['h'], { name: 'fc' }),
        makeNode('Relu', ['h'], ['r']),
        makeNode('MatMul', ['r', 'v'], ['y'], { name: 'fc2' }),
      ],
      [Tensor.float('w', [1.01, -1, 0.5, 2], [2, 2]), second],
    );
    await withContext(async ({ runtime }) => {
      const feeds = rows([
        [1, 2],
        [-1, 3],
        [2, 0.5],
      ]);
      const models = { baseline: float(), result: noisy };
      const together = await perLayer(runtime, models, feeds, { threads: 1 });
      const apart = await perLayer(runtime, models, feeds, { threads: 1, groupBytes: 1 });
      assert.deepEqual(apart, together);
      // by hand: h = x w, so the error of h is 0.01 x0 in its first column; r cuts what is negative
      const x = [
        [1, 2],
        [-1, 3],
        [2, 0.5],
      ] as const;
      let signal = 0;
      let noise = 0;
      for (const [a, b] of x) {
        const [first, other] = [a + 0.5 * b, 2 * b - a];
        signal += Math.max(0, first) ** 2 + Math.max(0, other) ** 2;
        noise += (Math.max(0, first + 0.01 * a) - Math.max(0, first)) ** 2;
      }
      assert.ok(Math.abs((together[0]?.sqnrDb ?? 0) - 10 * Math.log10(signal / noise)) < 1e-3);
    });
  });
});
