import { CompressionError } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import { copyModel } from '../../training/copy-model.ts';
import { validate, type ValidationResult } from '../../training/validation.ts';
import type { PassContext, PassResult } from '../pass.ts';
import type { Method } from './activation-params.ts';

/** What a trial may add to the options as given. */
export interface RepairChoice {
  readonly method?: Method;
  readonly equalize?: boolean;
  readonly smooth?: number;
  readonly biasCorrection?: 'none' | 'fast' | 'full';
  readonly rounding?: 'nearest' | 'gptq' | 'adaround';
}

export interface Trial {
  readonly added: RepairChoice;
  readonly value: number;
  /** Share of the samples (top1), or growth as a share of the error in float (rmse). Positive is worse. */
  readonly drop: number;
  readonly met: boolean;
}

export interface AutoSettings {
  /** What the accuracy may drop by: a share of the samples, or of the error in float. */
  readonly maxDrop: number;
  /** Quantizes a copy of the model by the options as given and what the trial adds. */
  readonly quantize: (candidate: Model, added: RepairChoice) => Promise<PassResult>;
}

/** Cheapest first: one run over the data, two, one of both models layer by layer, training. */
const LADDER: readonly RepairChoice[] = [
  {},
  { biasCorrection: 'fast' },
  { equalize: true, biasCorrection: 'fast' },
  { method: 'mse', biasCorrection: 'fast' },
  { method: 'mse', equalize: true, biasCorrection: 'full' },
  { rounding: 'gptq', biasCorrection: 'full' },
  { method: 'mse', equalize: true, rounding: 'gptq', biasCorrection: 'full' },
  { rounding: 'adaround', biasCorrection: 'none' },
  { method: 'mse', equalize: true, rounding: 'adaround', biasCorrection: 'none' },
];
/** Where there are products of matrices, after the trials that cost no more. */
const SMOOTHED: readonly RepairChoice[] = [{ smooth: 0.5 }, { smooth: 0.5, biasCorrection: 'fast' }];
const BATCH = 100;

/**
 * Tries repairs, the cheapest first, until the accuracy on the evaluation data is within the limit; the best one seen where none is.
 * The model becomes the chosen one; every trial is in the details.
 *
 * @throws CompressionError DATASET_LABELS, MODEL_RUN; AbortError when canceled
 */
export async function quantizeWithin(model: Model, settings: AutoSettings, context: PassContext): Promise<PassResult> {
  const evaluation = context.data.evaluation;
  if (evaluation === undefined) {
    throw new CompressionError('PASS_PRECONDITION', 'accuracy "auto" needs evaluation data; give data.evaluation');
  }
  const { runtime, threads, signal } = context;
  const measure = (candidate: Model): Promise<ValidationResult> =>
    validate(candidate, evaluation, { runtime, threads, signal, batchSize: BATCH });
  const float = await measure(model);
  const trials: Trial[] = [];
  let best: { readonly candidate: Model; readonly result: PassResult; readonly trial: Trial } | undefined;
  const ladder = ladderOf(model);
  for (const [number, added] of ladder.entries()) {
    signal.throwIfAborted();
    context.progress(number / ladder.length, `trial ${number + 1} of at most ${ladder.length}`);
    const candidate = copyModel(model);
    const result = await settings.quantize(candidate, added);
    // Nothing to quantize: the same for every trial.
    if (result.changes === 0) return result;
    const { value } = await measure(candidate);
    const drop = dropOf(float, value);
    const trial = { added, value, drop, met: drop <= settings.maxDrop + 1e-12 };
    trials.push(trial);
    if (best === undefined || drop < best.trial.drop) best = { candidate, result, trial };
    if (trial.met) break;
  }
  if (best === undefined) throw new CompressionError('INTERNAL', 'no trial was made');
  Object.assign(model, best.candidate);
  const { result, trial } = best;
  const missed = `no repair keeps the accuracy within ${settings.maxDrop}; the best one loses ${trial.drop}; try quantize.aware, or exclude layers`;
  return {
    ...result,
    warnings: trial.met ? result.warnings : [...result.warnings, missed],
    details: {
      ...result.details,
      accuracy: {
        metric: float.metric,
        samples: float.samples,
        float: float.value,
        maxDrop: settings.maxDrop,
        chosen: trial.added,
        met: trial.met,
        trials,
      },
    },
  };
}

function ladderOf({ graph }: Model): readonly RepairChoice[] {
  const hasProducts = graph.nodes.some(
    ({ opType, inputs }) => opType === 'MatMul' && graph.initializers.has(inputs[1] ?? ''),
  );
  return hasProducts ? [...LADDER.slice(0, 2), ...SMOOTHED, ...LADDER.slice(2)] : LADDER;
}

function dropOf(float: ValidationResult, value: number): number {
  if (float.metric === 'top1') return float.value - value;
  if (float.value === 0) return value === 0 ? 0 : Infinity;
  return value / float.value - 1;
}
