import type { DataType } from '../data-type.ts';
import type { Graph } from '../graph.ts';
import type { Node } from '../node.ts';
import type { Dimension, Shape, ValueType } from '../value-type.ts';
import type { SymbolTable } from './symbol-table.ts';

/**
 * What is known of a value: its type, and for small tensors its elements in row-major order, each a number, a symbol or
 * null. An int64 beyond 2^53 stands as Infinity or -Infinity (Slice's "to the end").
 */
export interface Inferred {
  readonly type: ValueType;
  readonly values?: readonly Dimension[] | undefined;
}

/** One entry per output of the node; undefined where nothing is known. */
export type InferredOutputs = readonly (Inferred | undefined)[];

export type InferRule = (context: RuleContext) => InferredOutputs;

/** More elements than this are not tracked: shapes and index lists are small. */
export const MAX_TRACKED_ELEMENTS = 1024;

/** The node cannot run with the types it is given; the message does not name the node, the engine does. */
export class InferenceConflict extends Error {
  override readonly name = 'InferenceConflict';
}

/** Runs the inference of a subgraph whose inputs have these types, and gives the types of its outputs. */
export type SubgraphInference = (graph: Graph, inputs: readonly (Inferred | undefined)[]) => InferredOutputs;

/** What a rule sees of its node. */
export class RuleContext {
  readonly node: Node;
  /** Version of the node's domain in this scope. */
  readonly opset: number;
  readonly symbols: SymbolTable;
  readonly inferSubgraph: SubgraphInference;
  readonly #inputs: readonly (Inferred | undefined)[];

  constructor(fields: {
    node: Node;
    opset: number;
    symbols: SymbolTable;
    inputs: readonly (Inferred | undefined)[];
    inferSubgraph: SubgraphInference;
  }) {
    this.node = fields.node;
    this.opset = fields.opset;
    this.symbols = fields.symbols;
    this.inferSubgraph = fields.inferSubgraph;
    this.#inputs = fields.inputs;
  }

  get inputCount(): number {
    return this.node.inputs.length;
  }

  get outputCount(): number {
    return this.node.outputs.length;
  }

  /** True when the (optional) input is given. */
  has(index: number): boolean {
    return (this.node.inputs[index] ?? '') !== '';
  }

  input(index: number): Inferred | undefined {
    return this.#inputs[index];
  }

  elementType(index: number): DataType | undefined {
    const type = this.#inputs[index]?.type;
    return type?.kind === 'tensor' || type?.kind === 'sparse-tensor' ? type.elementType : undefined;
  }

  shape(index: number): Shape | undefined {
    const type = this.#inputs[index]?.type;
    return type?.kind === 'tensor' || type?.kind === 'sparse-tensor' ? type.shape : undefined;
  }

  /** The elements of a small tensor, as far as known. */
  values(index: number): readonly Dimension[] | undefined {
    return this.#inputs[index]?.values;
  }

  /** The elements of a small tensor when each is a number. */
  numbers(index: number): readonly number[] | undefined {
    const values = this.values(index);
    return values?.every((value) => typeof value === 'number') === true ? values : undefined;
  }

  /** Integers from an attribute, or from an input in the newer opsets (Squeeze's axes and the like). */
  intsFrom(attribute: string, inputIndex: number): readonly number[] | 'absent' | 'unknown' {
    const fromAttribute = this.node.ints(attribute);
    if (fromAttribute !== undefined) return fromAttribute;
    if (!this.has(inputIndex)) return 'absent';
    return this.numbers(inputIndex) ?? 'unknown';
  }

  /** `axis` counted from the front. @throws InferenceConflict when it is out of range */
  axis(axis: number, rank: number, what = 'axis'): number {
    if (axis < -rank || axis >= rank) throw new InferenceConflict(`${what} ${axis} is out of range for rank ${rank}`);
    return axis < 0 ? axis + rank : axis;
  }
}

export function tensor(
  elementType: DataType | undefined,
  shape: Shape | undefined,
  values?: readonly Dimension[],
): Inferred | undefined {
  if (elementType === undefined) return undefined;
  const type: ValueType =
    shape === undefined ? { kind: 'tensor', elementType } : { kind: 'tensor', elementType, shape: possible(shape) };
  return values === undefined || values.length > MAX_TRACKED_ELEMENTS ? { type } : { type, values };
}

/** Sizes that no tensor can have (negative, fractional, beyond 2^53) are unknown: they come from hostile constants. */
function possible(shape: Shape): Shape {
  const isPossible = (size: Dimension): boolean =>
    typeof size !== 'number' || (Number.isSafeInteger(size) && size >= 0);
  return shape.every(isPossible) ? shape : shape.map((size) => (isPossible(size) ? size : null));
}

/** A shape of `rank` unknown sizes. @throws InferenceConflict for a rank that no tensor has */
export function unknownDims(rank: number): Dimension[] {
  if (rank > MAX_TRACKED_ELEMENTS) throw new InferenceConflict(`a tensor of rank ${rank} is not possible`);
  return new Array<Dimension>(rank).fill(null);
}

/** Numpy broadcasting; undefined when a rank is unknown. @throws InferenceConflict when two fixed sizes conflict */
export function broadcastShapes(symbols: SymbolTable, shapes: readonly (Shape | undefined)[]): Shape | undefined {
  let result: Shape = [];
  for (const shape of shapes) {
    if (shape === undefined) return undefined;
    const rank = Math.max(result.length, shape.length);
    const merged: Dimension[] = [];
    for (let axis = 0; axis < rank; axis += 1) {
      const left = axis < rank - result.length ? 1 : (result[axis - (rank - result.length)] ?? null);
      const right = axis < rank - shape.length ? 1 : (shape[axis - (rank - shape.length)] ?? null);
      const size = symbols.broadcast(left, right);
      if (size === undefined) {
        throw new InferenceConflict(`shapes ${showShape(result)} and ${showShape(shape)} do not broadcast`);
      }
      merged.push(size);
    }
    result = merged;
  }
  return result;
}

export function showShape(shape: Shape | undefined): string {
  return shape === undefined ? '[unknown rank]' : `[${shape.map((dim) => dim ?? '?').join(', ')}]`;
}

/** Two sizes that must be equal: the better known of both. @throws InferenceConflict when both are fixed and differ */
export function sameSize(a: Dimension, b: Dimension, what: string): Dimension {
  if (typeof a === 'number' && typeof b === 'number' && a !== b) {
    throw new InferenceConflict(`${what}: sizes ${a} and ${b} must be equal`);
  }
  if (typeof a === 'number') return a;
  if (typeof b === 'number') return b;
  return a ?? b;
}
