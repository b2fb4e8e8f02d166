import { z } from 'zod';
import type { PlannedModel } from './planned-model.ts';
import { plannedNetwork } from './planned-model.ts';
import type { PlannedStep } from './resolve.ts';

/** Samples each role of the job gives. */
export type SamplesOf = (role: 'calibration' | 'training' | 'evaluation') => number;

export interface TrainingCost {
  /** Multiply-accumulates of all steps that train; null when those of a network are not known. */
  readonly macs: number | null;
  /** Samples that go through a step, over all epochs and runs. */
  readonly samples: number;
  /** Bytes of parameters, moments, gradients and (where the layers are known) activations, of the largest step. */
  readonly bytes: number;
  /** False where a network is known by its file's summary only. */
  readonly knowsActivations: boolean;
}

/** Forward, gradients of the activations, gradients of the weights. */
const PASSES_OF_A_STEP = 3;
/** A distance of an adder layer costs about as much as this many multiply-accumulates: there is no fast kernel for it. */
const MACS_OF_ADDER_OPERATION = 5;
/** Values kept for the backward pass, and their gradients as they come and go. */
const ACTIVATION_COPIES = 1.5;
/** Weights, gradient and two moments, with a second buffer for what a step changes. */
const PARAMETER_COPIES = 7;
const FLOAT_BYTES = 4;

const Training = z.object({
  epochs: z.number(),
  batchSize: z.number(),
  validation: z.union([z.object({ fraction: z.number() }), z.object({ role: z.enum(['calibration', 'evaluation']) })]),
});
const Options = z.object({
  training: Training,
  baseline: z.boolean().optional(),
  /** An object where the step learns from the model as it came into it. */
  distillation: z.union([z.literal(false), z.object({})]).optional(),
});

/**
 * What the steps that train take, from epochs, samples and the networks' multiply-accumulates.
 *
 * @param model - what the job starts from
 * @param named - models that the steps' options name, by id
 */
export function trainingCost(
  steps: readonly PlannedStep[],
  samplesOf: SamplesOf,
  { model, named }: { readonly model: PlannedModel; readonly named: ReadonlyMap<string, PlannedModel> },
): TrainingCost {
  let current = model;
  let total: TrainingCost = { macs: 0, samples: 0, bytes: 0, knowsActivations: true };
  for (const { pass, options } of steps) {
    const parsed = Options.safeParse(options).data;
    // Options for training stand there whether the step trains or not.
    if (parsed === undefined || !pass.needs(options).includes('training')) continue;
    const isTaught = pass.name === 'distill' || typeof parsed.distillation === 'object';
    const models = pass.models?.(options) ?? [];
    const namedAs = (role: 'teacher' | 'student'): PlannedModel | undefined =>
      named.get(models.find(({ as }) => as === role)?.id ?? '');
    const teacher = isTaught ? (namedAs('teacher') ?? current) : undefined;
    const network = pass.network?.(options);
    current = network === undefined ? (namedAs('student') ?? current) : plannedNetwork(network.request);
    const cost = stepCost(parsed, samplesOf, { network: current, teacher });
    total = {
      macs: total.macs === null || cost.macs === null ? null : total.macs + cost.macs,
      samples: total.samples + cost.samples,
      bytes: Math.max(total.bytes, cost.bytes),
      knowsActivations: total.knowsActivations && cost.knowsActivations,
    };
  }
  return total;
}

function stepCost(
  { training, baseline = false }: z.infer<typeof Options>,
  samplesOf: SamplesOf,
  { network, teacher }: { readonly network: PlannedModel; readonly teacher: PlannedModel | undefined },
): TrainingCost {
  const { epochs, batchSize, validation } = training;
  const held = 'fraction' in validation ? validation.fraction * samplesOf('training') : samplesOf(validation.role);
  const trained = 'fraction' in validation ? samplesOf('training') - held : samplesOf('training');
  const runs = baseline ? 2 : 1;
  const own = workOf(network);
  const taught = teacher === undefined ? 0 : workOf(teacher);
  const macs =
    own === null || taught === null
      ? null
      : Math.round(epochs * (runs * own * (PASSES_OF_A_STEP * trained + held) + taught * trained));
  const activations = batchSize * (network.activations ?? 0) * ACTIVATION_COPIES;
  return {
    macs,
    samples: Math.round(epochs * runs * trained),
    bytes: FLOAT_BYTES * (PARAMETER_COPIES * network.parameters + activations),
    knowsActivations: network.activations !== undefined,
  };
}

function workOf({ macs, adderOperations = 0 }: PlannedModel): number | null {
  return macs === null ? null : macs + MACS_OF_ADDER_OPERATION * adderOperations;
}
