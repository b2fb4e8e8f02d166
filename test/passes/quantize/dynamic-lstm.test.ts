import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Graph } from '../../../src/onnx/graph.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode, type AttributeInit } from '../../../src/onnx/node.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import type { TargetCpu } from '../../../src/passes/pass.ts';
import { quantizeDynamic } from '../../../src/passes/quantize/dynamic.ts';
import { apply, contextOf, cosine, net, noise, operators, outputOf, runtime, weight } from './helpers.ts';

const [SEQUENCE, INPUTS, HIDDEN] = [3, 5, 6];
const x = { x: { type: 'float' as const, dims: [SEQUENCE, 1, INPUTS], data: noise(SEQUENCE * INPUTS, 50) } };
const on = (targetCpu: TargetCpu) => contextOf(undefined, { targetCpu });

function lstm(
  attributes: Readonly<Record<string, AttributeInit>>,
  inputs = ['x', 'W', 'R', 'B'],
  opType = 'LSTM',
): Model {
  const directions = attributes['direction'] === 'bidirectional' ? 2 : 1;
  const gates = opType === 'GRU' ? 3 : 4;
  return net({
    nodes: [
      makeNode(opType, inputs, ['y', 'y_h'], { name: 'cell', attributes: { hidden_size: HIDDEN, ...attributes } }),
    ],
    tensors: [
      weight('W', [directions, gates * HIDDEN, INPUTS], 1),
      weight('R', [directions, gates * HIDDEN, HIDDEN], 2),
      weight('B', [directions, 2 * gates * HIDDEN], 3),
    ],
    inputs: { x: [SEQUENCE, 1, INPUTS] },
    outputs: { y: [SEQUENCE, directions, 1, HIDDEN] },
  });
}

describe('quantize.dynamic of LSTM', () => {
  // The first direction of the first two steps, bidirectional: onnxruntime 1.32.0 (Python), quantize_dynamic of the same model with
  // weight_type QInt8, run by its own kernel.
  const golden = {
    true: [
      -0.03849284, -0.01392428, 0.1043423, -0.03823382, -0.03181269, 0.07006749, -0.1567052, -0.1400004, 0.1485567,
      -0.2434809, 0.1040735, 0.01040168,
    ],
    false: [
      -0.03888433, -0.01385842, 0.1042723, -0.03752365, -0.03201522, 0.06978273, -0.1568445, -0.1409538, 0.1485423,
      -0.2429288, 0.1033146, 0.009878917,
    ],
  };
  for (const perChannel of [true, false]) {
    it(`gives what ONNX Runtime's own quantizer gives, perChannel ${perChannel}`, async () => {
      const model = lstm({ direction: 'bidirectional' });
      const result = await apply(quantizeDynamic, model, { perChannel }, on('x64-vnni'));
      verifyModel(model);
      assert.equal(result.changes, 1);
      assert.deepEqual(operators(model), { DynamicQuantizeLSTM: 1 });
      assert.deepEqual(
        [...model.graph.initializers.values()].map(({ name, dataType, dims }) => [name, dataType, dims.join()]),
        [
          ['B', 'float', '2,48'],
          ['W_q', 'int8', '2,5,24'],
          ['W_s', 'float', perChannel ? '2,24' : '2'],
          ['W_z', 'int8', perChannel ? '2,24' : '2'],
          ['R_q', 'int8', '2,6,24'],
          ['R_s', 'float', perChannel ? '2,24' : '2'],
          ['R_z', 'int8', perChannel ? '2,24' : '2'],
        ],
      );
      const y = await outputOf(model, x);
      // The same codes; kernels of other CPUs may add floats in another order.
      golden[`${perChannel}`].forEach((value, i) => assert.ok(Math.abs((y[i] ?? NaN) - value) < 1e-5, `${i}: ${y[i]}`));
    });
  }

  for (const options of [{}, { weights: 'uint8' }, { perChannel: false }]) {
    it(`comes near the float model on any CPU with ${JSON.stringify(options)}`, async () => {
      const model = lstm({ direction: 'reverse' });
      const before = await outputOf(model, x);
      const result = await apply(quantizeDynamic, model, options, on('portable'));
      assert.ok(cosine(before, await outputOf(model, x)) > 0.999);
      assert.deepEqual((result.details['saturationRisk'] as { nodes: string[] }).nodes, []);
      assert.equal((result.details['layers'] as unknown[]).length, 2);
    });
  }

  it('keeps initial states, peepholes and attributes, and an absent bias absent', async () => {
    const model = net({
      nodes: [
        makeNode('LSTM', ['x', 'W', 'R', '', '', 'h', 'c', 'P'], ['', 'y', 'y_c'], {
          name: 'cell',
          attributes: { hidden_size: HIDDEN, clip: { float: 0.5 }, input_forget: 0 },
        }),
      ],
      tensors: [weight('W', [1, 24, INPUTS], 1), weight('R', [1, 24, HIDDEN], 2), weight('P', [1, 18], 5)],
      inputs: { x: [SEQUENCE, 1, INPUTS], h: [1, 1, HIDDEN], c: [1, 1, HIDDEN] },
      outputs: { y: [1, 1, HIDDEN] },
    });
    const state = (seed: number) => ({ type: 'float' as const, dims: [1, 1, HIDDEN], data: noise(HIDDEN, seed) });
    const feeds = { ...x, h: state(7), c: state(8) };
    const before = await outputOf(model, feeds);
    await apply(quantizeDynamic, model, {}, on('portable'));
    assert.equal(model.graph.nodes[0]?.float('clip', 0), 0.5);
    assert.ok(cosine(before, await outputOf(model, feeds)) > 0.999);
  });

  it('stores a weight of a branch in that branch, a shared one once, and keeps one that others read', async () => {
    const branch = (name: string): Graph =>
      new Graph({
        name,
        nodes: [
          makeNode('LSTM', ['x', 'W', `${name}_R`], [`${name}_y`], { name, attributes: { hidden_size: HIDDEN } }),
        ],
        outputs: [tensorValue(`${name}_y`, 'float', [SEQUENCE, 1, 1, HIDDEN])],
        initializers: new Map([[`${name}_R`, weight(`${name}_R`, [1, 24, HIDDEN], name.length)]]),
      });
    const model = net({
      nodes: [
        makeNode('If', ['which'], ['y'], {
          attributes: {
            then_branch: { kind: 'graph', value: branch('then') },
            else_branch: { kind: 'graph', value: branch('otherwise') },
          },
        }),
        makeNode('ReduceMax', ['W'], ['most'], { attributes: { keepdims: 0 } }),
      ],
      tensors: [weight('W', [1, 24, INPUTS], 1)],
      inputs: { x: [SEQUENCE, 1, INPUTS] },
      outputs: { y: [SEQUENCE, 1, 1, HIDDEN], most: [] },
    });
    model.graph.inputs.push(tensorValue('which', 'bool', []));
    const result = await apply(quantizeDynamic, model, {}, on('portable'));
    verifyModel(model);
    assert.equal(result.changes, 2);
    assert.deepEqual([...model.graph.initializers.keys()], ['W', 'W_q', 'W_s', 'W_z']);
    const [then] = model.graph.nodes[0]!.subgraphs();
    assert.deepEqual([...then!.initializers.keys()], ['then_R_q', 'then_R_s', 'then_R_z']);
    const session = await runtime.createSession(model, { threads: 1 });
    await session.run({ ...x, which: { type: 'bool', dims: [], data: Uint8Array.of(1) } });
    await session.release();
  });

  it('leaves what it cannot do, with the reason', async () => {
    const reasonOf = async (model: Model, options = {}): Promise<string> => {
      const result = await apply(quantizeDynamic, model, options, on('portable'));
      assert.equal(result.changes, 0);
      return result.skipped[0]?.reason ?? '';
    };
    const batchFirst = net({
      nodes: [makeNode('LSTM', ['x', 'W', 'R'], ['y'], { attributes: { hidden_size: HIDDEN, layout: 1 } })],
      tensors: [weight('W', [1, 24, INPUTS], 1), weight('R', [1, 24, HIDDEN], 2)],
      inputs: { x: [1, SEQUENCE, INPUTS] },
      outputs: { y: [1, SEQUENCE, 1, HIDDEN] },
    });
    assert.match(await reasonOf(batchFirst), /layout=1/);
    const computed = lstm({}, ['x', 'W', 'R2', 'B']);
    computed.graph.nodes.unshift(makeNode('Identity', ['R'], ['R2']));
    assert.match(await reasonOf(computed), /"R2" is not an initializer/);
    assert.match(await reasonOf(lstm({}), { exclude: ['LSTM'] }), /excluded/);
    assert.match(await reasonOf(lstm({}, undefined, 'GRU')), /quantize\.weights/);
  });
});
