import { CompressionError } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import { copyModel } from '../../training/copy-model.ts';
import type { PassContext, PassResult, Skipped } from '../pass.ts';
import { AccuracyMeter, type MeasuredDrop } from './accuracy-meter.ts';
import type { Method } from './activation-params.ts';

/** What a trial may add to the options as given. */
export interface RepairChoice {
  readonly method?: Method | 'learned';
  readonly equalize?: boolean;
  readonly smooth?: number;
  readonly biasCorrection?: 'none' | 'fast' | 'full';
  readonly rounding?: 'nearest' | 'gptq' | 'adaround';
}

export interface Trial extends MeasuredDrop {
  readonly added: RepairChoice;
}

export interface AutoSettings {
  /** What the accuracy may drop by: a share of the samples, or of the error in float. */
  readonly maxDrop: number;
  /** Whether the options as given go together with what a trial adds. */
  readonly allows: (added: RepairChoice) => boolean;
  /** Quantizes a copy of the model by the options as given and what the trial adds. */
  readonly quantize: (candidate: Model, added: RepairChoice) => Promise<PassResult>;
}

/** Cheapest first: one run over the data, two, one of both models layer by layer, training of the ranges, of each layer's codes. */
const LADDER: readonly RepairChoice[] = [
  {},
  { biasCorrection: 'fast' },
  { equalize: true, biasCorrection: 'fast' },
  { method: 'mse', biasCorrection: 'fast' },
  { method: 'mse', equalize: true, biasCorrection: 'full' },
  { rounding: 'gptq', biasCorrection: 'full' },
  { method: 'mse', equalize: true, rounding: 'gptq', biasCorrection: 'full' },
  { method: 'learned', equalize: true, biasCorrection: 'full' },
  { rounding: 'adaround', biasCorrection: 'none' },
  { method: 'mse', equalize: true, rounding: 'adaround', biasCorrection: 'none' },
];
/** Where there are products of matrices, after the trials that cost no more. */
const SMOOTHED: readonly RepairChoice[] = [{ smooth: 0.5 }, { smooth: 0.5, biasCorrection: 'fast' }];

/**
 * Tries repairs, the cheapest first, until the accuracy on the evaluation data is within the limit; the best one seen where none is.
 * The model becomes the chosen one; every trial is in the details.
 *
 * @throws CompressionError DATASET_LABELS, MODEL_RUN; AbortError when canceled
 */
export async function quantizeWithin(model: Model, settings: AutoSettings, context: PassContext): Promise<PassResult> {
  const { maxDrop } = settings;
  const meter = await AccuracyMeter.create(model, { what: 'accuracy "auto"', maxDrop }, context);
  const { float } = meter;
  const trials: Trial[] = [];
  let best: { readonly candidate: Model; readonly result: PassResult; readonly trial: Trial } | undefined;
  const ladder = ladderOf(model).filter(settings.allows);
  const skipped: Skipped[] = [];
  for (const [number, added] of ladder.entries()) {
    context.signal.throwIfAborted();
    context.progress(number / ladder.length, `trial ${number + 1} of at most ${ladder.length}`);
    const candidate = copyModel(model);
    const result = await settings.quantize(candidate, added).catch((error: unknown) => {
      if (!isWithoutGradient(added, error)) throw error;
      skipped.push({ node: 'learned ranges', reason: error.message });
    });
    if (result === undefined) continue;
    // Nothing to quantize: the same for every trial.
    if (result.changes === 0) return result;
    const trial = { added, ...(await meter.measure(candidate)) };
    trials.push(trial);
    if (best === undefined || trial.drop < best.trial.drop) best = { candidate, result, trial };
    if (trial.met) break;
  }
  if (best === undefined) throw new CompressionError('INTERNAL', 'no trial was made');
  Object.assign(model, best.candidate);
  const { result, trial } = best;
  const missed = `no repair keeps the accuracy within ${maxDrop}; the best one loses ${trial.drop}; try quantize.aware, or exclude layers`;
  return {
    ...result,
    skipped: [...result.skipped, ...skipped],
    warnings: trial.met ? result.warnings : [...result.warnings, missed],
    details: {
      ...result.details,
      accuracy: {
        metric: float.metric,
        samples: float.samples,
        float: float.value,
        maxDrop,
        chosen: trial.added,
        met: trial.met,
        trials,
      },
    },
  };
}

/** Ranges are learned by gradients, which not every operator has. */
function isWithoutGradient({ method }: RepairChoice, error: unknown): error is CompressionError {
  const codes: readonly string[] = ['TRAIN_NO_GRADIENT', 'MODEL_UNSUPPORTED', 'PASS_PRECONDITION'];
  return method === 'learned' && error instanceof CompressionError && codes.includes(error.code);
}

function ladderOf({ graph }: Model): readonly RepairChoice[] {
  const hasProducts = graph.nodes.some(
    ({ opType, inputs }) => opType === 'MatMul' && graph.initializers.has(inputs[1] ?? ''),
  );
  return hasProducts ? [...LADDER.slice(0, 2), ...SMOOTHED, ...LADDER.slice(2)] : LADDER;
}
