import { CompressionError } from '../../errors.ts';
import {
  contrastiveDistillation,
  correlationCongruence,
  hints,
  variationalDistillation,
} from '../../training/losses/hints.ts';
import { attentionTransfer, probabilisticTransfer, similarityPreserving } from '../../training/losses/feature-maps.ts';
import type { LossFragment, StaticTensor, WeightedLoss } from '../../training/losses/loss.ts';
import { relationalDistillation } from '../../training/losses/relational.ts';
import { decoupledDistillation, knowledgeDistillation } from '../../training/losses/soft-targets.ts';
import { LABELS, taskFragment, type LabelKind } from '../../training/losses/task-loss.ts';
import type { LossContext } from '../../training/training-graph.ts';
import { pairsFor, type LayerPair, type Side } from './layer-pairs.ts';
import type { DistillLoss, DistillOptions, FeatureLoss, LossName } from './options.ts';

/** Losses that compare samples of a batch with each other. */
const BETWEEN_SAMPLES: ReadonlySet<LossName> = new Set(['sp', 'pkt', 'rkd', 'cc', 'crd']);

/** What is taught: which values of the teacher are needed, and the losses that compare the student's with them. */
export class Lesson {
  /** Values of the teacher that each batch is fed with. */
  readonly taps: readonly string[];
  /** The layers that are compared, by loss. */
  readonly pairs: ReadonlyMap<LossName, readonly LayerPair[]>;
  readonly #options: DistillOptions;
  readonly #teacher: Side;
  readonly #kind: LabelKind;
  readonly #seed: number;
  /** Graph input by the teacher's value; known once the losses are written. */
  readonly #inputs = new Map<string, string>();

  /** @throws CompressionError PASS_PRECONDITION, RECIPE_NO_MATCH: see `pairsFor` */
  constructor(
    options: DistillOptions,
    { teacher, student }: { readonly teacher: Side; readonly student: Side },
    { kind, seed }: { readonly kind: LabelKind; readonly seed: number },
  ) {
    this.#options = options;
    this.#teacher = teacher;
    this.#kind = kind;
    this.#seed = seed;
    const featureLosses = options.losses.filter(isFeatureLoss);
    this.pairs = new Map(featureLosses.map((loss) => [loss.name, pairsFor(loss, teacher, student)]));
    const taps = [...this.pairs.values()].flat().map((pair) => pair.teacher.value);
    if (options.losses.some(({ name }) => name === 'kd' || name === 'dkd')) taps.push(teacher.features.scores.value);
    this.taps = [...new Set(taps)];
    for (const { name } of options.losses) {
      if ((name === 'dkd' || name === 'crd') && kind !== 'index') throw needsClasses(name, kind);
      if (BETWEEN_SAMPLES.has(name) && options.training.batchSize === 1) throw needsBatch(name);
    }
  }

  /** Name of the training graph's input that takes a value of the teacher. */
  inputOf(tap: string): string {
    const input = this.#inputs.get(tap);
    if (input === undefined)
      throw new CompressionError('INTERNAL', `the teacher's "${tap}" is not in the training graph`);
    return input;
  }

  /** Writes the losses into the student's training graph. */
  write(given: LossContext): readonly WeightedLoss[] {
    const declared = new Map<string, string>();
    const context: LossContext = {
      ...given,
      input: (name, type, shape) => {
        const known = declared.get(name) ?? given.input(name, type, shape);
        declared.set(name, known);
        return known;
      },
    };
    return this.#options.losses.flatMap((loss) =>
      this.#fragments(loss, context).map((fragment) => ({ fragment, weight: loss.weight, name: loss.name })),
    );
  }

  #fragments(loss: DistillLoss, context: LossContext): readonly LossFragment[] {
    const { b, scores } = context;
    const teacherScores = (): StaticTensor => this.#wanted(this.#teacher.features.scores, context);
    switch (loss.name) {
      case 'ce': {
        const { training } = this.#options;
        return [taskFragment({ ...training, name: training.loss }, this.#kind, context)];
      }
      case 'kd':
        return [knowledgeDistillation(b, scores, teacherScores(), loss.temperature)];
      case 'dkd': {
        const tensors = { student: scores, teacher: teacherScores(), labels: labelsOf(context) };
        return [decoupledDistillation(b, tensors, loss)];
      }
      default:
        return (this.pairs.get(loss.name) ?? []).map((pair, index) => {
          const student = context.tensor(pair.student.value);
          const teacher = this.#wanted(pair.teacher, context);
          return this.#featureFragment(loss, { student, teacher }, { context, index });
        });
    }
  }

  #featureFragment(
    loss: FeatureLoss,
    { student, teacher }: LayerPair,
    { context, index }: { readonly context: LossContext; readonly index: number },
  ): LossFragment {
    const { b } = context;
    // Regressors of different pairs start from different weights.
    const seed = this.#seed + index;
    switch (loss.name) {
      case 'at':
        return attentionTransfer(b, student, teacher);
      case 'sp':
        return similarityPreserving(b, student, teacher);
      case 'pkt':
        return probabilisticTransfer(b, student, teacher);
      case 'rkd':
        return relationalDistillation(b, student, teacher, loss);
      case 'fitnet':
        return hints(b, student, teacher, seed);
      case 'vid':
        return variationalDistillation(b, student, teacher, seed);
      case 'cc':
        return correlationCongruence(b, student, teacher, seed);
      case 'crd':
        return contrastiveDistillation(b, { student, teacher, labels: labelsOf(context) }, seed);
    }
  }

  /** The teacher's value as an input of the training graph. */
  #wanted({ value, shape }: StaticTensor, context: LossContext): StaticTensor {
    const input = context.input(`teacher:${value}`, 'float', shape);
    this.#inputs.set(value, input);
    return { value: input, shape };
  }
}

function labelsOf(context: LossContext): string {
  return context.input(LABELS, 'int64', [context.batchSize]);
}

function isFeatureLoss(loss: DistillLoss): loss is FeatureLoss {
  return loss.name !== 'ce' && loss.name !== 'kd' && loss.name !== 'dkd';
}

function needsBatch(name: LossName): CompressionError {
  return new CompressionError(
    'PASS_PRECONDITION',
    `distill: loss ${name} compares the samples of a batch with each other, and training.batchSize is 1; raise it, or take ${name} out of losses`,
  );
}

function needsClasses(name: LossName, kind: LabelKind): CompressionError {
  return new CompressionError(
    'PASS_PRECONDITION',
    kind === 'distribution'
      ? `distill: loss ${name} needs the class of each sample, and mixup or cutmix leave none; take them out of training.augment, or ${name} out of losses`
      : `distill: loss ${name} needs class indices (an integer array), the labels are floats; name another array or take ${name} out of losses`,
  );
}
