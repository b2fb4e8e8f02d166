import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CompressionError } from '../../../src/errors.ts';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { canonicalize } from '../../../src/passes/canonicalize/canonicalize.ts';
import { distill } from '../../../src/passes/distill/distill.ts';
import { DistillOptions } from '../../../src/passes/distill/options.ts';
import { teach } from '../../../src/passes/distill/teach.ts';
import { runStep } from '../../../src/passes/pass-manager.ts';
import type { PassContext, PassResult, StepCheckpoint } from '../../../src/passes/pass.ts';
import { placesOf } from '../../../src/schemas/error-places.ts';
import { applyTrained } from '../../../src/training/trained-values.ts';
import type { TrainingEpoch } from '../../../src/schemas/training-report.ts';
import { RESNET8, SIDE, stripes, teacherNet, trainingContext, TRAINING } from './helpers.ts';

const DATA = stripes(160);
const ALL_LOSSES = ['ce', 'kd', 'dkd', 'at', 'sp', 'fitnet', 'vid', 'pkt', 'cc', 'crd', 'rkd'].map((name) => ({
  name,
  // Small, so that no term makes the others overflow.
  weight: 0.1,
}));

async function run(
  model: Model,
  options: Readonly<Record<string, unknown>>,
  changes: Partial<PassContext> = {},
): Promise<PassResult> {
  const context = trainingContext(model, DATA, changes);
  return runStep(model, { pass: distill, options: distill.options.parse({ training: TRAINING, ...options }) }, context);
}

const epochsOf = ({ training }: PassResult, name: string): readonly TrainingEpoch[] => {
  const run = training?.find((candidate) => candidate.name === name);
  assert.ok(run !== undefined, `no run "${name}"`);
  return run.epochs;
};

const refusal = (code: string, words: RegExp) => (error: CompressionError) => {
  assert.equal(error.code, code);
  assert.match(error.message, words);
  return true;
};

describe('distill', () => {
  it('puts a student of the zoo in the place of its teacher, under the same names', async () => {
    const model = teacherNet(1, { width: 0.5 });
    const bytes = encodeModel(model).length;
    const { changes, details, training } = await run(model, { student: RESNET8 });
    assert.ok(changes > 20);
    assert.ok(encodeModel(model).length < bytes / 2);
    assert.deepEqual(
      model.graph.inputs.map(({ name }) => name),
      ['input'],
    );
    assert.deepEqual(
      model.graph.outputs.map(({ name }) => name),
      ['logits'],
    );
    assert.deepEqual(
      training?.map(({ name, epochs }) => [name, epochs.length]),
      [['student', TRAINING.epochs]],
    );
    assert.equal(details['teacher'], 'model');
  });

  it('lowers every loss there is, all at once, on layers it finds itself', async () => {
    const training = { ...TRAINING, epochs: 3, learningRate: 0.01, keep: 'last' };
    const result = await run(teacherNet(1, { width: 0.5 }), { student: RESNET8, losses: ALL_LOSSES, training });
    const curve = epochsOf(result, 'student');
    assert.ok(curve[2]!.loss < curve[0]!.loss, JSON.stringify(curve));
    for (const { loss, parts = {} } of curve) {
      assert.deepEqual(
        Object.keys(parts),
        ALL_LOSSES.map(({ name }) => name),
      );
      const sum = Object.values(parts).reduce((total, part) => total + 0.1 * part, 0);
      // The sum is taken in float32, of eleven terms.
      assert.ok(Math.abs(sum - loss) < 1e-5 * loss, `${sum} is not ${loss}`);
    }
    const layers = result.details['layers'] as Record<
      string,
      { teacher: { shape: number[] }; student: { shape: number[] } }[]
    >;
    assert.deepEqual(Object.keys(layers).sort(), ['at', 'cc', 'crd', 'fitnet', 'pkt', 'rkd', 'sp', 'vid']);
    assert.deepEqual(
      layers['at']!.map(({ teacher, student }) => [teacher.shape.slice(1), student.shape.slice(1)]),
      [0, 1, 2].map((stage) => [
        [8 * 2 ** stage, SIDE / 2 ** stage, SIDE / 2 ** stage],
        [4 * 2 ** stage, SIDE / 2 ** stage, SIDE / 2 ** stage],
      ]),
    );
    assert.equal(layers['fitnet']!.length, 1);
    assert.deepEqual(layers['rkd']![0]!.teacher.shape, [TRAINING.batchSize, 32]);
  });

  it('leaves regressors out of the result', async () => {
    const model = teacherNet(1, { width: 0.5 });
    await run(model, { student: RESNET8, losses: [{ name: 'ce' }, { name: 'fitnet' }, { name: 'vid' }] });
    assert.deepEqual([...model.graph.initializers.keys()], [...teacherNet().graph.initializers.keys()]);
  });

  it('teaches the model so far by the input of the job', async () => {
    const input = teacherNet(1);
    const model = teacherNet(2);
    const { changes, details } = await run(model, { student: 'self', losses: [{ name: 'kd' }] }, { input });
    assert.ok(changes > 20);
    assert.equal(details['teacher'], 'input');
    // Nothing to learn from oneself: the loss of the same network is 0 but for what the batch's statistics change.
    const training = { ...TRAINING, batchNormalization: 'frozen' };
    const same = await run(teacherNet(1), { student: 'self', losses: [{ name: 'kd' }], training }, { input });
    const [first] = epochsOf(same, 'student');
    assert.ok(first!.loss < 1e-3, String(first!.loss));
  });

  it('puts folded normalization back behind the convolutions of the model so far', async () => {
    const input = teacherNet(1);
    const model = teacherNet(2);
    const { graph } = model;
    const convolutions = graph.nodes.filter(({ opType }) => opType === 'Conv').length;
    await canonicalize.run(model, canonicalize.options.parse({}), trainingContext(model, DATA));
    const normalizations = (): number =>
      model.graph.nodes.filter(({ opType }) => opType === 'BatchNormalization').length;
    assert.equal(normalizations(), 0);
    const options = { student: 'self', losses: [{ name: 'kd' }], restoreBatchNormalization: true };
    const { details } = await run(model, options, { input });
    assert.equal(details['restoredBatchNormalizations'], convolutions);
    assert.equal(normalizations(), convolutions);
    const wrong = DistillOptions.safeParse({ student: RESNET8, restoreBatchNormalization: true });
    assert.deepEqual(wrong.error?.issues[0]?.path, ['restoreBatchNormalization']);
  });

  it('starts from the weights of another model, whatever its inputs are called', async () => {
    const other = teacherNet(3, { width: 0.25 });
    renamed(other, { input: 'logits', logits: 'input' });
    const model = teacherNet(1, { width: 0.5 });
    const opened: string[] = [];
    const openModel = (id: string): Promise<Model> => {
      opened.push(id);
      return Promise.resolve(other);
    };
    const training = { ...TRAINING, learningRate: 1e-12, epochs: 1 };
    const id = 'mdl_0123456789abcdef';
    const options = { student: { model: id }, training };
    await run(model, options, { openModel });
    assert.deepEqual(opened, [id]);
    assert.deepEqual(distill.models?.(distill.options.parse(options)), [
      { id, path: ['student', 'model'], as: 'student' },
    ]);
    assert.deepEqual(
      model.graph.inputs.map(({ name }) => name),
      ['input'],
    );
    const [name] = [...model.graph.initializers.keys()];
    const values = (of: Model): number[] => [...of.graph.initializers.get(name!)!.floats()].slice(0, 8);
    values(model).forEach((value, i) => assert.ok(Math.abs(value - values(teacherNet(3))[i]!) < 1e-6));
  });

  it('trains the student without the teacher as train.finetune would, and reports the difference', async () => {
    const training = { ...TRAINING, epochs: 1 };
    const taught = await run(teacherNet(1, { width: 0.5 }), { student: RESNET8, baseline: true, training });
    const { details, warnings } = taught;
    const accuracy = details['accuracy'] as Record<string, { value: number; samples: number }>;
    const effect = details['effect'] as { difference: number; confidenceInterval: [number, number]; samples: number };
    assert.equal(effect.samples, accuracy['student']!.samples);
    assert.ok(Math.abs(effect.difference - (accuracy['student']!.value - accuracy['studentAlone']!.value)) < 1e-12);
    assert.ok(effect.confidenceInterval[0] < effect.difference && effect.difference < effect.confidenceInterval[1]);
    assert.equal(
      warnings.some((warning) => warning.startsWith('Distillation')),
      effect.difference < 0,
    );
    const { trainFinetune } = await import('../../../src/passes/train/finetune.ts');
    const alone = teacherNet(0);
    const finetuned = await trainFinetune.run(
      alone,
      trainFinetune.options.parse({ training }),
      trainingContext(alone, DATA),
    );
    const lossesOf = (epochs: readonly { loss: number }[]): number[] => epochs.map(({ loss }) => loss);
    assert.deepEqual(lossesOf(epochsOf(taught, 'student-alone')), lossesOf(epochsOf(finetuned, 'model')));
  });

  it('says so when teaching hurts', async () => {
    // A teacher that knows nothing, and no labels beside it: the student learns noise, its twin the classes.
    const training = { ...TRAINING, epochs: 4, keep: 'last' };
    const options = { student: RESNET8, baseline: true, losses: [{ name: 'kd' }], training };
    const { details, warnings } = await run(teacherNet(1, { width: 0.5 }), options);
    assert.equal((details['effect'] as { verdict: string }).verdict, 'hurt', JSON.stringify(details['accuracy']));
    assert.match(warnings.join(), /Distillation hurt: -\d+\.\d\d points/);
  });

  it('gives the same bytes for the same seed', async () => {
    const [a, b] = [teacherNet(1, { width: 0.5 }), teacherNet(1, { width: 0.5 })];
    const training = { ...TRAINING, epochs: 1 };
    for (const model of [a, b]) await run(model, { student: RESNET8, training });
    assert.deepEqual(encodeModel(a), encodeModel(b));
  });

  it('goes on after an interruption to the same bytes, from either run', async () => {
    const options = DistillOptions.parse({
      student: RESNET8,
      baseline: true,
      losses: [{ name: 'ce' }, { name: 'kd' }, { name: 'fitnet', weight: 0.1 }],
      training: TRAINING,
    });
    const pupils = { teacher: teacherNet(1, { width: 0.5 }), student: teacherNet(2) };
    const finish = async (
      changes: Partial<PassContext>,
    ): Promise<{ bytes: Uint8Array; effect: unknown; losses: unknown }> => {
      const context = trainingContext(pupils.teacher, DATA, changes);
      const checkpoint = { ...context.checkpoint, everySeconds: 0 };
      const taught = await teach(pupils, options, { ...context, checkpoint });
      const result = teacherNet(2);
      applyTrained(result, taught.outcome.values);
      const losses = taught.outcome.curve.map(({ loss, parts }) => [loss, parts]);
      return { bytes: encodeModel(result), effect: taught.effect, losses };
    };
    const undisturbed = await finish({});
    for (const stopAfter of [4, 16]) {
      const { checkpoint, interrupted } = stoppingAfter(stopAfter);
      await assert.rejects(finish({ checkpoint, signal: interrupted.signal }), /stopped here/);
      assert.deepEqual(await finish({ checkpoint }), undisturbed, `stopped after ${stopAfter} snapshots`);
    }
  });

  it('refuses a student that takes other images, before anything is trained', async () => {
    await assert.rejects(
      run(teacherNet(), { student: { ...RESNET8, inputSize: 16 } }),
      refusal('PASS_PRECONDITION', /input "input" of the network is float \[batch, 1, 16, 16\].*inputSize/),
    );
    await assert.rejects(
      run(teacherNet(), { student: { ...RESNET8, classes: 7 } }),
      refusal('PASS_PRECONDITION', /output "logits" of the network is float \[batch, 7\]/),
    );
  });

  it('checks its options', () => {
    const wrong = (options: unknown, words: RegExp): void => {
      const result = distill.options.safeParse(options);
      assert.ok(!result.success);
      assert.match(JSON.stringify(result.error.issues), words);
    };
    wrong({ losses: [{ name: 'ce' }] }, /a loss that the teacher takes part in/);
    wrong({ losses: [{ name: 'kd' }, { name: 'kd' }] }, /same loss twice/);
    wrong({ losses: [{ name: 'kd', temperature: 0 }] }, /temperature/);
    wrong({ losses: [{ name: 'kd', layers: [['a', 'b']] }] }, /layers/);
    wrong({ losses: [] }, /losses/);
    wrong({ student: 'other' }, /student/);
    wrong({ student: { model: 'resnet' } }, /student/);
  });

  it('points at what is wrong in a student', () => {
    const pointer = (student: unknown): string[] => {
      const issues = distill.options.safeParse({ student }).error?.issues ?? [];
      return placesOf(issues).map((place) => place.pointer);
    };
    assert.deepEqual(pointer({ architecture: 'resnet', depth: 9 }), ['/student/depth']);
    assert.deepEqual(pointer({ architecture: 'resnet', dept: 8 }), ['/student/dept']);
    assert.deepEqual(pointer({ architecture: 'nothing' }), ['/student/architecture']);
    assert.deepEqual(pointer({ model: 'resnet' }), ['/student/model']);
    assert.deepEqual(pointer('nothing'), ['/student']);
  });
});

/** A checkpoint in memory that aborts once it has been written to so often. */
function stoppingAfter(saves: number): { checkpoint: StepCheckpoint; interrupted: AbortController } {
  const interrupted = new AbortController();
  let state: Uint8Array | undefined;
  let count = 0;
  const checkpoint: StepCheckpoint = {
    load: () => Promise.resolve(state),
    save: (bytes) => {
      state = Uint8Array.from(bytes);
      count += 1;
      if (count === saves) interrupted.abort(new Error('stopped here'));
      return Promise.resolve();
    },
  };
  return { checkpoint, interrupted };
}

/** Swaps the names of values, for a model that calls them otherwise. */
function renamed(model: Model, names: Readonly<Record<string, string>>): void {
  const of = (name: string): string => names[name] ?? name;
  const { graph } = model;
  graph.inputs = graph.inputs.map((info) => ({ ...info, name: of(info.name) }));
  graph.outputs = graph.outputs.map((info) => ({ ...info, name: of(info.name) }));
  for (const node of graph.nodes) {
    node.inputs = node.inputs.map(of);
    node.outputs = node.outputs.map(of);
  }
}
