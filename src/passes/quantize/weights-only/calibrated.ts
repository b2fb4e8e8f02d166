import { setImmediate } from 'node:timers/promises';
import type { Model } from '../../../onnx/model.ts';
import { MomentCollector, type InputMoments } from '../../layer-inputs/input-moments.ts';
import { rowsObstacle } from '../../layer-inputs/input-rows.ts';
import { weightTargets, type WeightTarget } from '../../layer-inputs/weight-targets.ts';
import type { FeedSource, PassContext } from '../../pass.ts';
import { moveScales } from '../smooth/move-scales.ts';
import { allFinite } from '../weights.ts';
import { clippedRows, type ClippedRows } from './awq-clip.ts';
import { awqScales, type AwqChoice } from './awq-scales.ts';
import type { SharedWeight } from './find-sites.ts';
import { diagonalOf, gptqRows, type LayerWeight } from './gptq-rows.ts';
import { searchedRows } from './k-quant.ts';
import type { LayerReport } from './layer-report.ts';
import { outputError } from './output-error.ts';
import type { WeightsOptions } from './options.ts';
import type { BlockScheme, QuantizedRows } from './quantized-rows.ts';
import { rowsOf } from './read-rows.ts';
import { rtnRows } from './rtn.ts';

/** A weight whose layer's inputs can be looked at. */
interface Observable {
  readonly weight: SharedWeight;
  readonly target: WeightTarget;
}

export interface CalibratedWeights {
  readonly observable: readonly Observable[];
  /** What has to do without data, and why. */
  readonly others: readonly { readonly weight: SharedWeight; readonly reason: string }[];
}

/** Splits weights into those whose inputs calibration data can show, and the rest. */
export function observableWeights(model: Model, weights: readonly SharedWeight[]): CalibratedWeights {
  const { targets } = weightTargets(model, { exclude: [] });
  const byName = new Map(targets.map((target) => [target.name, target]));
  const observable: Observable[] = [];
  const others: { weight: SharedWeight; reason: string }[] = [];
  for (const weight of weights) {
    const [site] = weight.sites;
    const inMain =
      site?.constant.owner === model.graph && weight.sites.every(({ scope }) => scope.graph === model.graph);
    const target = inMain ? byName.get(site.constant.tensor.name) : undefined;
    const reason =
      site?.kind === 'embedding' || site?.kind === 'recurrent'
        ? `its inputs are not multiplied as those of a layer are (${site.node.opType})`
        : target === undefined
          ? 'it is no layer of the main graph with a weight of two axes, or a kernel'
          : target.nodes.map(rowsObstacle).find((one) => one !== undefined);
    if (target === undefined || reason !== undefined) others.push({ weight, reason: reason ?? '' });
    else observable.push({ weight, target });
  }
  return { observable, others };
}

/** What a calibrated algorithm hands to whoever stores the codes. */
export interface CalibratedResult {
  readonly weight: SharedWeight;
  readonly quantized: QuantizedRows;
  readonly report: Pick<LayerReport, 'algorithm' | 'outputError' | 'inputScales' | 'clippedBlockShare'>;
}

export interface CalibratedJob {
  readonly model: Model;
  readonly options: WeightsOptions;
  readonly context: PassContext & { readonly feeds: FeedSource };
  /** Called for each weight as soon as it is done, and before any later one is looked at. */
  store(result: CalibratedResult): void;
  refuse(weight: SharedWeight, reason: string): void;
}

/**
 * GPTQ goes through the layers in the order of the graph: each sees the inputs that the layers quantized before it make. AWQ goes
 * backwards, so that the operators which scales are folded into are still in float. Layers that read one value go together.
 */
export async function quantizeCalibrated(weights: readonly Observable[], job: CalibratedJob): Promise<void> {
  const { model, options, context } = job;
  const collector = new MomentCollector(context.feeds, 'products', context);
  const groups = byInput(weights);
  if (options.algorithm === 'awq') groups.reverse();
  let done = 0;
  try {
    for (const group of groups) {
      await setImmediate();
      context.signal.throwIfAborted();
      context.progress(done / weights.length, `looking at the inputs of ${group[0]?.target.name ?? ''}`);
      const moments = await collector.collect(
        model,
        group.map(({ target }) => target),
      );
      const finite = group.filter(({ weight, target }) => {
        const isFinite = allFinite(valuesOf(model, target));
        if (!isFinite) job.refuse(weight, `weight "${target.name}" holds NaN or infinity`);
        return isFinite;
      });
      if (options.algorithm === 'awq') byAwq(finite, moments, job);
      else byGptq(finite, moments, job);
      done += group.length;
    }
  } finally {
    await collector.release();
  }
}

/** Layers that read the same values, in the order of the graph. */
function byInput(weights: readonly Observable[]): Observable[][] {
  const groups = new Map<string, Observable[]>();
  for (const one of weights) {
    const key = one.target.nodes.map((node) => node.inputs[0] ?? '').join('\n');
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return [...groups.values()];
}

function byGptq(group: readonly Observable[], moments: ReadonlyMap<string, InputMoments>, job: CalibratedJob): void {
  const { bits, symmetric, actOrder, damping } = job.options;
  const scheme = { bits, symmetric };
  for (const { weight, target } of group) {
    const own = moments.get(target.name);
    if (own === undefined) continue;
    const layer = layerOf(job.model, weight, target);
    const quantized = gptqRows(layer, own, { scheme, scales: 'search', actOrder, damping });
    keepBetter(job, weight, { layer, moments: own, quantized, algorithm: 'gptq' });
  }
}

function byAwq(group: readonly Observable[], moments: ReadonlyMap<string, InputMoments>, job: CalibratedJob): void {
  const { model, options } = job;
  const scheme = { bits: options.bits, symmetric: options.symmetric };
  const [first] = group;
  const own = first === undefined ? undefined : moments.get(first.target.name);
  if (first === undefined || own === undefined) return;
  const value = first.target.nodes[0]?.inputs[0] ?? '';
  const isScalable = group.every(
    ({ weight, target }) =>
      weight.sites[0]?.kind === 'product' && target.nodes.every(({ inputs }) => inputs[0] === value),
  );
  const layers = group.map(({ weight, target }) => layerOf(model, weight, target));
  const before = layers.map((layer, i) => rtnError(layer, moments.get(group[i]?.target.name ?? '') ?? own, options));
  const choice = isScalable ? awqScales(layers, own, scheme) : undefined;
  const isFolded =
    choice === undefined
      ? undefined
      : moveScales(model, { value, targets: group.map(({ target }) => target) }, choice.scales) === undefined;
  for (const [i, { weight, target }] of group.entries()) {
    const scaled = scaledMoments(moments.get(target.name) ?? own, choice);
    const layer = layerOf(model, weight, target);
    const rows = rowsOf(layer.values, layer.view);
    const importance = isScalable ? diagonalOf(scaled.groups[0] ?? new Float64Array(0), scaled.columns) : undefined;
    const searched = searchedRows(rows, layer.view, scheme, importance);
    const clipped =
      isScalable && options.clipSearch ? clip(searched, { layer, rows, moments: scaled, scheme }) : undefined;
    keepBetter(job, weight, {
      layer,
      moments: scaled,
      quantized: clipped?.quantized ?? searched,
      ...(clipped === undefined ? {} : { clippedBlockShare: clipped.changedShare }),
      algorithm: isScalable ? 'awq' : 'k-quant',
      before: before[i] ?? 0,
      ...(choice === undefined || isFolded === undefined
        ? {}
        : { inputScales: { ratio: choice.ratio, folded: isFolded } }),
    });
  }
}

/** Undefined where blocks that do better each for itself do worse together. */
function clip(
  searched: QuantizedRows,
  {
    layer,
    rows,
    moments,
    scheme,
  }: {
    readonly layer: LayerWeight;
    readonly rows: Float32Array;
    readonly moments: InputMoments;
    readonly scheme: BlockScheme;
  },
): ClippedRows | undefined {
  const products = moments.groups[0] ?? new Float64Array(0);
  const clipped = clippedRows(searched, { values: rows, view: layer.view, products }, scheme);
  const isBetter = outputError(layer, clipped.quantized, moments) < outputError(layer, searched, moments);
  return isBetter ? clipped : undefined;
}

/** Hands on the result, or plain rounding where that changes the layer's outputs less. */
function keepBetter(
  job: CalibratedJob,
  weight: SharedWeight,
  found: {
    readonly layer: LayerWeight;
    readonly moments: InputMoments;
    readonly quantized: QuantizedRows;
    readonly algorithm: LayerReport['algorithm'];
    /** Error of plain rounding of the weights as they were, where they have been scaled since. */
    readonly before?: number;
    readonly inputScales?: { readonly ratio: number; readonly folded: boolean };
    readonly clippedBlockShare?: number;
  },
): void {
  const { layer, moments, quantized, algorithm, inputScales, clippedBlockShare } = found;
  const { bits, symmetric } = job.options;
  const plain = rtnRows(rowsOf(layer.values, layer.view), layer.view, { bits, symmetric });
  const plainError = outputError(layer, plain, moments);
  const error = outputError(layer, quantized, moments);
  const isBetter = error <= plainError;
  job.store({
    weight,
    quantized: isBetter ? quantized : plain,
    report: {
      // Scaled weights that are then rounded to nearest are AWQ still.
      algorithm: isBetter || inputScales !== undefined ? algorithm : 'rtn',
      outputError: { before: found.before ?? plainError, after: isBetter ? error : plainError },
      ...(inputScales === undefined ? {} : { inputScales }),
      ...(clippedBlockShare === undefined || !isBetter ? {} : { clippedBlockShare }),
    },
  });
}

function rtnError(layer: LayerWeight, moments: InputMoments, { bits, symmetric }: WeightsOptions): number {
  return outputError(layer, rtnRows(rowsOf(layer.values, layer.view), layer.view, { bits, symmetric }), moments);
}

function layerOf(model: Model, { sites }: SharedWeight, target: WeightTarget): LayerWeight {
  const view = sites[0]?.view ?? { outer: 1, size: 1, inner: 1, blockSize: 1 };
  return { values: valuesOf(model, target), view, layout: target.layout };
}

function valuesOf(model: Model, { name }: WeightTarget): Float32Array {
  return model.graph.initializers.get(name)?.floats() ?? new Float32Array(0);
}

/** Moments of x / s. */
function scaledMoments(moments: InputMoments, choice: AwqChoice | undefined): InputMoments {
  if (choice === undefined) return moments;
  const { scales } = choice;
  const { columns } = moments;
  const groups = moments.groups.map((products) =>
    products.map((value, i) => value / ((scales[Math.floor(i / columns)] ?? 1) * (scales[i % columns] ?? 1))),
  );
  return { ...moments, groups };
}
