import type { Model } from '../../../onnx/model.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { lossOf, OutputComparison, type OutputChange, type OutputLoss } from '../../output-comparison.ts';
import type { FeedSource, PassContext } from '../../pass.ts';
import type { LayerChoice, StaticRequest } from '../static-request.ts';
import { planStatically, type StaticPlan } from '../static-run.ts';
import { choiceLabel, type MixedLayer } from './layers.ts';
import { withLayerQuantized } from './single-layer.ts';

/** What the model loses by one candidate of one layer. */
export interface Sensitivity {
  /** What is summed over the layers and made as small as the budget lets it be. */
  readonly loss: number;
  /** For the report: how the outputs change when this layer alone is quantized so. */
  readonly change?: OutputChange;
  /** By the Hessian: trace of its block for the layer's weight, and squared error of the rounded weight. */
  readonly trace?: number;
  readonly squaredError?: number;
}

/** By layer, by candidate. */
export type SensitivityTable = readonly (readonly Sensitivity[])[];

/** Keeps sums finite where the outputs of a candidate are not. */
const LARGEST_LOSS = 1e30;

/** What of the outputs is compared: `sqnr` is the loss `error`. */
export type Measure = Exclude<OutputLoss, 'error'> | 'sqnr';

export interface SensitivityRun {
  /** In float, as it is going to be quantized. It is not changed. */
  readonly model: Model;
  readonly layers: readonly MixedLayer[];
  readonly request: StaticRequest;
  /** What sensitivities are measured on. */
  readonly feeds: FeedSource;
  /** Default `kl` where the output is scores of classes and data have class labels, else `sqnr`. */
  readonly by?: Measure | undefined;
}

/**
 * Quantizes each layer alone to each of its candidates and measures the outputs. One run over the samples for each layer and candidate.
 *
 * - `kl` (Cai et al., ZeroQ, CVPR 2020, its sensitivity): divergence of the classes' probabilities from those of the float model. Noise that
 *   moves no probability costs nothing, whatever its size.
 * - `sqnr`: noise over signal, ||y - y'||² / ||y||².
 * - `metric`: the accuracy that is lost, ties by the noise.
 *
 * The first two add up over layers that do not know of each other, so sums of these stand for the whole model.
 *
 * @throws CompressionError DATASET_EMPTY, MODEL_RUN, PASS_PRECONDITION; AbortError when canceled
 */
export async function measuredSensitivities(
  run: SensitivityRun,
  context: PassContext,
): Promise<{ readonly by: Measure; readonly table: SensitivityTable }> {
  const { model, layers, feeds } = run;
  const comparison = await OutputComparison.create(model, feeds, context);
  const by = run.by ?? (comparison.hasClasses && (await hasClassLabels(context)) ? 'kl' : 'sqnr');
  const compared = by === 'sqnr' ? 'error' : by;
  comparison.requireLoss(compared, `sensitivity "${by}"`, `measure "${by === 'metric' ? 'kl' : 'sqnr'}"`);
  const plans = await uniformPlans(run, context);
  const total = layers.reduce((sum, { candidates }) => sum + candidates.length, 0);
  const table: Sensitivity[][] = [];
  let done = 0;
  for (const layer of layers) {
    const own: Sensitivity[] = [];
    for (const candidate of layer.candidates) {
      context.signal.throwIfAborted();
      context.progress(done / total, `measuring ${layer.label} in ${choiceLabel(candidate)}`);
      done += 1;
      const planned = plans.get(choiceLabel(candidate));
      if (planned === undefined) {
        own.push({ loss: 0, change: { accuracyDrop: 0, distance: 0, error: 0 } });
        continue;
      }
      const change = await comparison.compare(withLayerQuantized(model, layer, planned));
      own.push({ loss: Math.min(lossOf(change, compared), LARGEST_LOSS), change });
    }
    table.push(own);
  }
  return { by, table };
}

/** Whether a role of the job's data has one class index a sample: then rows of scores are of classes, not an embedding. */
async function hasClassLabels({ data }: Pick<PassContext, 'data'>): Promise<boolean> {
  for (const feeds of Object.values(data)) {
    for await (const { labels, count } of feeds.batches(1)) {
      if (labels?.type === 'int64' && labels.data.length === count) return true;
      break;
    }
  }
  return false;
}

/** Codes and parameters of all layers for each type that one of them may have, as if all had it. */
export async function uniformPlans(
  { model, layers, request }: Pick<SensitivityRun, 'model' | 'layers' | 'request'>,
  context: PassContext,
): Promise<ReadonlyMap<string, StaticPlan>> {
  const candidates = new Map<string, LayerChoice>();
  for (const layer of layers)
    for (const candidate of layer.candidates) candidates.set(choiceLabel(candidate), candidate);
  const plans = new Map<string, StaticPlan>();
  const quiet = { ...context, progress: () => undefined };
  for (const [label, candidate] of candidates) {
    if (candidate === 'float') continue;
    const choices = new Map(layers.flatMap(({ outputs }) => outputs.map((output) => [output, candidate] as const)));
    plans.set(label, await planStatically(copyModel(model), { ...request, choices, layersAlone: true }, quiet));
  }
  return plans;
}
