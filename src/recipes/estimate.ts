import type { DatasetResource } from '../schemas/dataset.ts';
import type { CreateJob } from '../schemas/job.ts';
import type { Estimate, PlanStep } from '../schemas/plan.ts';
import type { PlannedModel } from './planned-model.ts';
import { withImplicitSteps } from '../passes/implicit-steps.ts';
import type { DataRole, Pass } from '../passes/pass.ts';
import type { PlannedStep } from './resolve.ts';

/** Multiply-accumulates a thread does in a second on float32, a middling figure for today's CPUs. An assumption, and said to be. */
const MACS_PER_THREAD_SECOND = 4e9;
/** Start of the child, loading and checking of the model: measured on small models. */
const START_SECONDS = 1;
/** Runs of each model that the latency measurement makes. */
const LATENCY_RUNS = 200;
/** Node with ONNX Runtime loaded. */
const PROCESS_BYTES = 200 * 1024 ** 2;
/** Input, working copy and result, and the session's own packed weights. */
const MODEL_COPIES = 5;

/** Bytes of the result for each byte of float weights, where a pass changes what a weight takes. */
const WEIGHT_SHARE: Readonly<Record<string, number>> = {
  'quantize.dynamic': 0.25,
  'quantize.static': 0.25,
};

/** The steps as they will run, those included that the recipe does not say. */
export function planOf(steps: readonly PlannedStep[], canonicalize: Pass | undefined): PlanStep[] {
  return withImplicitSteps(steps, canonicalize).map(({ pass, options, implicit }) => ({
    pass: pass.name,
    stage: pass.stage,
    implicit,
    options: Object(options) as Record<string, unknown>,
    needs: [...pass.needs(options)],
  }));
}

export interface EstimateInputs {
  readonly body: CreateJob;
  readonly model: PlannedModel;
  /** What the model is replaced by before it is quantized (a student); else the model itself. */
  readonly result: PlannedModel;
  readonly datasets: ReadonlyMap<DataRole, DatasetResource>;
  readonly steps: readonly PlannedStep[];
  readonly threads: number;
}

/** What a job will about take and give. Every figure says what it rests on; what cannot be told is null. */
export function estimateOf({ body, model, result, datasets, steps, threads }: EstimateInputs): Estimate {
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
  const samples = runs('calibration') * calibrations + 2 * runs('evaluation') + 2 * LATENCY_RUNS;
  const seconds =
    model.macs === null ? null : START_SECONDS + (samples * model.macs) / (MACS_PER_THREAD_SECOND * threads);
  return {
    outputBytes: Math.round(result.bytes - weightBytes * (1 - share)),
    memoryBytes: PROCESS_BYTES + MODEL_COPIES * model.bytes,
    seconds: seconds === null ? null : Math.round(seconds * 10) / 10,
    basis: {
      outputBytes:
        quantizing === undefined
          ? result === model
            ? 'no step changes the size of a weight'
            : `${result.parameters} float32 parameters of the network that replaces the model`
          : `${result.parameters} float32 parameters take ${share} of their bytes after ${quantizing.pass.name}; the rest of the file stays`,
      memoryBytes: `${PROCESS_BYTES} bytes for the process and ${MODEL_COPIES} times the ${model.bytes} bytes of the model; activations not counted`,
      seconds:
        model.macs === null
          ? 'not estimated: the shapes of the model do not tell its multiply-accumulates'
          : `${START_SECONDS} s to start, then ${samples} samples (calibration, evaluation before and after, ${LATENCY_RUNS} latency runs each) of ${model.macs} multiply-accumulates, at an assumed ${MACS_PER_THREAD_SECOND} a second on each of ${threads} threads`,
    },
  };
}
