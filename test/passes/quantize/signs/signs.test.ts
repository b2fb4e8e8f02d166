import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import { GraphBuilder } from '../../../../src/onnx/graph-builder.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import type { NdArray } from '../../../../src/onnx/nd-array.ts';
import { tensorValue } from '../../../../src/onnx/value-type.ts';
import { sortTopologically } from '../../../../src/onnx/verify/topological-order.ts';
import { constantRoles } from '../../../../src/evaluation/stored-weights.ts';
import { countParameters } from '../../../../src/evaluation/sizes.ts';
import { canonicalize } from '../../../../src/passes/canonicalize/canonicalize.ts';
import { runStep, type StepOutcome } from '../../../../src/passes/pass-manager.ts';
import type { Pass, PassContext } from '../../../../src/passes/pass.ts';
import { quantizeBinary } from '../../../../src/passes/quantize/signs/binary.ts';
import { exportSigns, signsOf } from '../../../../src/passes/quantize/signs/export-signs.ts';
import { insertSigns } from '../../../../src/passes/quantize/signs/insert-signs.ts';
import { BinaryOptions, TernaryOptions, type SignOptions } from '../../../../src/passes/quantize/signs/options.ts';
import { packBits } from '../../../../src/passes/quantize/signs/pack-bits.ts';
import { restructure } from '../../../../src/passes/quantize/signs/restructure.ts';
import { signLayers, type SignLayer } from '../../../../src/passes/quantize/signs/sign-layers.ts';
import { signWeights } from '../../../../src/passes/quantize/signs/sign-weights.ts';
import { quantizeTernary } from '../../../../src/passes/quantize/signs/ternary.ts';
import { foldLayers, normalizedLayers } from '../../../../src/passes/quantize/trained/normalized-layers.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';
import { SIDE, stripes, teacherNet, trainingContext } from '../../distill/helpers.ts';
import { noise, outputOf } from '../helpers.ts';
import { withStatistics } from '../with-statistics.ts';

const DATA = stripes(96);
const training = { epochs: 3, batchSize: 16, learningRate: 0.02, validation: { fraction: 0.25 } };
const SHAPE = [8, 1, SIDE, SIDE];
const feeds: Record<string, NdArray> = { input: { type: 'float', dims: SHAPE, data: noise(8 * SIDE * SIDE, 9) } };

const run = (pass: Pass, model: Model, options: object, changes: Partial<PassContext> = {}): Promise<StepOutcome> =>
  runStep(model, { pass, options: pass.options.parse(options) }, trainingContext(model, DATA, changes));

/** The model with its signs as training has them, and the exported one. */
function bothForms(given: Model, options: SignOptions, trains: boolean): [Model, Model] {
  const model = copyModel(given);
  const isTrained = () => trains;
  const { layers } = signLayers(model, options, isTrained);
  restructure(model, layers, options.method);
  const run = { layers, method: options.method, isTrained };
  const start = signsOf(model.graph, run, new Map());
  const simulated = copyModel(model);
  if (!trains) {
    // The fold gives filters new names; the training graph keeps theirs, and TTQ's parameters are named after them.
    foldLayers(simulated.graph, normalizedLayers(simulated.graph));
  }
  simulated.graph.inputs = [tensorValue('input', 'float', SHAPE)];
  simulated.graph.valueInfos.clear();
  insertSigns(new GraphBuilder(simulated.graph), simulated, layers, { method: options.method, start });
  sortTopologically(simulated.graph);
  return [simulated, exportSigns(model, run, new Map()).model];
}

describe('signs', () => {
  for (const [given, schema] of [
    [{ method: 'binaryconnect' }, BinaryOptions],
    [{ method: 'bwn' }, BinaryOptions],
    [{ method: 'bwn', firstAndLast: 'quantize' }, BinaryOptions],
    [{ method: 'xnor', firstAndLast: 'quantize' }, BinaryOptions],
    [{ method: 'dorefa' }, BinaryOptions],
    [{ method: 'bireal' }, BinaryOptions],
    [{ method: 'twn', firstAndLast: 'quantize' }, TernaryOptions],
    [{ method: 'ttq' }, TernaryOptions],
  ] as const)
    for (const trains of given.method === 'binaryconnect' ? [true] : [false, true])
      it(`exports what it trained: ${JSON.stringify(given)}, normalization ${trains ? 'behind' : 'in'} the weights`, async () => {
        const [simulated, exported] = bothForms(withStatistics(teacherNet()), schema.parse(given), trains);
        const [expected, actual] = [await outputOf(simulated, feeds), await outputOf(exported, feeds)];
        const largest = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
        const worst = expected.reduce((max, value, i) => Math.max(max, Math.abs(value - (actual[i] ?? NaN))), 0);
        // Float32 sums in another order, through ten layers.
        assert.ok(worst <= 1e-4 * largest, `differs by ${worst} of ${largest}`);
      });
});

const layer = (dims: readonly number[], axis: number | undefined): SignLayer => ({
  key: 'y',
  label: 'y',
  weight: 'w',
  dims,
  axis,
  signsInputs: false,
});

describe('signWeights', () => {
  const VALUES = Float32Array.of(0, -1, 2, -3, 0.5, -0.1, 0.2, 0.4);

  it('bwn: zero is positive, one mean magnitude a filter (XNOR-Net, eq. 6)', () => {
    const { positive, high } = signWeights(layer([2, 4], 0), VALUES, 'bwn', new Map());
    assert.deepEqual([...positive], [1, 0, 1, 0, 1, 0, 1, 1]);
    assert.deepEqual([...high], [1.5, 0.30000001192092896]);
  });

  it('dorefa: one mean magnitude a layer', () => {
    assert.deepEqual(
      [...signWeights(layer([2, 4], undefined), VALUES, 'dorefa', new Map()).high],
      [Math.fround(7.2 / 8)],
    );
  });

  it('twn: beyond 0.7 of the mean magnitude, with the mean of those', () => {
    // Filter 0: threshold 1.05, so 2 and -3; filter 1: threshold 0.21, so 0.5 and 0.4.
    const { positive, negative, high } = signWeights(layer([2, 4], 0), VALUES, 'twn', new Map());
    assert.deepEqual([...positive], [0, 0, 1, 0, 1, 0, 0, 1]);
    assert.deepEqual([...(negative ?? [])], [0, 0, 0, 1, 0, 0, 0, 0]);
    assert.deepEqual([...high], [2.5, Math.fround(0.45)]);
  });

  it('ttq: beyond 0.05 of the largest magnitude, with trained magnitudes', () => {
    const trained = new Map([
      ['w.positive', Float32Array.of(0.7)],
      ['w.negative', Float32Array.of(0.9)],
    ]);
    const { positive, negative, high, low } = signWeights(layer([2, 4], undefined), VALUES, 'ttq', trained);
    assert.deepEqual([...positive], [0, 0, 1, 0, 1, 0, 1, 1]);
    assert.deepEqual([...(negative ?? [])], [0, 1, 0, 1, 0, 0, 0, 0]);
    assert.deepEqual([high, low], [Float32Array.of(0.7), Float32Array.of(0.9)]);
  });

  it('packs eight a byte, the first in the lowest bit', () => {
    assert.deepEqual([...packBits(Uint8Array.of(1, 0, 1, 0, 1, 1, 0, 0, 1))], [0b00110101, 1]);
  });
});

describe('quantize.binary and quantize.ternary, trained', () => {
  for (const [pass, method, share] of [
    [quantizeBinary, 'bwn', 1 / 32],
    [quantizeBinary, 'xnor', 1 / 32],
    [quantizeBinary, 'bireal', 1 / 32],
    [quantizeBinary, 'dorefa', 1 / 32],
    [quantizeBinary, 'binaryconnect', 1 / 32],
    [quantizeTernary, 'twn', 1 / 16],
    [quantizeTernary, 'ttq', 1 / 16],
  ] as const)
    it(`${method} learns, and stores ${share} of the weights' bytes beside the magnitudes`, async () => {
      const model = teacherNet();
      const before = copyModel(model);
      const result = await run(pass, model, { method, training: { ...training, epochs: 8, learningRate: 0.05 } });
      const epochs = result.training?.[0]?.epochs ?? [];
      assert.ok((epochs.at(-1)?.loss ?? NaN) < (epochs[0]?.loss ?? 0), epochs.map(({ loss }) => loss).join());
      const weights = result.changes;
      assert.equal(weights, 8);
      const packed = [...model.graph.initializers.values()].filter(
        ({ dataType, name }) => dataType === 'uint8' && name !== 'bit_masks',
      );
      const layers = result.details['layers'] as { readonly floatBytes: number }[];
      const floatBytes = layers.reduce((sum, one) => sum + one.floatBytes, 0);
      assert.equal(
        packed.reduce((sum, { byteLength }) => sum + byteLength, 0),
        floatBytes * share,
      );
      assert.ok(!model.graph.nodes.some(({ opType, domain }) => opType === 'BatchNormalization' || domain !== ''));
      assert.ok(encodeModel(before).length > encodeModel(model).length);
      assert.deepEqual(
        result.skipped.map(({ reason }) => reason.startsWith('next to an input or output')),
        [true, true],
      );
      assert.ok((await outputOf(model, feeds)).every(Number.isFinite));
    });

  it('goes on from a snapshot to the same bytes', async () => {
    const saved: Uint8Array[] = [];
    const save = (state: Uint8Array): Promise<void> => Promise.resolve(void saved.push(state));
    const options = { method: 'ttq', training };
    const whole = teacherNet();
    await run(quantizeTernary, whole, options, {
      checkpoint: { everySeconds: 0, load: () => Promise.resolve(undefined), save },
    });
    const resumed = teacherNet();
    const load = (): Promise<Uint8Array | undefined> => Promise.resolve(saved[3]);
    const result = await run(quantizeTernary, resumed, options, {
      checkpoint: { load, save: () => Promise.resolve() },
    });
    assert.equal(result.training?.[0]?.resumedAt.length, 1);
    assert.deepEqual(encodeModel(resumed), encodeModel(whole));
  });

  it('binaryconnect leaves layers without a trained normalization in float and says why', async () => {
    const model = teacherNet();
    const result = await run(quantizeBinary, model, {
      method: 'binaryconnect',
      training: { ...training, batchNormalization: 'frozen' },
    });
    assert.equal(result.changes, 0);
    assert.ok(result.skipped.some(({ reason }) => reason.includes('need a BatchNormalization')));
  });

  it('puts folded normalization back where it is asked to', async () => {
    const model = teacherNet();
    foldLayers(model.graph, normalizedLayers(model.graph));
    const result = await run(quantizeBinary, model, {
      method: 'binaryconnect',
      restoreBatchNormalization: true,
      training: { ...training, epochs: 1 },
    });
    assert.equal(result.changes, 8);
    assert.equal(result.details['restoredBatchNormalizations'], 9);
  });

  it('ends at once when it is canceled', async () => {
    const controller = new AbortController();
    const canceled = run(
      quantizeBinary,
      teacherNet(),
      { training },
      { signal: controller.signal, progress: () => controller.abort(new Error('canceled')) },
    );
    await assert.rejects(canceled, /canceled/);
  });

  it('stays packed through canonicalize, and counts as what it is: one bit, three values in two', async () => {
    for (const [pass, bits] of [
      [quantizeBinary, 1],
      [quantizeTernary, 2],
    ] as const) {
      const model = teacherNet();
      await run(pass, model, { training: { ...training, epochs: 1 } });
      const before = countParameters(model);
      const size = encodeModel(model).length;
      await runStep(
        model,
        { pass: canonicalize, options: canonicalize.options.parse({}) },
        trainingContext(model, DATA),
      );
      assert.ok(encodeModel(model).length <= size);
      const { weights } = constantRoles(model.graph);
      const packed = [...weights.values()].flatMap((weight) => weight.packed ?? []);
      assert.deepEqual([packed.length, new Set(packed.map((one) => one.bits))], [8, new Set([bits])]);
      const original = countParameters(teacherNet());
      // Normalizations are folded: of four vectors a layer one is left, beside the magnitudes.
      assert.ok(Math.abs(before.parameters - original.parameters) < 0.1 * original.parameters);
      assert.ok((before.effectiveBitsPerWeight ?? 32) < 8);
    }
  });

  it('bireal takes Relus away and puts shortcuts in where shapes allow', async () => {
    const model = teacherNet();
    const result = await run(quantizeBinary, model, { method: 'bireal', training: { ...training, epochs: 1 } });
    const { rectifiersPassed, shortcuts } = result.details as { rectifiersPassed: number; shortcuts: number };
    // Six Relus in three blocks and behind the stem, of which the last one feeds no layer of signs; one block keeps its shape inside.
    assert.equal(rectifiersPassed, 6);
    assert.equal(shortcuts, 1);
    assert.equal(model.graph.nodes.filter(({ opType }) => opType === 'Relu').length, 1);
  });
});
