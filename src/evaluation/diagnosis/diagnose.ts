import { CompressionError, messageOf } from '../../errors.ts';
import { DATA_TYPES, isFloatType } from '../../onnx/data-type.ts';
import { inferTypes } from '../../onnx/inference/infer-types.ts';
import type { Model } from '../../onnx/model.ts';
import type { FeedSource } from '../../passes/pass.ts';
import { nodeLabel } from '../../passes/quantize/node-filter.ts';
import type { Runtime } from '../../runtime/session.ts';
import type { DiagnosedLayer, Diagnosis } from '../../schemas/diagnosis.ts';
import { matchLayers, type LayerPair } from '../layer-match.ts';
import { asNumbers } from '../numbers.ts';
import { Beside } from './beside.ts';
import type { QuantizingStep } from './changes.ts';
import { explain } from './explain.ts';
import { outputNoise, type OutputNoise } from './output-noise.ts';
import { ownErrors, type OwnError } from './own-errors.ts';
import { decibels, sliceSizes, typicalRatio } from './ratios.ts';
import { switched } from './switches.ts';

/** What is diagnosed: a step, the model in float that it was given, and what it made of it. */
export interface Diagnosed {
  /** Has the same values under the same names as `result`, but for what was folded or merged. */
  readonly float: Model;
  readonly result: Model;
  readonly step: QuantizingStep;
}

export interface DiagnosisData {
  readonly role: Diagnosis['data'];
  readonly feeds: FeedSource;
}

export interface DiagnosisOptions {
  readonly threads: number;
  /** Samples at most. Default 32. */
  readonly maxSamples?: number;
  /** Time for the errors of the layers, and for the noise at the outputs. Default 6 s each; fewer samples are taken then. */
  readonly budgetMs?: number;
  /** Values kept for one sample, at once. Default 64 MiB. */
  readonly groupBytes?: number;
  readonly signal?: AbortSignal;
  readonly progress?: (fraction: number) => void;
}

/** More layers are not switched one by one: those with the largest errors of their own are. */
const MAX_SWITCHES = 256;
const MAX_LAYERS = 1024;
/** Findings are for the layers that make up so much of the noise together, and so many at most. */
const EXPLAINED = 0.9;
const MAX_FINDINGS = 8;
const IN_FLOAT = 5;

/** All but what only the caller knows. */
type Found = Omit<Diagnosis, 'rewritten'>;

/**
 * Finds which layers of a quantized model lose the accuracy, and why. Each layer is run alone on the float model's values (its own
 * error), within the result (the accumulated one), and as the only quantized layer of the float model, up to its outputs.
 *
 * @returns what could not be measured under `notMeasured`
 * @throws CompressionError CANCELED
 */
export async function diagnose(
  runtime: Runtime,
  { float, result, step }: Diagnosed,
  { role, feeds }: DiagnosisData,
  options: DiagnosisOptions,
): Promise<Found> {
  const { threads, maxSamples = 32, budgetMs = 6000, groupBytes = 64 * 2 ** 20, signal, progress } = options;
  const running = { threads, maxSamples, budgetMs, ...(signal === undefined ? {} : { signal }) };
  const notMeasured: { name: string; reason: string }[] = [];
  const empty = { data: role, samples: 0, outputSamples: 0, layers: [], findings: [], inFloat: [], notMeasured };
  const pairs = comparable(float, result);
  const beside = Beside.of(float, result, pairs);
  if (pairs.length === 0 || beside === undefined) {
    const reason =
      pairs.length === 0
        ? 'the main graph has no layer that can be compared'
        : `the float model cannot be brought to the result's opset`;
    notMeasured.push({ name: 'diagnosis.layers', reason });
    return empty;
  }
  const measured = await attempt('diagnosis.layers', notMeasured, () =>
    ownErrors(runtime, { beside, result, feeds }, pairs, {
      ...running,
      groupBytes,
      progress: (fraction) => progress?.(fraction / 2),
    }),
  );
  if (measured === undefined) return empty;
  const noisy = noisyOnes(measured.layers);
  const outputs = floatOutputs(float);
  const noise =
    noisy.length === 0 || outputs.length === 0
      ? undefined
      : await attempt('diagnosis.outputs', notMeasured, () =>
          outputNoise(
            runtime,
            switched(
              beside,
              noisy.map(({ pair }) => pair),
              outputs,
            ),
            feeds,
            { ...running, inFloat: IN_FLOAT, progress: (fraction) => progress?.((1 + fraction) / 2) },
          ),
        );
  const layers = measured.layers.map((own) => describeLayer(own, noisy.indexOf(own), noise));
  const ranked = layers
    .filter(({ noiseShare = 0 }) => noiseShare > 0)
    .toSorted((a, b) => (b.noiseShare ?? 0) - (a.noiseShare ?? 0));
  return {
    data: role,
    samples: measured.samples,
    outputSamples: noise?.samples ?? 0,
    ...(noise === undefined ? {} : { modelSqnrDb: decibels(noise.all) }),
    layers,
    findings: worstOf(ranked).map((layer) => explain(layer, step)),
    inFloat: (noise?.without ?? []).map(({ layers: left, noise: rest }) => ({
      layers: left.map((index) => nameOf(noisy[index]?.pair)),
      modelSqnrDb: decibels(rest),
    })),
    notMeasured,
  };
}

/** Layers on real numbers, each output once. */
function comparable(float: Model, result: Model): LayerPair[] {
  const types = inferTypes(float);
  const seen = new Set<string>();
  const pairs: LayerPair[] = [];
  for (const pair of matchLayers(float.graph, result.graph)) {
    const type = types.of(float.graph, pair.output);
    const isFloat = type === undefined || (type.kind === 'tensor' && type.elementType === 'float');
    if (!isFloat || seen.has(pair.output) || pair.counterpart === undefined) continue;
    seen.add(pair.output);
    pairs.push(pair);
  }
  return pairs.slice(0, MAX_LAYERS);
}

function floatOutputs({ graph }: Model): string[] {
  return graph.outputs
    .filter(({ type }) => type === undefined || (type.kind === 'tensor' && isFloatType(type.elementType)))
    .map(({ name }) => name);
}

/** Layers whose own error is above zero, in graph order. */
function noisyOnes(layers: readonly OwnError[]): OwnError[] {
  const noisy = layers.filter(({ report, side }) => typeof side !== 'string' && typeof report.ownSqnrDb === 'number');
  if (noisy.length <= MAX_SWITCHES) return noisy;
  const kept = new Set(
    noisy.toSorted((a, b) => (a.report.ownSqnrDb ?? 0) - (b.report.ownSqnrDb ?? 0)).slice(0, MAX_SWITCHES),
  );
  return noisy.filter((layer) => kept.has(layer));
}

function worstOf(ranked: readonly DiagnosedLayer[]): DiagnosedLayer[] {
  const worst: DiagnosedLayer[] = [];
  let sum = 0;
  for (const layer of ranked.slice(0, MAX_FINDINGS)) {
    if (sum >= EXPLAINED) break;
    worst.push(layer);
    sum += layer.noiseShare ?? 0;
  }
  return worst;
}

function describeLayer(own: OwnError, index: number, noise: OutputNoise | undefined): DiagnosedLayer {
  const { pair, side, report } = own;
  const alone = index < 0 ? undefined : noise?.alone.get(index);
  const total = [...(noise?.alone.values() ?? [])].reduce((sum, value) => sum + value, 0);
  const weights = describeWeights(pair);
  return {
    name: nameOf(pair),
    opType: pair.node.opType,
    output: pair.output,
    ...report,
    ...(alone === undefined ? {} : { modelSqnrDb: decibels(alone), noiseShare: total > 0 ? alone / total : 0 }),
    ...(weights === undefined ? {} : { weights }),
    ...(typeof side === 'string' ? { note: side } : {}),
  };
}

function describeWeights(pair: LayerPair): DiagnosedLayer['weights'] {
  const { weight, resultWeight, channelAxis } = pair;
  if (weight === undefined || resultWeight === undefined) return undefined;
  const { tensor, packed, quantization } = resultWeight;
  if (quantization === undefined && packed === undefined) return undefined;
  const values = asNumbers(weight.tensor.toArray());
  const { dims } = weight.tensor;
  const ratioAlong = (axis: number): number =>
    values === undefined ? 1 : typicalRatio(sliceSizes(values, dims, axis));
  const inputAxis = pair.node.opType === 'ConvTranspose' ? 0 : channelAxis === 0 ? 1 : channelAxis - 1;
  return {
    bits: packed?.bits ?? DATA_TYPES[tensor.dataType].bits,
    scales: quantization?.scale?.elementCount ?? 0,
    ...(values === undefined || dims.length < 2
      ? {}
      : { channelRatio: ratioAlong(channelAxis), inputRatio: ratioAlong(inputAxis) }),
  };
}

/** As `exclude` of a recipe's step names it. */
function nameOf(pair: LayerPair | undefined): string {
  return pair === undefined ? '' : nodeLabel(pair.node);
}

/** What fails here is the taking apart of models that ran as they were: the job goes on, and the report says why. */
async function attempt<T>(
  name: string,
  notMeasured: { name: string; reason: string }[],
  measure: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await measure();
  } catch (error) {
    if (!(error instanceof CompressionError) || !error.code.startsWith('MODEL_')) throw error;
    notMeasured.push({ name, reason: messageOf(error) });
    return undefined;
  }
}
