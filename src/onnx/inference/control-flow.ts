import type { Graph } from '../graph.ts';
import type { Dimension, ValueType } from '../value-type.ts';
import {
  InferenceConflict,
  tensor,
  type Inferred,
  type InferredOutputs,
  type InferRule,
  type RuleContext,
} from './rule.ts';

const MAX_CARRIED_ROUNDS = 3;

/** If: what both branches agree on; the one branch where the condition is a known constant. */
export const ifRule: InferRule = (context) => {
  const condition = context.values(0)?.[0];
  const [thenGraph, elseGraph] = [branch(context, 'then_branch'), branch(context, 'else_branch')];
  // Both are inferred, so that the table knows the values of each.
  const thenTypes = context.inferSubgraph(thenGraph, []);
  const elseTypes = context.inferSubgraph(elseGraph, []);
  if (thenTypes.length !== context.outputCount || elseTypes.length !== context.outputCount) {
    throw new InferenceConflict(
      `branches give ${thenTypes.length} and ${elseTypes.length} outputs, the node has ${context.outputCount}`,
    );
  }
  if (typeof condition === 'number') return condition !== 0 ? thenTypes : elseTypes;
  return thenTypes.map((type, index) => common(type, elseTypes[index]));
};

/** Loop: inputs M, condition, carried values; outputs the carried values and the stacked scan outputs. */
export const loop: InferRule = (context) => {
  const body = branch(context, 'body');
  const initial = context.node.inputs.slice(2).map((_, index) => withoutValues(context.input(index + 2)));
  if (body.inputs.length !== initial.length + 2) {
    throw new InferenceConflict(`body has ${body.inputs.length} inputs, expected ${initial.length + 2}`);
  }
  const iteration = tensor('int64', []);
  const keepGoing = tensor('bool', []);
  const { outputs, carried } = untilStable(initial, (types) => {
    const all = context.inferSubgraph(body, [iteration, keepGoing, ...types]);
    return { outputs: all, carried: all.slice(1, 1 + types.length) };
  });
  const trips: Dimension = context.has(1) ? null : (context.values(0)?.[0] ?? null);
  const stacked = outputs.slice(1 + initial.length).map((type) => stack(type, trips, 0));
  return [...carried.map(withoutValues), ...stacked];
};

/** Scan since opset 9: N states, then M scanned inputs; opset 8 has a batch axis and is left unknown. */
export const scan: InferRule = (context) => {
  if (context.opset < 9) return [];
  const { node } = context;
  const body = branch(context, 'body');
  const scanned = node.int('num_scan_inputs', 0);
  const stateCount = context.inputCount - scanned;
  if (stateCount < 0 || body.inputs.length !== context.inputCount) {
    throw new InferenceConflict(
      `body has ${body.inputs.length} inputs, the node ${context.inputCount}, ${scanned} scanned`,
    );
  }
  const inputAxes = node.ints('scan_input_axes') ?? new Array<number>(scanned).fill(0);
  let length: Dimension = null;
  const slices = Array.from({ length: scanned }, (_, index): Inferred | undefined => {
    const shape = context.shape(stateCount + index);
    if (shape === undefined) return tensor(context.elementType(stateCount + index), undefined);
    const axis = context.axis(inputAxes[index] ?? 0, shape.length, 'scan_input_axes');
    length ??= shape[axis] ?? null;
    return tensor(
      context.elementType(stateCount + index),
      shape.filter((_size, at) => at !== axis),
    );
  });
  const initial = Array.from({ length: stateCount }, (_, index) => withoutValues(context.input(index)));
  const { outputs, carried } = untilStable(initial, (types) => {
    const all = context.inferSubgraph(body, [...types, ...slices]);
    return { outputs: all, carried: all.slice(0, stateCount) };
  });
  const outputAxes = node.ints('scan_output_axes');
  const stacked = outputs.slice(stateCount).map((type, index) => stack(type, length, outputAxes?.[index] ?? 0));
  return [...carried.map(withoutValues), ...stacked];
};

/** SequenceMap has a function body in the standard; its outputs are sequences of what the body gives. */
export const sequenceMap: InferRule = (context) => {
  const body = branch(context, 'body');
  const inputs = body.inputs.map((_, index): Inferred | undefined => {
    const type = context.input(index)?.type;
    return type === undefined ? undefined : { type: type.kind === 'sequence' ? type.element : type };
  });
  return context
    .inferSubgraph(body, inputs)
    .map((output) => (output === undefined ? undefined : { type: { kind: 'sequence', element: output.type } }));
};

function branch(context: RuleContext, name: string): Graph {
  const attribute = context.node.attributes.get(name);
  if (attribute?.kind !== 'graph') throw new InferenceConflict(`graph attribute ${name} is missing`);
  return attribute.value;
}

/** Widens the carried types until the body keeps them: what differs between two rounds is unknown. */
function untilStable(
  initial: InferredOutputs,
  run: (types: InferredOutputs) => { outputs: InferredOutputs; carried: InferredOutputs },
): { outputs: InferredOutputs; carried: InferredOutputs } {
  let types = initial;
  for (let round = 1; ; round += 1) {
    const result = run(types);
    const before = types;
    const merged = before.map((type, index) => common(type, result.carried[index]));
    if (merged.every((type, index) => sameType(type?.type, before[index]?.type))) return { ...result, carried: merged };
    // Ranks may grow each round; a last one with ranks unknown is stable for any body.
    types = round < MAX_CARRIED_ROUNDS - 1 ? merged : merged.map(withoutShape);
    if (round === MAX_CARRIED_ROUNDS) return { ...result, carried: merged.map(withoutShape) };
  }
}

function common(a: Inferred | undefined, b: Inferred | undefined): Inferred | undefined {
  if (a === undefined || b === undefined) return undefined;
  const type = commonType(a.type, b.type);
  return type === undefined ? undefined : { type };
}

/** The most that is true of both types; undefined when they have nothing in common. */
export function commonType(a: ValueType, b: ValueType): ValueType | undefined {
  if (a.kind === 'tensor' && b.kind === 'tensor') {
    if (a.elementType !== b.elementType) return undefined;
    const [shape, other] = [a.shape, b.shape];
    if (shape === undefined || shape.length !== other?.length) {
      return { kind: 'tensor', elementType: a.elementType };
    }
    return {
      kind: 'tensor',
      elementType: a.elementType,
      shape: shape.map((size, axis) => (size === other[axis] ? size : null)),
    };
  }
  if ((a.kind === 'sequence' && b.kind === 'sequence') || (a.kind === 'optional' && b.kind === 'optional')) {
    const element = commonType(a.element, b.element);
    return element === undefined ? undefined : { kind: a.kind, element };
  }
  return a.kind === b.kind && a.kind === 'map' ? a : undefined;
}

function sameType(a: ValueType | undefined, b: ValueType | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function withoutValues(value: Inferred | undefined): Inferred | undefined {
  return value === undefined ? undefined : { type: value.type };
}

function withoutShape(value: Inferred | undefined): Inferred | undefined {
  return value?.type.kind === 'tensor' ? tensor(value.type.elementType, undefined) : value;
}

/** A scan output: one more axis of `length` at `axis`. */
function stack(value: Inferred | undefined, length: Dimension, axis: number): Inferred | undefined {
  if (value?.type.kind !== 'tensor') return undefined;
  const { elementType, shape } = value.type;
  if (shape === undefined) return tensor(elementType, undefined);
  const at = axis < 0 ? axis + shape.length + 1 : axis;
  return tensor(elementType, [...shape.slice(0, at), length, ...shape.slice(at)]);
}
