import { CompressionError, defined } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import { copyModel } from '../../training/copy-model.ts';
import type { PassContext, PassResult, Skipped } from '../pass.ts';
import { AccuracyMeter, type MeasuredDrop } from './accuracy-meter.ts';
import type { Method } from './activation-params.ts';
import { fewestSteps, mostAttempts } from './fewest-steps.ts';

/** What a trial may add to the options as given. */
export interface RepairChoice {
  readonly method?: Method | 'learned';
  readonly equalize?: boolean;
  readonly smooth?: number;
  readonly biasCorrection?: 'none' | 'fast' | 'full';
  readonly rounding?: 'nearest' | 'gptq' | 'adaround';
  /** So many layers stay in float, those first that do most harm. */
  readonly floatLayers?: number;
}

export interface Trial extends MeasuredDrop {
  readonly added: RepairChoice;
}

export interface AutoSettings {
  /** What the accuracy may drop by: a share of the samples, or of the error in float. */
  readonly maxDrop: number;
  /** Whether the options as given go together with what a trial adds. */
  readonly allows: (added: RepairChoice) => boolean;
  /** Quantizes a copy of the model by the options as given and what the trial adds. @param inFloat - first outputs of layers left in float */
  readonly quantize: (
    candidate: Model,
    added: Omit<RepairChoice, 'floatLayers'>,
    inFloat: ReadonlySet<string>,
  ) => Promise<PassResult>;
  /** First outputs of each layer, those first that do most harm; none where layers must not stay in float. */
  readonly layersByHarm: (model: Model) => Promise<readonly (readonly string[])[]>;
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
 * Tries repairs, the cheapest first, until the accuracy on the evaluation data is within the limit. Where none keeps it, layers are given back
 * to float beside the repair that lost least, as few as do. The best trial seen where that is not enough either. The model becomes the chosen
 * one; every trial is in the details.
 *
 * @throws CompressionError DATASET_LABELS, MODEL_RUN; AbortError when canceled
 */
export async function quantizeWithin(model: Model, settings: AutoSettings, context: PassContext): Promise<PassResult> {
  const { maxDrop } = settings;
  const meter = await AccuracyMeter.create(model, { what: 'accuracy "auto"', maxDrop }, context);
  const trials = new Trials({ model, meter, settings, context });
  const ladder = ladderOf(model).filter(settings.allows);
  for (const added of ladder) {
    const made = await trials.attempt(added, { most: ladder.length });
    // Nothing to quantize: the same for every trial.
    if (made !== undefined && made.trial === undefined) return made.result;
    if (made?.trial?.met === true) break;
  }
  if (!trials.best.trial.met) await trials.giveBack();
  const { candidate, result, trial } = trials.best;
  Object.assign(model, candidate);
  const gaveBack = trials.made.some(({ added }) => added.floatLayers !== undefined);
  const missed = `no repair keeps the accuracy within ${maxDrop}${gaveBack ? ', nor does giving layers back to float' : ''}; the best trial loses ${trial.drop}; try quantize.aware`;
  const { float } = meter;
  return {
    ...result,
    skipped: [...result.skipped, ...trials.skipped],
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
        trials: trials.made,
      },
    },
  };
}

interface Attempt {
  readonly candidate: Model;
  readonly result: PassResult;
  /** Absent where nothing was quantized, and so nothing measured. */
  readonly trial?: Trial;
}

interface Given {
  readonly model: Model;
  readonly meter: AccuracyMeter;
  readonly settings: AutoSettings;
  readonly context: PassContext;
}

/** Trials of one model, and the best of them. */
class Trials {
  readonly made: Trial[] = [];
  readonly skipped: Skipped[] = [];
  readonly #given: Given;
  #best: Required<Attempt> | undefined;

  constructor(given: Given) {
    this.#given = given;
  }

  get best(): Required<Attempt> {
    return defined(this.#best, 'a trial');
  }

  /**
   * Quantizes a copy of the model and measures it. Undefined where the repair does not go with the model.
   *
   * @param inFloat - layers that stay in float, by the first outputs of their nodes
   */
  async attempt(
    added: RepairChoice,
    { most, inFloat = [] }: { readonly most: number; readonly inFloat?: readonly (readonly string[])[] },
  ): Promise<Attempt | undefined> {
    const { model, meter, settings, context } = this.#given;
    context.signal.throwIfAborted();
    const number = this.made.length;
    context.progress(Math.min(0.99, number / most), `trial ${number + 1} of at most ${most}`);
    const candidate = copyModel(model);
    const result = await settings.quantize(candidate, added, new Set(inFloat.flat())).catch((error: unknown) => {
      if (!isWithoutGradient(added, error)) throw error;
      this.skipped.push({ node: 'learned ranges', reason: error.message });
    });
    if (result === undefined) return undefined;
    if (result.changes === 0) return { candidate, result };
    const choice = inFloat.length === 0 ? added : { ...added, floatLayers: inFloat.length };
    const trial = { added: choice, ...(await meter.measure(candidate)) };
    this.made.push(trial);
    const attempt = { candidate, result, trial };
    if (this.#best === undefined || isBetter(trial, this.#best.trial)) this.#best = attempt;
    return attempt;
  }

  /** Beside the repair that loses least: as few layers in float as keep the accuracy, half of them at most. */
  async giveBack(): Promise<void> {
    const { model, settings } = this.#given;
    const { added } = this.best.trial;
    const layers = await settings.layersByHarm(model).catch((error: unknown) => {
      // Outputs that cannot be compared: what was found so far stands.
      if (!(error instanceof CompressionError) || error.code !== 'PASS_PRECONDITION') throw error;
      this.skipped.push({ node: 'layers given back', reason: error.message });
      return [];
    });
    const last = Math.floor(layers.length / 2);
    if (last === 0) return;
    const most = this.made.length + mostAttempts(last);
    await fewestSteps({ first: 1, last }, async (count) => {
      const made = await this.attempt(added, { most, inFloat: layers.slice(0, count) });
      return { met: made?.trial?.met === true };
    });
  }
}

/** What is within the limit, with fewer layers in float the better; else what loses less. */
function isBetter(trial: Trial, than: Trial): boolean {
  if (trial.met !== than.met) return trial.met;
  const [own = 0, others = 0] = [trial.added.floatLayers, than.added.floatLayers];
  return trial.met ? own < others : trial.drop < than.drop;
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
