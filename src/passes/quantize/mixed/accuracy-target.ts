import { defined } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import type { PassContext, PassResult } from '../../pass.ts';
import { AccuracyMeter, type MeasuredDrop } from '../accuracy-meter.ts';
import { fewestSteps, mostAttempts } from '../fewest-steps.ts';
import { hullPath, type LayerOptions, type Selection } from './selection.ts';

/** One selection that was quantized whole and measured. */
export interface AccuracyTrial extends MeasuredDrop {
  /** How many times a layer was given back to a wider type, from the cheapest selection. */
  readonly givenBack: number;
  readonly selection: Selection;
}

export interface AccuracyTarget {
  readonly chosen: AccuracyTrial;
  readonly model: Model;
  readonly result: PassResult;
  readonly trials: readonly AccuracyTrial[];
  readonly meter: AccuracyMeter;
}

export interface AccuracySettings {
  readonly maxDrop: number;
  readonly table: readonly LayerOptions[];
  /** Quantizes a copy of the model by a selection. */
  readonly quantize: (selection: Selection) => Promise<{ readonly model: Model; readonly result: PassResult }>;
}

/**
 * From the cheapest selection, gives layers back to wider types, the one that takes off the most loss for its cost first, until what is lost on the
 * evaluation data is within the limit: one layer, two, four ..., then by halves between the last that was not within and the first that was. Where
 * none is, the best one seen is the answer. Each trial is quantized whole and measured.
 *
 * @throws CompressionError PASS_PRECONDITION, DATASET_LABELS, MODEL_RUN; AbortError when canceled
 */
export async function withinAccuracy(
  model: Model,
  { maxDrop, table, quantize }: AccuracySettings,
  context: PassContext,
): Promise<AccuracyTarget> {
  const meter = await AccuracyMeter.create(model, { what: 'maxAccuracyDrop', maxDrop }, context);
  const path = hullPath(table);
  const most = mostAttempts(path.length);
  const trials: AccuracyTrial[] = [];
  let best: Best | undefined;
  await fewestSteps({ first: 0, last: path.length - 1 }, async (givenBack) => {
    context.signal.throwIfAborted();
    context.progress(Math.min(0.99, trials.length / most), `trial ${trials.length + 1} of at most ${most}`);
    const selection = defined(path[givenBack], `selection ${givenBack}`);
    const quantized = await quantize(selection);
    const trial = { givenBack, selection, ...(await meter.measure(quantized.model)) };
    trials.push(trial);
    if (best === undefined || isBetter(trial, best.chosen)) best = { chosen: trial, ...quantized };
    return trial;
  });
  return { ...defined(best, 'the first trial'), trials, meter };
}

type Best = Pick<AccuracyTarget, 'chosen' | 'model' | 'result'>;

/** What is within the limit, the cheaper the better; else what loses less. */
function isBetter(trial: AccuracyTrial, than: AccuracyTrial): boolean {
  if (trial.met !== than.met) return trial.met;
  return trial.met ? trial.givenBack < than.givenBack : trial.drop < than.drop;
}
