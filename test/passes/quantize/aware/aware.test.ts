import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bindFeeds } from '../../../../src/data/bind-feeds.ts';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import { GraphBuilder } from '../../../../src/onnx/graph-builder.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { opsetOf } from '../../../../src/onnx/model.ts';
import type { NdArray } from '../../../../src/onnx/nd-array.ts';
import { isPackedType, unpackIntegers } from '../../../../src/onnx/packed-integers.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../../src/onnx/value-type.ts';
import { sortTopologically } from '../../../../src/onnx/verify/topological-order.ts';
import { calibrate } from '../../../../src/passes/calibrate.ts';
import { runStep, type StepOutcome } from '../../../../src/passes/pass-manager.ts';
import type { PassContext } from '../../../../src/passes/pass.ts';
import { quantizeAware } from '../../../../src/passes/quantize/aware/aware.ts';
import { planAware } from '../../../../src/passes/quantize/aware/aware-plan.ts';
import { exportAware, layerWeights } from '../../../../src/passes/quantize/aware/export-aware.ts';
import { insertQuantizers } from '../../../../src/passes/quantize/aware/insert-quantizers.ts';
import { AwareOptions } from '../../../../src/passes/quantize/aware/options.ts';
import { pointsOfAware, startQuantizers } from '../../../../src/passes/quantize/aware/start-quantizers.ts';
import {
  foldLayers,
  makeSlopesPositive,
  normalizedLayers,
} from '../../../../src/passes/quantize/trained/normalized-layers.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';
import { SIDE, stripes, teacherNet, trainingContext } from '../../distill/helpers.ts';
import { cosine, noise, optimizedOperators, outputOf } from '../helpers.ts';
import { withStatistics } from '../with-statistics.ts';

const DATA = stripes(96);
const training = { epochs: 2, batchSize: 16, learningRate: 0.02, validation: { fraction: 0.25 } };
const SHAPE = [8, 1, SIDE, SIDE];
const HALF = Float32Array.of(0.5);
const feeds: Record<string, NdArray> = { input: { type: 'float', dims: SHAPE, data: noise(8 * SIDE * SIDE, 9) } };

/** Codes of a constant, packed or not. */
function codesOf(tensor: Tensor): number[] {
  const { dataType, elementCount } = tensor;
  return isPackedType(dataType)
    ? [...unpackIntegers(dataType, tensor.bytes(), elementCount)]
    : tensor.integers().map(Number);
}

function contextOf(model: Model, changes: Partial<PassContext> = {}): PassContext {
  const context = trainingContext(model, DATA, changes);
  return {
    ...context,
    data: { ...context.data, calibration: bindFeeds(DATA, { role: 'calibration' }, model.graph.inputs) },
  };
}

const run = (model: Model, options: object, changes: Partial<PassContext> = {}): Promise<StepOutcome> =>
  runStep(model, { pass: quantizeAware, options: quantizeAware.options.parse(options) }, contextOf(model, changes));

/** The model with its quantizers as training has them, and the exported one, both from the quantizers' start. */
async function bothForms(model: Model, options: AwareOptions, isTrained: boolean): Promise<[Model, Model]> {
  const base = copyModel(model);
  if (options.batchNormalization === 'fold') foldLayers(base.graph, normalizedLayers(base.graph));
  makeSlopesPositive(base.graph, normalizedLayers(base.graph), 1e-5);
  const plan = planAware(base, options);
  const context = contextOf(base);
  const observations = await calibrate(base, pointsOfAware(plan), context.data.calibration!, context);
  const sources = layerWeights(base.graph, plan.layers, () => isTrained);
  const start = startQuantizers(plan, options, {
    observations,
    weightRange: 'full',
    values: new Map([...sources].map(([key, { values }]) => [key, values])),
  });
  const simulated = copyModel(isTrained ? base : plan.folded);
  simulated.graph.inputs = [tensorValue('input', 'float', SHAPE)];
  simulated.graph.valueInfos.clear();
  const { replaced } = insertQuantizers(new GraphBuilder(simulated.graph), simulated, plan, start);
  simulated.graph.outputs = simulated.graph.outputs.map(({ name }) => ({ name: replaced.get(name) ?? name }));
  sortTopologically(simulated.graph);
  const exported = exportAware(base, options, start, { values: new Map(), isTrained: () => isTrained });
  return [simulated, exported.model];
}

describe('quantize.aware', () => {
  for (const given of [
    { weights: 4, activations: 4 },
    { weights: 8, activations: 8 },
    { weights: 2, activations: 2, method: 'lsq+' },
    { weights: 3, activations: 4, method: 'pact', firstAndLast: 6 },
    { weights: 4, activations: 8, method: 'ste', perChannel: false },
    { weights: 4, activations: 4, storage: 'int8' },
    { weights: 4, activations: 4, batchNormalization: 'fold' },
    { weights: 2, activations: 2 },
    { weights: 2, activations: 2, levels: 'integers' },
    { weights: 2, activations: 2, perChannel: false, batchNormalization: 'fold' },
    { weights: 2, activations: 4, storage: 'int8' },
    { weights: 2, activations: 4, storage: 'int8', batchNormalization: 'fold' },
  ])
    for (const isTrained of [false, true])
      it(`exports what it trained: ${JSON.stringify(given)}, normalization ${isTrained ? 'behind' : 'in'} the weights`, async () => {
        const options = AwareOptions.parse(given);
        const [simulated, exported] = await bothForms(withStatistics(teacherNet()), options, isTrained);
        const expected = await outputOf(simulated, feeds);
        const largest = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
        for (const optimization of ['disabled', 'all'] as const) {
          const actual = await outputOf(exported, feeds, optimization);
          const worst = expected.reduce((max, value, i) => Math.max(max, Math.abs(value - (actual[i] ?? NaN))), 0);
          if (isTrained && options.batchNormalization === 'keep') {
            // Biases of int8 layers are rounded to steps of their products once training is over.
            assert.ok(cosine(expected, actual) > (options.storage === 'int8' ? 0.998 : 0.9999));
          } else assert.ok(worst <= 1e-6 * largest, `${optimization}: differs by ${worst} of ${largest}`);
        }
      });
});

describe('quantize.aware, trained', () => {
  it('lowers the loss, learns its scales, and writes packed integers that ONNX Runtime runs', async () => {
    const model = teacherNet();
    const before = copyModel(model);
    const result = await run(model, { weights: 4, activations: 4, training: { ...training, epochs: 4 } });
    const epochs = result.training?.[0]?.epochs ?? [];
    assert.ok((epochs.at(-1)?.parts?.['task'] ?? NaN) < (epochs[0]?.parts?.['task'] ?? 0), JSON.stringify(epochs));
    const stored = [...model.graph.initializers.values()].filter(({ dims }) => dims.length > 1);
    // Ten layers, the first and the last of them in 8 bits.
    assert.equal(stored.filter(({ dataType }) => dataType === 'int4').length, 8);
    assert.equal(model.graph.nodes.filter(({ opType }) => opType === 'BatchNormalization').length, 0);
    assert.ok(encodeModel(model).length < encodeModel(before).length);
    assert.equal(result.skipped.length, 0);
    const scores = await outputOf(model, feeds);
    assert.ok(scores.every(Number.isFinite) && scores.length === 8 * 3);
  });

  it('stores two bits as int2, in the opset that has them, or as bytes', async () => {
    const once = { ...training, epochs: 1 };
    const packed = teacherNet();
    await run(packed, { weights: 2, activations: 2, method: 'lsq+', training: once });
    assert.equal(opsetOf(packed), 25);
    assert.ok([...packed.graph.initializers.values()].some(({ dataType }) => dataType === 'int2'));
    const bytes = teacherNet();
    await run(bytes, {
      weights: 2,
      activations: 2,
      storage: 'int8',
      training: { ...once, batchNormalization: 'frozen' },
    });
    assert.ok(opsetOf(bytes) < 25);
    assert.ok(![...bytes.graph.initializers.values()].some(({ dataType }) => /int[24]$/.test(dataType)));
  });

  it('gives 2-bit weights four balanced levels, as bytes too, and integers where asked', async () => {
    const levelsOf = async (options: object): Promise<number[][]> => {
      const model = teacherNet();
      await run(model, { weights: 2, firstAndLast: 8, training: { ...training, epochs: 1 }, ...options });
      const constants = [...model.graph.initializers.values()];
      const type = 'storage' in options ? 'int8' : 'int2';
      const codes = constants.filter(({ dataType, dims }) => dataType === type && dims.length === 4);
      const steps = model.graph.nodes.filter(({ opType, inputs }) => opType === 'Add' && inputs[1] === 'offset');
      assert.equal(steps.length, 'storage' in options || 'levels' in options ? 0 : codes.length);
      assert.deepEqual(model.graph.initializers.get('offset')?.floats(), steps.length === 0 ? undefined : HALF);
      return codes.map((tensor) => [...new Set(codesOf(tensor))].sort((a, b) => a - b));
    };
    const packed = await levelsOf({});
    // Eight layers of two bits; codes of which half a step beside is what they stand for.
    assert.equal(packed.length, 8);
    for (const levels of packed) assert.deepEqual(levels, [-2, -1, 0, 1]);
    for (const levels of await levelsOf({ levels: 'integers' })) assert.ok(levels.includes(0));
    const bytes = await levelsOf({ storage: 'int8' });
    assert.equal(bytes.filter((levels) => levels.join() === '-3,-1,1,3').length, 8);
  });

  it('starts balanced levels at the step of least error for normal values', () => {
    // Box and Muller on a grid: normal values without chance. Max 1960, table I: 0.9957 deviations for four levels.
    const side = 256;
    const share = (i: number): number => (i + 0.5) / side;
    const normal = Float32Array.from(
      { length: side ** 2 },
      (_, i) => Math.sqrt(-2 * Math.log(share(Math.floor(i / side)))) * Math.cos(2 * Math.PI * share(i % side)),
    );
    const levelOf = (x: number): number => Math.min(Math.max(Math.round(x - 0.5), -2), 1) + 0.5;
    const error = (step: number): number => normal.reduce((sum, x) => sum + (x - step * levelOf(x / step)) ** 2, 0);
    for (const other of [0.96, 1.04]) assert.ok(error(0.9957) < error(other));
    const model = teacherNet();
    const options = AwareOptions.parse({ weights: 2 });
    const plan = planAware(model, options);
    const layer = plan.layers.find(({ weightBits }) => weightBits === 2)!;
    const { dims } = layer.unit.weight!.tensor;
    const [filters = 1, ...filter] = dims;
    const values = noise(
      dims.reduce((a, b) => a * b),
      3,
    ).map((x) => 3 * x);
    const { weights } = startQuantizers({ ...plan, layers: [layer], rootBits: new Map(), edges: [] }, options, {
      observations: undefined,
      weightRange: 'full',
      values: new Map([[layer.key, values]]),
    });
    const { scales = [], offset } = weights.get(layer.key) ?? {};
    assert.equal(offset, 0.5);
    const count = filter.reduce((a, b) => a * b);
    assert.equal(scales.length, filters);
    scales.forEach((scale, c) => {
      const own = values.slice(c * count, (c + 1) * count);
      const mean = own.reduce((a, b) => a + b) / count;
      const deviation = Math.sqrt(own.reduce((sum, x) => sum + (x - mean) ** 2, 0) / count);
      assert.ok(Math.abs(scale / deviation - 0.9957) < 1e-5);
    });
  });

  it('keeps the zeros of pruned weights, on levels that have one', async () => {
    const model = teacherNet();
    const pruned = [...model.graph.initializers.values()].filter(({ dims }) => dims.length === 4)[2]!;
    const values = pruned.floats().map((value, i) => (i % 2 === 0 ? 0 : value));
    model.graph.initializers.set(pruned.name, Tensor.float(pruned.name, values, pruned.dims));
    await run(model, { weights: 2, training: { ...training, epochs: 1 } });
    const codes = codesOf(
      [...model.graph.initializers.values()].find(({ name }) => name.startsWith(pruned.name) && name.endsWith('_q'))!,
    );
    assert.ok(codes.every((code, i) => i % 2 === 1 || code === 0));
    const offsets = model.graph.nodes.filter(({ inputs }) => inputs[1] === 'offset');
    assert.equal(offsets.length, 7);
  });

  it('runs on int8 kernels where bytes are stored, at few bits too', async () => {
    const model = teacherNet();
    const frozen = { ...training, epochs: 1, batchNormalization: 'frozen' };
    await run(model, { weights: 4, activations: 4, storage: 'int8', training: frozen });
    const fused = await optimizedOperators(model);
    // Nine convolutions and three sums; no Conv is left in float.
    assert.deepEqual([fused['QLinearConv'], fused['QLinearAdd'], fused['Conv']], [9, 3, undefined]);
  });

  it('holds the weights of int8 kernels to what int16 pairs add up, where the target asks for it', async () => {
    const model = teacherNet();
    await run(model, { weights: 8, activations: 8, training: { ...training, epochs: 1 } });
    const codes = [...model.graph.initializers.values()].filter(
      ({ dataType, dims }) => dataType === 'int8' && dims.length > 1,
    );
    assert.equal(codes.length, 10);
    for (const tensor of codes)
      assert.ok(
        tensor.integers().every((code) => Math.abs(code) <= 64),
        tensor.name,
      );
  });

  it('goes on from a snapshot to the same bytes', async () => {
    const options = { weights: 4, activations: 4, method: 'pact', training };
    const saved: Uint8Array[] = [];
    const save = (state: Uint8Array): Promise<void> => Promise.resolve(void saved.push(state));
    const whole = teacherNet();
    await run(whole, options, { checkpoint: { everySeconds: 0, load: () => Promise.resolve(undefined), save } });
    const resumed = teacherNet();
    const load = (): Promise<Uint8Array | undefined> => Promise.resolve(saved[3]);
    const result = await run(resumed, options, { checkpoint: { load, save: () => Promise.resolve() } });
    assert.equal(result.training?.[0]?.resumedAt.length, 1);
    assert.deepEqual(encodeModel(resumed), encodeModel(whole));
  });

  it('leaves excluded layers in float and says so; a glob that matches nothing fails', async () => {
    const model = teacherNet();
    const result = await run(model, { exclude: ['stage1*'], training: { ...training, epochs: 1 } });
    assert.ok(
      result.skipped.some(({ node, reason }) => node.startsWith('stage1') && reason === 'excluded by the recipe'),
    );
    assert.ok(
      [...model.graph.initializers.values()].some(({ dataType, dims }) => dataType === 'float' && dims.length === 4),
    );
    await assert.rejects(run(teacherNet(), { exclude: ['nothing*'], training }), { code: 'RECIPE_NO_MATCH' });
  });
});
