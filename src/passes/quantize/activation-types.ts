import { DATA_TYPES } from '../../onnx/data-type.ts';
import type { Node } from '../../onnx/node.ts';
import type { GraphView } from './graph-view.ts';
import { placementOf } from './placement.ts';
import type { ActivationType } from './quant-type.ts';
import type { ComputeUnit } from './units.ts';

/** What the recipe says about the types of activations. */
export interface ActivationWishes {
  /** What everything is quantized to that nobody asks otherwise for. */
  readonly activations: ActivationType;
  /** What a layer reads its input in; undefined: the usual type. Absent: every layer takes what there is. */
  readonly typeOfInput?: (node: Node) => ActivationType | undefined;
  /** Types by value; who reads such a value reads it as it is. */
  readonly valueTypes?: ReadonlyMap<string, ActivationType>;
}

/**
 * The type each value would get as codes: the one that the recipe gives it, else the widest that a layer asks for, be it behind
 * nodes that only move or clip codes. O(nodes).
 *
 * @param kept - nodes that may be quantized at all
 */
export function activationTypes(
  view: GraphView,
  compute: ReadonlyMap<Node, ComputeUnit>,
  wishes: ActivationWishes,
  kept: ReadonlySet<Node>,
): (value: string) => ActivationType {
  const types = new Map<string, ActivationType>(wishes.valueTypes);
  const ask = (value: string, type: ActivationType | undefined): void => {
    if (type === undefined || wishes.valueTypes?.has(value) === true) return;
    const known = types.get(value);
    if (known === undefined || isNarrower(known, type)) types.set(value, type);
  };
  for (const node of view.nodes.toReversed()) {
    const unit = compute.get(node);
    if (unit !== undefined) {
      for (const index of unit.activations) ask(node.inputs[index] ?? '', wantedType(unit, wishes));
    } else if (kept.has(node) && /^(moves|clips)$/.test(placementOf(node)?.kind ?? '')) {
      for (const output of node.outputs) ask(node.inputs[0] ?? '', types.get(output));
    }
  }
  return (value) => types.get(value) ?? wishes.activations;
}

/** What a layer with a weight asks its input to be; what adds or pools takes anything. */
export function wantedType({ node, weight }: ComputeUnit, wishes: ActivationWishes): ActivationType | undefined {
  if (weight === undefined || wishes.typeOfInput === undefined) return undefined;
  return wishes.typeOfInput(node) ?? wishes.activations;
}

export function isNarrower(type: ActivationType, than: ActivationType): boolean {
  return DATA_TYPES[type].bits < DATA_TYPES[than].bits;
}
