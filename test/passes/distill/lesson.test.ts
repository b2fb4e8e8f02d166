import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CompressionError } from '../../../src/errors.ts';
import { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import type { Model } from '../../../src/onnx/model.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { featuresOf } from '../../../src/passes/distill/features.ts';
import { fixNetwork } from '../../../src/training/fixed-network.ts';
import type { Side } from '../../../src/passes/distill/layer-pairs.ts';
import { Lesson } from '../../../src/passes/distill/lesson.ts';
import { DistillOptions } from '../../../src/passes/distill/options.ts';
import { Teacher } from '../../../src/training/teacher.ts';
import { trainingGraph } from '../../../src/training/finetune.ts';
import type { LabelKind } from '../../../src/training/losses/task-loss.ts';
import { optimizerScalars } from '../../../src/training/optimizers/optimizers.ts';
import { StepRunner } from '../../../src/training/step-runner.ts';
import { runtime } from '../quantize/helpers.ts';

/** Rows of a matrix or maps of samples: what a network gives for the unit vectors as inputs, one a sample. */
type Rows = readonly (readonly number[])[];

/** A linear network that gives `rows[i]` for the i-th unit vector, as scores or as a value named `features` ahead of them. */
function table(rows: Rows, shape?: readonly number[]): Model {
  const b = new GraphBuilder('table');
  const x = b.input('x', 'float', ['batch', rows.length]);
  const width = rows[0]!.length;
  const features = b.op('MatMul', [x, b.initializer(Tensor.float('rows', rows.flat(), [rows.length, width]))], {
    name: shape === undefined ? 'scores' : 'features',
  });
  if (shape === undefined) {
    b.output(features, 'y', 'float', ['batch', width]);
    return b.model(21);
  }
  const shaped = b.op('Reshape', [features, b.ints('shape', [rows.length, ...shape])], { name: 'maps' });
  const ones = b.initializer(
    Tensor.float(
      'head',
      Float32Array.from({ length: width * 2 }, (_, i) => i / width),
      [width, 2],
    ),
  );
  const flat = b.op('Reshape', [shaped, b.ints('flat', [rows.length, width])]);
  b.output(b.op('MatMul', [flat, ones]), 'y', 'float', ['batch', 2]);
  return b.model(21);
}

/** Loss of the first step of a student that `rows` stand for, taught by such a teacher. */
async function lossOf(
  loss: Readonly<Record<string, unknown>>,
  { teacher, student }: { teacher: Model; student: Model },
  samples: number,
  labels?: readonly number[],
): Promise<number> {
  const dims = [samples, samples];
  const x: NdArray = {
    type: 'float',
    dims,
    data: Float32Array.from({ length: samples ** 2 }, (_, i) => (i % (samples + 1) === 0 ? 1 : 0)),
  };
  const { lesson, options, sides } = lessonOf([loss], { teacher, student }, { x: dims });
  const graph = trainingGraph(student, options.training, {
    inputShapes: { x: dims },
    loss: (context) => lesson.write(context),
  });
  const master = await Teacher.create(sides.teacher.network, lesson.taps, { runtime, threads: 1 });
  const scalars = optimizerScalars(options.training.optimizer);
  const runner = await StepRunner.create(
    graph,
    { scalars, accumulate: 1, averageDecay: undefined },
    { runtime, threads: 1 },
  );
  try {
    const taught = [...(await master.run({ x }))].map(([tap, array]) => [lesson.inputOf(tap), array] as const);
    const given: [string, NdArray][] =
      labels === undefined
        ? []
        : [['labels', { type: 'int64', dims: [samples], data: BigInt64Array.from(labels, BigInt) }]];
    const feeds = { x, ...Object.fromEntries(taught), ...Object.fromEntries(given) };
    return (await runner.run(feeds, { updates: 0, batchInGroup: 0, learningRate: 0 })).loss;
  } finally {
    await runner.release();
    await master.release();
  }
}

function lessonOf(
  losses: readonly Readonly<Record<string, unknown>>[],
  { teacher, student }: { teacher: Model; student: Model },
  shapes: Readonly<Record<string, readonly number[]>>,
  kind: LabelKind = 'index',
): { lesson: Lesson; options: DistillOptions; sides: { teacher: Side; student: Side } } {
  const options = DistillOptions.parse({ losses, training: { batchSize: shapes['x']![0] } });
  const side = (model: Model): Side => {
    const network = fixNetwork(model, shapes);
    return { network, features: featuresOf(network) };
  };
  const sides = { teacher: side(teacher), student: side(student) };
  return { lesson: new Lesson(options, sides, { kind, seed: 0 }), options, sides };
}

function close(got: number, expected: number): void {
  // Expected values have seven digits; float32 sums of some dozen terms.
  assert.ok(Math.abs(got - expected) < 2e-6 * Math.max(1, Math.abs(expected)), `${got} is not ${expected}`);
}

const STUDENT = table([
  [1, 2, 3],
  [0.5, -1, 2],
]);
const TEACHER = table([
  [3, 2, 1],
  [1, 0, 4],
]);

// Reference values: RepDistiller's and mdistiller's losses run in float64 on these numbers.
describe('Lesson', () => {
  it('teaches softened scores: T^2 KL, batch mean', async () => {
    const nets = { teacher: TEACHER, student: STUDENT };
    close(await lossOf({ name: 'kd', weight: 1, temperature: 4 }, nets, 2), 0.7703365);
    close(await lossOf({ name: 'kd', weight: 0.5, temperature: 4 }, nets, 2), 0.7703365 / 2);
  });

  it('teaches target and other classes apart', async () => {
    const loss = { name: 'dkd', weight: 1, temperature: 4, alpha: 1, beta: 8 };
    close(await lossOf(loss, { teacher: TEACHER, student: STUDENT }, 2, [0, 2]), 2.730914);
  });

  it('teaches similarities of samples, widths being different', async () => {
    const student = table([[1, 2], [3, -1], [0, 1]], [2]); // prettier-ignore
    const teacher = table([[1, 0, 1], [0, 2, 1], [1, 1, 1]], [3]); // prettier-ignore
    const layers = [['maps_output', 'maps_output']];
    close(await lossOf({ name: 'sp', weight: 1, layers }, { teacher, student }, 3), 0.2079154);
  });

  it('teaches attention maps', async () => {
    const student = table([[1, 2, 5, 6, 9, 10, 13, 14]], [2, 2, 2]);
    const teacher = table([[1, 0, 0, 1, 2, 1, 1, 0, 0, 3, 1, 1]], [3, 2, 2]);
    const layers = [['maps_output', 'maps_output']];
    close(await lossOf({ name: 'at', weight: 1, layers }, { teacher, student }, 1), 0.1977013);
  });

  it('takes only what the losses need from the teacher', () => {
    const nets = { teacher: TEACHER, student: STUDENT };
    assert.deepEqual(lessonOf([{ name: 'kd' }], nets, { x: [2, 2] }).lesson.taps, ['y']);
    const { lesson } = lessonOf([{ name: 'ce' }, { name: 'kd' }, { name: 'dkd' }], nets, { x: [2, 2] });
    assert.deepEqual(lesson.taps, ['y']);
  });

  const refusal = (code: string, words: RegExp) => (error: CompressionError) => {
    assert.equal(error.code, code);
    assert.match(error.message, words);
    return true;
  };

  it('names a value that is not there', () => {
    const nets = { teacher: TEACHER, student: STUDENT };
    const losses = [{ name: 'at', layers: [['scores_output', 'nothing']] }];
    assert.throws(
      () => lessonOf(losses, nets, { x: [2, 2] }),
      refusal('RECIPE_NO_MATCH', /the student has no float value "nothing"/),
    );
  });

  it('says what there is where a loss finds no layers', () => {
    const nets = { teacher: TEACHER, student: STUDENT };
    assert.throws(
      () => lessonOf([{ name: 'at' }], nets, { x: [2, 2] }),
      refusal('PASS_PRECONDITION', /at finds no layers .* 0 feature maps/),
    );
  });

  it('refuses attention on vectors, and relations in a batch of one', () => {
    const nets = { teacher: TEACHER, student: STUDENT };
    const at = [{ name: 'at', layers: [['scores_output', 'scores_output']] }];
    assert.throws(() => lessonOf(at, nets, { x: [2, 2] }), refusal('PASS_PRECONDITION', /"scores_output" is \[2, 3\]/));
    const sp = [{ name: 'sp', layers: [['scores_output', 'scores_output']] }];
    assert.throws(
      () => lessonOf(sp, nets, { x: [1, 2] }),
      refusal('PASS_PRECONDITION', /sp compares the samples of a batch.*batchSize is 1/),
    );
  });

  it('refuses losses that need classes where samples are mixed', () => {
    const nets = { teacher: TEACHER, student: STUDENT };
    assert.throws(
      () => lessonOf([{ name: 'dkd' }], nets, { x: [2, 2] }, 'distribution'),
      refusal('PASS_PRECONDITION', /dkd needs the class of each sample.*mixup/),
    );
  });
});
