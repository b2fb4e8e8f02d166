import { defined } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import type { PassContext, PassResult } from '../../pass.ts';
import { AccuracyMeter, type MeasuredDrop } from '../accuracy-meter.ts';
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
  const most = 2 + 2 * Math.ceil(Math.log2(path.length));
  const trials: AccuracyTrial[] = [];
  const attempt = async (givenBack: number, best: Best | undefined): Promise<Best> => {
    context.signal.throwIfAborted();
    context.progress(Math.min(0.99, trials.length / most), `trial ${trials.length + 1} of at most ${most}`);
    const selection = defined(path[givenBack], `selection ${givenBack}`);
    const quantized = await quantize(selection);
    const trial = { givenBack, selection, ...(await meter.measure(quantized.model)) };
    trials.push(trial);
    return best === undefined || isBetter(trial, best.chosen) ? { chosen: trial, ...quantized } : best;
  };
  const last = path.length - 1;
  let below = -1;
  let at = 0;
  let best = await attempt(at, undefined);
  while (!best.chosen.met && at < last) {
    below = at;
    at = Math.min(last, Math.max(1, 2 * at));
    best = await attempt(at, best);
  }
  while (best.chosen.met && best.chosen.givenBack - below > 1) {
    const middle = (below + best.chosen.givenBack) >> 1;
    best = await attempt(middle, best);
    if (best.chosen.givenBack !== middle) below = middle;
  }
  return { ...best, trials, meter };
}

type Best = Pick<AccuracyTarget, 'chosen' | 'model' | 'result'>;

/** What is within the limit, the cheaper the better; else what loses less. */
function isBetter(trial: AccuracyTrial, than: AccuracyTrial): boolean {
  if (trial.met !== than.met) return trial.met;
  return trial.met ? trial.givenBack < than.givenBack : trial.drop < than.drop;
}
