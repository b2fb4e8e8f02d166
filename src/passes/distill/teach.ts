import type { TrainingBatch } from '../../data/training/training-batch.ts';
import type { TrainingSource } from '../../data/training/training-source.ts';
import { CompressionError } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import type { NdArray } from '../../onnx/nd-array.ts';
import {
  classesOf,
  firstBatch,
  labelFeeds,
  labelKind,
  trainerSettings,
  trainingGraph,
  validationSource,
} from '../../training/finetune.ts';
import { taskLoss, type LabelKind } from '../../training/losses/task-loss.ts';
import { runReport } from '../../training/run-report.ts';
import { decodeSnapshot, encodeSnapshot } from '../../training/snapshot-codec.ts';
import { withTrained } from '../../training/trained-values.ts';
import { train, type TrainingOutcome } from '../../training/trainer.ts';
import type { TrainingGraph } from '../../training/training-graph.ts';
import type { ValidationResult } from '../../training/validation.ts';
import type { FeedSource, PassContext } from '../pass.ts';
import { effectOf, measure, type Effect, type Measured } from './accuracy.ts';
import { featuresOf } from './features.ts';
import { fixNetwork } from '../../training/fixed-network.ts';
import type { Side } from './layer-pairs.ts';
import { Lesson } from './lesson.ts';
import type { DistillOptions } from './options.ts';
import { Phases, type Alone } from './phases.ts';
import { Teacher } from '../../training/teacher.ts';

export interface Pupils {
  readonly teacher: Model;
  /** Not changed. Its inputs have the names of the teacher's. */
  readonly student: Model;
}

export interface Taught {
  readonly outcome: TrainingOutcome;
  readonly graph: TrainingGraph;
  readonly lesson: Lesson;
  /** Absent without validation data. */
  readonly teacher: ValidationResult | undefined;
  readonly student: ValidationResult | undefined;
  /** The twin that learnt without the teacher, where it was asked for. */
  readonly alone: Alone | undefined;
  readonly effect: Effect | undefined;
  readonly warnings: readonly string[];
}

/**
 * Trains a student on the weighted losses of `options`, the teacher's values on the same augmented batch among them.
 * With `baseline` a twin is trained first, from the same weights on the same batches, with the task's loss alone.
 *
 * @throws CompressionError DATASET_* before the first epoch; PASS_PRECONDITION, RECIPE_NO_MATCH for layers; TRAIN_DIVERGED;
 *   TRAIN_NO_GRADIENT
 */
export async function teach(pupils: Pupils, options: DistillOptions, context: PassContext): Promise<Taught> {
  const { training } = options;
  if (context.openTraining === undefined) {
    throw new CompressionError('INTERNAL', 'the training data cannot be opened');
  }
  const classes = training.loss === 'cross-entropy' ? classesOf(pupils.student) : undefined;
  const source = await context.openTraining({
    batchSize: training.batchSize,
    seed: context.seed,
    augment: training.augment,
    validationFraction: 'fraction' in training.validation ? training.validation.fraction : 0,
    labels: training.loss === 'cross-entropy' ? 'class' : 'any',
    ...(classes === undefined ? {} : { classes }),
  });
  try {
    const first = await firstBatch(source);
    const key = JSON.stringify([options, context.seed, source.info.samples]);
    const phases = await Phases.open(context.checkpoint, key);
    return await new Course({ pupils, options, context }, source, first, phases).run();
  } finally {
    await source.close();
  }
}

interface CoursePlan {
  readonly pupils: Pupils;
  readonly options: DistillOptions;
  readonly context: PassContext;
}

/** One step's runs over an open source. */
class Course {
  readonly #plan: CoursePlan;
  readonly #source: TrainingSource;
  readonly #phases: Phases;
  readonly #shapes: Readonly<Record<string, readonly number[]>>;
  readonly #kind: LabelKind;

  constructor(plan: CoursePlan, source: TrainingSource, first: TrainingBatch, phases: Phases) {
    this.#plan = plan;
    this.#source = source;
    this.#phases = phases;
    this.#shapes = Object.fromEntries(Object.entries(first.feeds).map(([name, { dims }]) => [name, dims]));
    this.#kind = labelKind(first);
  }

  async run(): Promise<Taught> {
    const { pupils, options, context } = this.#plan;
    const sides = { teacher: this.#side(pupils.teacher), student: this.#side(pupils.student) };
    const lesson = new Lesson(options, sides, { kind: this.#kind, seed: context.seed });
    // Written before the twin's run, so that layers that do not fit end the step at once.
    const graph = trainingGraph(pupils.student, options.training, {
      inputShapes: this.#shapes,
      loss: (lossContext) => lesson.write(lossContext),
      seed: context.seed,
    });
    const alone = options.baseline ? (this.#phases.alone ?? (await this.#trainAlone())) : undefined;
    const teacher = await Teacher.create(sides.teacher.network, lesson.taps, context);
    let outcome: TrainingOutcome;
    try {
      const lessonOf = async (batch: TrainingBatch): Promise<Record<string, NdArray>> => {
        const values = await teacher.run(batch.feeds);
        return Object.fromEntries([...values].map(([tap, array]) => [lesson.inputOf(tap), array]));
      };
      outcome = await this.#train(graph, { from: options.baseline ? 0.5 : 0, to: 1, label: '' }, lessonOf);
    } finally {
      await teacher.release();
    }
    const taught = await this.#measure(withTrained(pupils.student, outcome.values));
    const master = await this.#measure(pupils.teacher);
    const twin = alone?.correct === undefined ? undefined : Uint8Array.from(Buffer.from(alone.correct, 'base64'));
    const effect = taught?.correct !== undefined && twin !== undefined ? effectOf(taught.correct, twin) : undefined;
    return {
      outcome,
      graph,
      lesson,
      teacher: master?.result,
      student: taught?.result,
      alone,
      effect,
      warnings: [...this.#source.info.warnings, ...this.#ownWarnings(effect), ...outcome.warnings],
    };
  }

  #side(model: Model): Side {
    const network = fixNetwork(model, this.#shapes);
    return { network, features: featuresOf(network) };
  }

  async #trainAlone(): Promise<Alone> {
    const { pupils, options } = this.#plan;
    const { training } = options;
    const graph = trainingGraph(pupils.student, training, {
      inputShapes: this.#shapes,
      loss: taskLoss({ ...training, name: training.loss }, this.#kind),
      seed: this.#plan.context.seed,
    });
    const outcome = await this.#train(graph, { from: 0, to: 0.5, label: 'without the teacher: ' });
    const measured = await this.#measure(withTrained(pupils.student, outcome.values));
    const alone: Alone = {
      run: runReport('student-alone', outcome),
      warnings: [...outcome.warnings],
      ...(measured === undefined ? {} : { result: measured.result }),
      ...(measured?.correct === undefined ? {} : { correct: Buffer.from(measured.correct).toString('base64') }),
    };
    await this.#phases.finishAlone(alone);
    return alone;
  }

  async #train(
    graph: TrainingGraph,
    share: { readonly from: number; readonly to: number; readonly label: string },
    lessonOf?: (batch: TrainingBatch) => Promise<Readonly<Record<string, NdArray>>>,
  ): Promise<TrainingOutcome> {
    const { pupils, options, context } = this.#plan;
    const { training } = options;
    const key = JSON.stringify(graph.state.map(({ name, dims }) => [name, dims]));
    const saved = this.#phases.snapshot;
    return train({
      model: pupils.student,
      graph,
      source: this.#source,
      validation: this.#validation(pupils.student),
      settings: trainerSettings(training),
      runtime: context.runtime,
      threads: context.threads,
      signal: context.signal,
      feedsOf: async (batch) => ({
        ...batch.feeds,
        ...labelFeeds(batch, graph, training.labelSmoothing),
        ...(await lessonOf?.(batch)),
      }),
      progress: (fraction, message) =>
        context.progress(share.from + fraction * (share.to - share.from), share.label + message),
      save: (snapshot) => this.#phases.save(encodeSnapshot(snapshot, key)),
      snapshotSeconds: context.checkpoint.everySeconds,
      resume: saved === undefined ? undefined : decodeSnapshot(saved, key),
    });
  }

  async #measure(model: Model): Promise<Measured | undefined> {
    const validation = this.#validation(model);
    if (validation === undefined) return undefined;
    const { runtime, threads, signal } = this.#plan.context;
    return measure(model, validation, { runtime, threads, signal, batchSize: this.#source.info.batchSize });
  }

  #validation(model: Model): FeedSource | undefined {
    const { context, options } = this.#plan;
    const { calibration, evaluation } = context.data;
    const roles = { ...(calibration && { calibration }), ...(evaluation && { evaluation }) };
    return validationSource(this.#source, model, options.training, { roles });
  }

  #ownWarnings(effect: Effect | undefined): string[] {
    const { options } = this.#plan;
    const warnings: string[] = [];
    if (this.#kind === 'distribution' && options.training.classWeights !== undefined) {
      warnings.push('classWeights are not used with mixup or cutmix: a mixed sample has no class of its own.');
    }
    if (this.#validation(this.#plan.pupils.student) === undefined) {
      if (options.training.keep === 'best') warnings.push('There is no validation data, so the last epoch is kept.');
      if (options.baseline) {
        warnings.push('There is no validation data, so what distillation brought was not measured.');
      }
    }
    if (effect !== undefined && effect.difference < 0) warnings.push(negativeEffect(effect));
    return warnings;
  }
}

function negativeEffect({ difference, confidenceInterval: [low, high], verdict }: Effect): string {
  const points = (share: number): string => (100 * share).toFixed(2);
  const interval = `${points(difference)} points of accuracy (95 % interval ${points(low)} to ${points(high)})`;
  return verdict === 'hurt'
    ? `Distillation hurt: ${interval} against the same student without the teacher; use other losses (kd is the safest across architectures), lower weights, or train the student alone.`
    : `Distillation brought nothing that can be told from noise: ${interval} against the same student without the teacher.`;
}
