import type { DatasetResource } from '../schemas/dataset.ts';
import type { CreateJob } from '../schemas/job.ts';
import type { Estimate, PlanStep } from '../schemas/plan.ts';
import type { PlannedModel } from './planned-model.ts';
import { withImplicitSteps } from '../passes/implicit-steps.ts';
import { needsOf } from '../passes/inner-steps.ts';
import type { DataRole, Pass } from '../passes/pass.ts';
import { PASSES } from '../passes/registry.ts';
import { runsWithinStep } from '../passes/search/architecture-options.ts';
import type { PlannedStep } from './resolve.ts';
import { trainingCost, type TrainingCost } from './training-cost.ts';

/** Multiply-accumulates a thread does in a second on float32, a middling figure for today's CPUs. An assumption, and said to be. */
const MACS_PER_THREAD_SECOND = 4e9;
/** The same while training, where batches keep the threads busy: 3e9 (depthwise layers) to 2e10 (wide convolutions). */
const TRAINING_MACS_PER_THREAD_SECOND = 8e9;
/** Between the assumed rate and what a CPU and a network really do. */
const RANGE_FACTOR = 3;
/** Start of the child, loading and checking of the model: measured on small models. */
const START_SECONDS = 1;
/** Runs of each model that the latency measurement makes. */
const LATENCY_RUNS = 200;
/** Training data that is kept in memory; larger sets are streamed. */
const TRAINING_DATA_BYTES = 512 * 1024 ** 2;
/** Node with ONNX Runtime loaded. */
const PROCESS_BYTES = 200 * 1024 ** 2;
/** Input, working copy and result, and the session's own packed weights. */
const MODEL_COPIES = 5;

/** Bytes of the result for each byte of float weights, where a pass changes what a weight takes. */
const WEIGHT_SHARE: Readonly<Record<string, number>> = {
  'quantize.dynamic': 0.25,
  'quantize.static': 0.25,
  // 4 bits and, for blocks of 32, a float scale and a zero point of 4 bits.
  'quantize.weights': 0.16,
  // Four bits a weight, where no other budget is given.
  'quantize.mixed': 0.125,
  'quantize.float': 0.5,
};

/** The steps as they will run, those included that the recipe does not say. */
export function planOf(steps: readonly PlannedStep[], canonicalize: Pass | undefined): PlanStep[] {
  return withImplicitSteps(steps, canonicalize, PASSES).map(({ pass, options, implicit }) => ({
    pass: pass.name,
    stage: pass.stage,
    implicit,
    options: Object(options) as Record<string, unknown>,
    needs: [...needsOf({ pass, options }, PASSES)],
  }));
}

export interface EstimateInputs {
  readonly body: CreateJob;
  readonly model: PlannedModel;
  /** What the model is replaced by before it is quantized (a student); else the model itself. */
  readonly result: PlannedModel;
  /** Models that steps name, by id. */
  readonly named: ReadonlyMap<string, PlannedModel>;
  readonly datasets: ReadonlyMap<DataRole, DatasetResource>;
  readonly steps: readonly PlannedStep[];
  readonly threads: number;
}

/** What a job will about take and give. Every figure says what it rests on; what cannot be told is null. */
export function estimateOf({ body, model, result, named, datasets, steps, threads }: EstimateInputs): Estimate {
  const weightBytes = Math.min(result.bytes, result.parameters * 4);
  const quantizing = steps.filter(({ pass }) => Object.hasOwn(WEIGHT_SHARE, pass.name)).at(-1);
  const share = quantizing === undefined ? 1 : (WEIGHT_SHARE[quantizing.pass.name] ?? 1);
  const runs = (role: DataRole): number => {
    const dataset = datasets.get(role);
    const field = body.data[role];
    if (dataset === undefined || field === undefined) return 0;
    const [from, to] = field.range ?? [0, dataset.samples];
    return Math.min(field.samples ?? Number.POSITIVE_INFINITY, Math.max(0, Math.min(to, dataset.samples) - from));
  };
  const calibrations = steps.filter(({ needs }) => needs.includes('calibration')).length;
  const measured = runs('evaluation') + LATENCY_RUNS;
  const samples = runs('calibration') * calibrations + 2 * measured;
  const training = trainingCost(steps, runs, { model, named });
  const searches = steps.some(({ pass }) => pass.stage === 'search');
  const seconds =
    searches || model.macs === null || result.macs === null || training.macs === null
      ? null
      : START_SECONDS +
        (measured * model.macs + (samples - measured) * result.macs) / (MACS_PER_THREAD_SECOND * threads) +
        training.macs / (TRAINING_MACS_PER_THREAD_SECOND * threads);
  const rounded = (value: number): number => Math.round(value * 10) / 10;
  const dataBytes = training.samples === 0 ? 0 : Math.min(datasets.get('training')?.bytes ?? 0, TRAINING_DATA_BYTES);
  return {
    outputBytes: Math.round(result.bytes - weightBytes * (1 - share)),
    memoryBytes: Math.round(PROCESS_BYTES + MODEL_COPIES * model.bytes + training.bytes + dataBytes),
    seconds: seconds === null ? null : rounded(seconds),
    secondsRange: seconds === null ? null : [rounded(seconds / RANGE_FACTOR), rounded(seconds * RANGE_FACTOR)],
    basis: {
      outputBytes: searches
        ? 'what the search chooses is not known; without it, no more than this'
        : quantizing === undefined
          ? result === model
            ? 'no step changes the size of a weight'
            : `${result.parameters} float32 parameters of the network that replaces the model`
          : `${result.parameters} float32 parameters take ${share} of their bytes after ${quantizing.pass.name}; the rest of the file stays`,
      memoryBytes: `${PROCESS_BYTES} bytes for the process and ${MODEL_COPIES} times the ${model.bytes} bytes of the model${memoryOfTraining(training, dataBytes)}`,
      seconds: searches
        ? steps.some(({ pass, options }) => pass.name === 'search.architecture' && runsWithinStep(options))
          ? 'not estimated: the search trains one network that holds all of its candidates, within this job; its size follows from the space'
          : 'not estimated: a search runs its trials as jobs of their own, on all workers'
        : model.macs === null
          ? 'not estimated: the shapes of the model do not tell its multiply-accumulates'
          : `${START_SECONDS} s to start, then ${samples} samples (calibration, evaluation before and after, ${LATENCY_RUNS} latency runs each) of ${model.macs}${result === model ? '' : ` (${String(result.macs)} of the network that replaces the model)`} multiply-accumulates, at an assumed ${MACS_PER_THREAD_SECOND} a second on each of ${threads} threads${timeOfTraining(training)}; the range is ${RANGE_FACTOR} times less to ${RANGE_FACTOR} times more`,
    },
  };
}

function memoryOfTraining({ samples, bytes, knowsActivations }: TrainingCost, dataBytes: number): string {
  if (samples === 0) return '; activations not counted';
  return `, ${Math.round(bytes)} for parameters, gradients${knowsActivations ? ', moments and the activations of a batch' : ' and moments (activations of a batch are not counted: of a stored model they are not known)'} while training, and ${dataBytes} of training data`;
}

function timeOfTraining({ samples, macs }: TrainingCost): string {
  if (samples === 0 || macs === null) return '';
  return `; training takes ${samples} samples through forward and backward (over all epochs, a baseline included), validation after each epoch, and a teacher forward where there is one: ${macs} multiply-accumulates at an assumed ${TRAINING_MACS_PER_THREAD_SECOND}`;
}
