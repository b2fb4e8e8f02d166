import { CompressionError, defined } from '../../../errors.ts';
import { usesOf } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { rowsObstacle } from '../../layer-inputs/input-rows.ts';
import { RowProducts } from '../../layer-inputs/row-products.ts';
import { weightTargets, type WeightTarget } from '../../layer-inputs/weight-targets.ts';
import type { PassContext, Skipped } from '../../pass.ts';
import { SteppedRun } from '../../stepped-run.ts';
import { nodeLabel } from '../node-filter.ts';
import type { ComputeUnit } from '../units.ts';
import type { LearnedWeight, WeightPlan } from '../weight-plan.ts';
import { limitPairs, type WeightRange } from '../weights.ts';
import { meanShift, type SideBySide } from './layer-data.ts';
import { learnCodes, type LearningTools } from './learn-codes.ts';
import { addToBias, setFloatWeight, setWeight, type SimulatedLayer, type Simulation } from './simulation.ts';

export interface RepairSettings {
  readonly rounding: 'nearest' | 'gptq' | 'adaround';
  readonly iterations: number;
  /** Whether each layer's bias makes up for the mean that its rounded weights and inputs move its outputs by. */
  readonly correctsBias: boolean;
  readonly rangeOf: (unit: ComputeUnit) => WeightRange;
  /** Whether each layer is repaired as if the weights of all others were in float: to weigh types of single layers. */
  readonly isAlone: boolean;
}

/** One layer of the step report. */
export interface RepairedLayer {
  readonly node: string;
  /** Share of the weights that are not rounded to nearest. */
  readonly learnedShare?: number;
  /** Largest correction of a bias, as a share of the largest output. */
  readonly biasShift?: number;
}

export interface Repair {
  /** Codes by `weightKey`. */
  readonly learned: ReadonlyMap<string, LearnedWeight>;
  /** What is to be added to the bias of the layer that makes a value. */
  readonly biasShifts: ReadonlyMap<string, Float64Array>;
  readonly layers: readonly RepairedLayer[];
  readonly skipped: readonly Skipped[];
}

/** A correction beyond this share of the largest output is no rounding error, but a layer that saturates on these data. */
export const LARGEST_BIAS_SHIFT = 0.5;

/**
 * Goes through the layers in the order they run, each on what the quantized and repaired layers before it make of the calibration
 * data: chooses codes for its weight that keep its output near that of the float model, then moves its bias so that the mean of each
 * channel is right. About one run of either model over the data, plus the learning. Changes the simulation, not the model.
 *
 * @param float - the model that is quantized, as it is
 * @throws CompressionError DATASET_EMPTY, MODEL_RUN; AbortError when canceled
 */
export async function repairLayers(
  float: Model,
  { simulation, weights }: { readonly simulation: Simulation; readonly weights: WeightPlan },
  settings: RepairSettings,
  context: PassContext,
): Promise<Repair> {
  const feeds = context.data.calibration;
  if (feeds === undefined) throw new CompressionError('PASS_PRECONDITION', 'learned rounding needs calibration data');
  const targets = new Map(
    weightTargets(float, { exclude: [] }).targets.flatMap((target) =>
      target.nodes.map((node) => [node.outputs[0] ?? '', target] as const),
    ),
  );
  const places = new Map(float.graph.nodes.map(({ outputs }, index) => [outputs[0] ?? '', index]));
  const { layers } = simulation;
  const run: SideBySide = {
    quantized: new SteppedRun(simulation.model, feeds, context, {
      until: 1 + Math.max(-1, ...layers.map(({ index }) => index)),
    }),
    float: new SteppedRun(float, feeds, context, {
      until: 1 + Math.max(-1, ...layers.map(({ output }) => places.get(output) ?? 0)),
    }),
    placeOf: (output) => defined(places.get(output), `node that makes "${output}"`),
    samples: feeds.samples,
    seed: context.seed,
  };
  if (settings.isAlone) for (const layer of layers) setFloatWeight(simulation, layer);
  const products = new RowProducts(context);
  const clips = clipsBehind(float);
  const learned = new Map<string, LearnedWeight>();
  const biasShifts = new Map<string, Float64Array>();
  const repaired: RepairedLayer[] = [];
  const skipped: Skipped[] = [];
  try {
    for (const [number, layer] of layers.entries()) {
      const label = nodeLabel(layer.node);
      context.progress(number / layers.length, `repairing ${label}`);
      const target = targets.get(layer.output);
      const reason = obstacle(layer, target, { settings, weights });
      if (target === undefined || reason !== undefined) {
        skipped.push({ node: label, reason: `rounded to nearest: ${reason ?? 'its weight is no matrix'}` });
        continue;
      }
      let report: RepairedLayer = { node: label };
      if (settings.rounding !== 'nearest') {
        const clip = clips.get(layer.output);
        const tools = { run, products, context };
        const share = await learnLayer(
          { layer, target, weights, clip },
          { ...settings, rounding: settings.rounding },
          { simulation, learned, tools },
        );
        report = { ...report, learnedShare: share };
      }
      if (settings.correctsBias) {
        const found = await correctBias(layer, target, { simulation, run });
        if (typeof found === 'string') skipped.push({ node: label, reason: found });
        else {
          biasShifts.set(layer.output, found.shift);
          report = { ...report, biasShift: found.share };
        }
      }
      repaired.push(report);
    }
  } finally {
    await products.release();
  }
  return { learned, biasShifts, layers: repaired, skipped };
}

/** GPTQ factorizes a matrix of the inputs' moments, which takes the cube of them: 4,608 about a minute. */
const MAX_COLUMNS = 4608;

function obstacle(
  { node, unit, weight }: SimulatedLayer,
  target: WeightTarget | undefined,
  { settings: { rounding }, weights }: { readonly settings: RepairSettings; readonly weights: WeightPlan },
): string | undefined {
  if (target === undefined) return `its weight "${weight.tensor.name}" is no matrix`;
  if (target.nodes.length > 1) return 'several layers share its weight';
  const columns = target.layout.inputs * target.layout.kernel;
  if (rounding === 'gptq' && columns > MAX_COLUMNS) {
    return `${columns} weights a channel are too many for gptq, at most ${MAX_COLUMNS}; use adaround`;
  }
  const [first, ...others] = weights.weightOf(unit).zeroPoints;
  if (rounding === 'adaround' && others.some((zeroPoint) => zeroPoint !== first)) {
    return 'adaround takes one zero point for all channels; use gptq';
  }
  return rowsObstacle(node);
}

/** @returns the share of weights that are not rounded to nearest */
async function learnLayer(
  {
    layer,
    target,
    weights,
    clip,
  }: {
    readonly layer: SimulatedLayer;
    readonly target: WeightTarget;
    readonly weights: WeightPlan;
    readonly clip: readonly [number, number] | undefined;
  },
  settings: RepairSettings & { readonly rounding: 'gptq' | 'adaround' },
  {
    simulation,
    learned,
    tools,
  }: { readonly simulation: Simulation; readonly learned: Map<string, LearnedWeight>; readonly tools: LearningTools },
): Promise<number> {
  const planned = weights.weightOf(layer.unit);
  const stored = simulation.model.graph.initializers.get(layer.biasName ?? '')?.floats();
  const bias = stored ?? new Float64Array(target.layout.outputs);
  const channels = target.layout.outputs;
  const codes = await learnCodes(
    { layer, target, planned },
    {
      ...settings,
      clip,
      bias: Float32Array.from({ length: channels }, (_, c) => bias[bias.length === 1 ? 0 : c] ?? 0),
    },
    tools,
  );
  if (settings.rangeOf(layer.unit) === 'pair-safe') limitPairs(codes, planned.layout);
  const weight = { ...planned, codes };
  learned.set(layer.key, weight);
  if (!settings.isAlone) setWeight(simulation, layer, weight);
  let changed = 0;
  for (let i = 0; i < codes.length; i += 1) if (codes[i] !== planned.codes[i]) changed += 1;
  return changed / Math.max(1, codes.length);
}

async function correctBias(
  layer: SimulatedLayer,
  { layout }: WeightTarget,
  { simulation, run }: { readonly simulation: Simulation; readonly run: SideBySide },
): Promise<{ readonly shift: Float64Array; readonly share: number } | string> {
  if (layer.biasName === undefined) return 'bias not corrected: the layer has none';
  const { shift, largest } = await meanShift(layer, layout.outputs, run);
  const size = shift.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  if (!(size <= LARGEST_BIAS_SHIFT * largest)) {
    return `bias not corrected: means are off by up to ${size.toPrecision(3)}, outputs reach ${largest.toPrecision(3)}`;
  }
  const correction = shift.map((value) => -value);
  addToBias(simulation, layer, correction);
  return { shift: correction, share: largest === 0 ? 0 : size / largest };
}

/** What cuts off the values behind a layer, by the value the layer makes: a Relu or Clip that alone reads it. */
function clipsBehind({ graph }: Model): ReadonlyMap<string, readonly [number, number]> {
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const clips = new Map<string, readonly [number, number]>();
  const bound = (name: string | undefined, absent: number): number | undefined =>
    name === undefined || name === '' ? absent : graph.initializers.get(name)?.floats()[0];
  for (const [value, [use, second]] of usesOf(graph)) {
    if (use === undefined || second !== undefined || use.inputIndex !== 0 || outputs.has(value)) continue;
    const { opType, inputs } = use.node;
    if (opType === 'Relu') clips.set(value, [0, Infinity]);
    if (opType !== 'Clip') continue;
    const [min, max] = [bound(inputs[1], -Infinity), bound(inputs[2], Infinity)];
    if (min !== undefined && max !== undefined && min < max) clips.set(value, [min, max]);
  }
  return clips;
}
