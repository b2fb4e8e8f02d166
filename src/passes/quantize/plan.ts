import { defined } from '../../errors.ts';
import type { Node } from '../../onnx/node.ts';
import type { Skipped } from '../pass.ts';
import { examineCodes } from './codes-units.ts';
import type { GraphView } from './graph-view.ts';
import { nodeLabel } from './node-filter.ts';
import { activationTypes, isNarrower, wantedType, type ActivationWishes } from './activation-types.ts';
import type { ActivationType } from './quant-type.ts';
import { examineCompute, type CodesUnit, type ComputeUnit, type UnitSettings } from './units.ts';

/**
 * What is quantized, decided before any parameter is known and before anything is written: sharing, overrides and bias
 * scales so do not depend on the order of the nodes.
 */
export interface QuantPlan {
  readonly units: ReadonlyMap<Node, ComputeUnit | CodesUnit>;
  /** Whether a unit makes its output as codes. Compute units that nobody reads in codes may leave it float. */
  makesCodes(node: Node): boolean;
  /** Every value with codes, mapped to the value whose scale and zero point it has (itself, mostly). */
  readonly roots: ReadonlyMap<string, string>;
  /** Type of a value's codes: that of its root. */
  typeOf(value: string): ActivationType;
  /** Quantizers of a narrower type, in front of layers that read fewer bits than others do: by the name `quantizerOf` gives. */
  readonly narrower: ReadonlyMap<string, NarrowerQuantizer>;
  /** Whose parameters a unit's input has: those of its root, or of a quantizer among `narrower`. */
  quantizerOf(unit: ComputeUnit, inputIndex: number): string;
  /** The value whose range decides the parameters of a root: behind a clip, where everybody reads it clipped. */
  rangeValueOf(root: string): string;
  readonly skipped: readonly Skipped[];
}

export interface NarrowerQuantizer {
  readonly root: string;
  readonly type: ActivationType;
}

/** How wide a plan's values are. */
export type PlanSettings = UnitSettings & ActivationWishes;

/** Compute units a node could be, and the reasons of those that cannot. */
export interface Candidates {
  readonly units: ReadonlyMap<Node, ComputeUnit>;
  readonly skipped: readonly Skipped[];
}

export function findCandidates(view: GraphView, settings: UnitSettings, kept: ReadonlySet<Node>): Candidates {
  const units = new Map<Node, ComputeUnit>();
  const skipped: Skipped[] = [];
  for (const node of view.nodes) {
    const unit = examineCompute(node, view, settings);
    if (unit === undefined) continue;
    if ('reason' in unit) skipped.push({ node: nodeLabel(node), reason: unit.reason });
    else if (kept.has(node)) units.set(node, unit);
    else skipped.push({ node: nodeLabel(node), reason: 'excluded by the recipe' });
  }
  return { units, skipped };
}

/** Completes a choice of compute units with the nodes between them that can run on codes. O(nodes). */
export function makePlan(
  view: GraphView,
  compute: ReadonlyMap<Node, ComputeUnit>,
  settings: PlanSettings,
  kept: ReadonlySet<Node>,
): QuantPlan {
  const units = new Map<Node, ComputeUnit | CodesUnit>(compute);
  const skipped: Skipped[] = [];
  const codes = new Set<string>();
  const refused = new Map<Node, string>();
  const wantedAs = activationTypes(view, compute, settings, kept);
  for (const node of view.nodes) {
    const unit = compute.get(node);
    if (unit !== undefined) {
      node.outputs.forEach((output) => codes.add(output));
    } else if (kept.has(node) && codes.has(node.inputs[0] ?? '')) {
      const found = examineCodes(node, view, wantedAs(node.inputs[0] ?? ''));
      if (found === undefined) continue;
      if ('reason' in found) refused.set(node, found.reason);
      else {
        units.set(node, found);
        node.outputs.forEach((output) => codes.add(output));
      }
    }
  }
  const wanted = wantedValues(view, units);
  const makesCodes = (node: Node): boolean => {
    const unit = units.get(node);
    if (unit?.kind !== 'compute') return unit !== undefined;
    const { placement } = unit;
    return !('outputMayStayFloat' in placement && placement.outputMayStayFloat) || wanted.has(node.outputs[0] ?? '');
  };
  // ONNX Runtime 1.30 moves DequantizeLinear behind what only moves values, and with int8 codes breaks its types doing
  // so: there nothing of the kind is left for it to do.
  const keepAll = settings.activations === 'int8';
  dropUselessCodes(view, units, keepAll ? allOutputs(view) : wanted, makesCodes);
  for (const [node, reason] of refused) skipped.push({ node: nodeLabel(node), reason });
  const roots = rootsOf(view, units, makesCodes);
  const typeOf = (value: string): ActivationType => wantedAs(roots.get(value) ?? value);
  return {
    units,
    makesCodes,
    roots,
    typeOf,
    ...quantizersOf(compute.values(), roots, { typeOf, settings }),
    skipped,
    rangeValueOf: (root) => rangeValueOf(root, view, units),
  };
}

/** Values that some compute unit reads as codes, straight or through nodes that run on codes. */
function wantedValues(view: GraphView, units: ReadonlyMap<Node, ComputeUnit | CodesUnit>): ReadonlySet<string> {
  const wanted = new Set<string>();
  for (const node of view.nodes.toReversed()) {
    const unit = units.get(node);
    if (unit === undefined) continue;
    if (unit.kind === 'compute') for (const index of unit.activations) wanted.add(node.inputs[index] ?? '');
    else if (node.outputs.some((output) => wanted.has(output))) wanted.add(node.inputs[0] ?? '');
  }
  return wanted;
}

/**
 * Nodes on codes pay only on the way to a compute unit. Past the last one they stay float, but for clips right behind
 * the unit: those cost nothing, the quantizer clips.
 */
function dropUselessCodes(
  view: GraphView,
  units: Map<Node, ComputeUnit | CodesUnit>,
  wanted: ReadonlySet<string>,
  makesCodes: (node: Node) => boolean,
): void {
  for (const node of view.nodes) {
    const unit = units.get(node);
    if (unit?.kind !== 'codes') continue;
    const producer = view.producerOf(node.inputs[0] ?? '');
    const hasCodes = producer !== undefined && makesCodes(producer);
    const behindUnit = producer !== undefined && units.get(producer)?.kind === 'compute';
    const useful = node.outputs.some((output) => wanted.has(output)) || (unit.clip !== undefined && behindUnit);
    if (!hasCodes || !useful) units.delete(node);
  }
}

function allOutputs(view: GraphView): ReadonlySet<string> {
  return new Set(view.nodes.flatMap((node) => node.outputs));
}

function rootsOf(
  view: GraphView,
  units: ReadonlyMap<Node, ComputeUnit | CodesUnit>,
  makesCodes: (node: Node) => boolean,
): Map<string, string> {
  const roots = new Map<string, string>();
  const rootOf = (value: string): string => roots.get(value) ?? value;
  for (const node of view.nodes) {
    const unit = units.get(node);
    if (unit === undefined) continue;
    if (unit.kind === 'codes') {
      for (const output of node.outputs) if (output !== '') roots.set(output, rootOf(node.inputs[0] ?? ''));
    } else {
      for (const index of unit.activations) {
        const value = node.inputs[index] ?? '';
        roots.set(value, rootOf(value));
      }
      const output = node.outputs[0] ?? '';
      if (makesCodes(node)) roots.set(output, output);
    }
  }
  return roots;
}

function quantizersOf(
  compute: Iterable<ComputeUnit>,
  roots: ReadonlyMap<string, string>,
  { typeOf, settings }: { readonly typeOf: QuantPlan['typeOf']; readonly settings: PlanSettings },
): Pick<QuantPlan, 'narrower' | 'quantizerOf'> {
  const narrower = new Map<string, NarrowerQuantizer>();
  // Found now: nodes read other names once they are written.
  const names = new Map<ComputeUnit, Map<number, string>>();
  for (const unit of compute) {
    const own = new Map<number, string>();
    names.set(unit, own);
    const type = wantedType(unit, settings);
    for (const index of unit.activations) {
      const value = unit.node.inputs[index] ?? '';
      const root = roots.get(value) ?? value;
      const isGiven = settings.valueTypes?.has(value) === true || settings.valueTypes?.has(root) === true;
      const isNarrow = type !== undefined && !isGiven && isNarrower(type, typeOf(root));
      own.set(index, isNarrow ? `${root} as ${type}` : root);
      if (isNarrow) narrower.set(`${root} as ${type}`, { root, type });
    }
  }
  const quantizerOf = (unit: ComputeUnit, index: number): string =>
    defined(names.get(unit)?.get(index), `quantizer of input ${index} of ${nodeLabel(unit.node)}`);
  return { narrower, quantizerOf };
}

function rangeValueOf(root: string, view: GraphView, units: ReadonlyMap<Node, ComputeUnit | CodesUnit>): string {
  let range = root;
  let value = root;
  for (;;) {
    const readers = view.readersOf(value);
    const [reader] = readers;
    if (view.isOutput(value) || readers.length !== 1 || reader === undefined) return range;
    const unit = units.get(reader.node);
    if (unit?.kind !== 'codes' || unit.node.outputs.length !== 1) return range;
    value = unit.node.outputs[0] ?? '';
    if (unit.clip !== undefined) range = value;
  }
}
