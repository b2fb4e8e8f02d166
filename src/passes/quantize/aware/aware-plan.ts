import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import { copyModel } from '../../../training/copy-model.ts';
import type { Skipped } from '../../pass.ts';
import { viewOf, type GraphView } from '../graph-view.ts';
import { filterNodes, nodeLabel } from '../node-filter.ts';
import { findCandidates, makePlan, type QuantPlan } from '../plan.ts';
import { opsetFor } from '../quant-type.ts';
import { foldLayers, normalizedLayers } from '../trained/normalized-layers.ts';
import { outerNodes } from '../trained/outer-nodes.ts';
import type { ComputeUnit } from '../units.ts';
import type { AwareOptions } from './options.ts';

/** A layer with a weight in the plan, known by its first output: nodes are copied on the way, names stay. */
export interface AwareLayer {
  readonly key: string;
  readonly unit: ComputeUnit;
  readonly weightBits: number;
  readonly activationBits: number;
  /** The type its codes have in the file; layers in int8 run on int8 kernels. */
  readonly storedAs: StoredType;
}

export type StoredType = 'int8' | 'int4' | 'int2';

/** A second quantizer in front of a layer, where others read the value with more bits. */
export interface Edge {
  readonly key: string;
  readonly inputIndex: number;
  readonly value: string;
  readonly bits: number;
}

/** The placement of quantize.static with the width of everything. */
export interface AwarePlan {
  /** A copy of the model with normalizations folded: what the placement is made for. */
  readonly folded: Model;
  readonly view: GraphView;
  readonly plan: QuantPlan;
  readonly layers: readonly AwareLayer[];
  /** Bits of each root value. */
  readonly rootBits: ReadonlyMap<string, number>;
  readonly edges: readonly Edge[];
  readonly skipped: readonly Skipped[];
}

/** Bits of what adds, pools or leaves. */
const WIDE = 8;

/**
 * Chooses what is quantized to how many bits: where, as quantize.static does; how wide, by the options. The same model
 * structure gives the same plan, whatever its weights. The model is not changed.
 *
 * @throws CompressionError RECIPE_NO_MATCH for a glob that matches nothing
 */
export function planAware(model: Model, options: AwareOptions): AwarePlan {
  const folded = copyModel(model);
  const kept = filterNodes(model.graph.nodes, { exclude: options.exclude });
  const keptKeys = new Set([...kept].flatMap(({ outputs }) => outputs));
  const pairs = normalizedLayers(folded.graph);
  for (const { convolution, normalization } of pairs) {
    // An excluded normalization takes its convolution along, and the other way round.
    const [inner = '', outer = ''] = [convolution.outputs[0], normalization.outputs[0]];
    if (!keptKeys.has(inner) || !keptKeys.has(outer)) keptKeys.delete(outer);
  }
  foldLayers(folded.graph, pairs);
  const view = viewOf(folded);
  const keptFolded = new Set(view.nodes.filter(({ outputs }) => keptKeys.has(outputs[0] ?? '')));
  const settings = { activations: 'uint8', perChannel: () => options.perChannel, pairSafe: false } as const;
  const candidates = findCandidates(view, settings, keptFolded);
  const skipped: Skipped[] = [...candidates.skipped];
  const units = new Map(candidates.units);
  for (const [node, unit] of units) {
    const reason = obstacleOf(unit);
    if (reason === undefined) continue;
    skipped.push({ node: nodeLabel(node), reason });
    units.delete(node);
    keptFolded.delete(node);
  }
  const plan = makePlan(view, units, settings, keptFolded);
  const layers = layersOf(view, plan, options);
  const { rootBits, edges } = widthsOf(view, plan, layers);
  return { folded, view, plan, layers, rootBits, edges, skipped: [...skipped, ...plan.skipped] };
}

function obstacleOf({ constants, weight }: ComputeUnit): string | undefined {
  if (constants.length > 0) return 'a constant operand is trained or applied in float';
  if (weight !== undefined && weight.factor !== 1) return 'a Gemm with alpha other than 1 is left in float';
  return undefined;
}

function layersOf(view: GraphView, plan: QuantPlan, options: AwareOptions): AwareLayer[] {
  const weighted = new Set<Node>();
  for (const [node, unit] of plan.units) if (unit.kind === 'compute' && unit.weight !== undefined) weighted.add(node);
  const outer = outerNodes(view.nodes, weighted);
  const widest = new Map<string, number>();
  const layers = [...weighted].flatMap((node) => {
    const unit = plan.units.get(node);
    if (unit?.kind !== 'compute' || unit.weight === undefined) return [];
    const isOuter = outer.has(node);
    const weightBits = isOuter ? options.firstAndLast : options.weights;
    const { name } = unit.weight.tensor;
    widest.set(name, Math.max(weightBits, widest.get(name) ?? 0));
    return [
      { key: node.outputs[0] ?? '', unit, activationBits: isOuter ? options.firstAndLast : options.activations, name },
    ];
  });
  // Layers that share a weight share its codes.
  return layers.map(({ name, ...layer }) => {
    const weightBits = widest.get(name) ?? WIDE;
    return { ...layer, weightBits, storedAs: storedType(weightBits, options) };
  });
}

/** The narrowest type that holds the bits; int8 where kernels for bytes are wanted. */
function storedType(bits: number, { storage }: AwareOptions): StoredType {
  if (storage === 'int8' || bits > 4) return 'int8';
  return bits === 2 ? 'int2' : 'int4';
}

/** The opset that a plan's integers need. */
export function opsetOfLayers(layers: readonly AwareLayer[]): number {
  return Math.max(opsetFor('int8'), ...layers.map(({ storedAs }) => opsetFor(storedAs)));
}

/** Whether a unit makes the value, so that all its readers get it quantized. */
export function isMadeAsCodes(value: string, view: GraphView, plan: QuantPlan): boolean {
  const producer = view.producerOf(value);
  return producer !== undefined && plan.units.has(producer) && plan.makesCodes(producer);
}

/** A value gets the bits its readers agree on; where they do not, it keeps 8 and the narrower ones a quantizer of their own. */
function widthsOf(
  view: GraphView,
  plan: QuantPlan,
  layers: readonly AwareLayer[],
): Pick<AwarePlan, 'rootBits' | 'edges'> {
  const bitsOf = new Map(layers.map(({ unit, activationBits }) => [unit.node, activationBits]));
  const asked = new Map<string, Set<number>>();
  for (const [value, root] of plan.roots) {
    const widths = asked.get(root) ?? new Set<number>();
    asked.set(root, widths);
    const isMade = isMadeAsCodes(root, view, plan);
    if (isMade && view.isOutput(value)) widths.add(WIDE);
    for (const { node, inputIndex } of view.readersOf(value)) {
      const unit = plan.units.get(node);
      if (unit?.kind === 'codes' && inputIndex === 0) continue;
      // A value that a float node made is read as it is by float nodes.
      if (unit === undefined && !isMade) continue;
      const readsCodes = unit?.kind === 'compute' && unit.activations.includes(inputIndex);
      widths.add(readsCodes ? (bitsOf.get(node) ?? WIDE) : WIDE);
    }
  }
  const rootBits = new Map<string, number>();
  for (const [root, widths] of asked) {
    const [first = WIDE, ...others] = widths;
    rootBits.set(root, others.length === 0 && view.producerOf(root)?.opType !== 'Softmax' ? first : WIDE);
  }
  const edges = layers.flatMap(({ key, unit, activationBits }) =>
    unit.activations.flatMap((inputIndex) => {
      const value = unit.node.inputs[inputIndex] ?? '';
      const root = plan.roots.get(value) ?? value;
      const isNarrower = activationBits < (rootBits.get(root) ?? WIDE);
      return isNarrower ? [{ key, inputIndex, value, bits: activationBits }] : [];
    }),
  );
  return { rootBits, edges };
}
