import type { Graph } from '../graph.ts';
import type { Shape, ValueType } from '../value-type.ts';
import type { Node } from '../node.ts';
import type { Inferred } from './rule.ts';

/** A node whose outputs could not be inferred, and why. */
export interface UnknownNode {
  readonly node: Node;
  readonly reason: string;
}

/** A node, or a declared type, that contradicts what was inferred. */
export interface TypeConflict {
  readonly graph: Graph | undefined;
  /** undefined when a declaration of the graph (not a node) is wrong. */
  readonly node: Node | undefined;
  readonly message: string;
  /**
   * `node`: the node cannot run on its inputs. `element-type`: a value is declared with another element type than it has.
   * `shape`: a declared shape is stale; ONNX Runtime warns and goes on, and the inferred shape is the one in the table.
   */
  readonly kind: 'node' | 'element-type' | 'shape';
  /** True inside a branch of an If: the branch may never run for these inputs. */
  readonly isConditional: boolean;
}

/** Names and types of one graph; names it does not have are looked up in the scopes around it. */
export class Scope {
  readonly graph: Graph | undefined;
  readonly parent: Scope | undefined;
  readonly #values = new Map<string, Inferred>();

  constructor(graph: Graph | undefined, parent: Scope | undefined) {
    this.graph = graph;
    this.parent = parent;
  }

  set(name: string, value: Inferred): void {
    this.#values.set(name, value);
  }

  own(name: string): Inferred | undefined {
    return this.#values.get(name);
  }

  get(name: string): Inferred | undefined {
    const value = this.#values.get(name);
    return value ?? this.parent?.get(name);
  }

  names(): IterableIterator<string> {
    return this.#values.keys();
  }
}

/**
 * Types of every value of a model, as `inferTypes` found them. A snapshot: it does not follow later edits of the model.
 * Bodies of model-local functions are not in it (their types differ from call to call).
 */
export class TypeTable {
  /** Nodes without a rule, or whose inputs are not known well enough; their outputs have the declared type, if any. */
  readonly unknown: readonly UnknownNode[];
  readonly conflicts: readonly TypeConflict[];
  readonly #scopes: ReadonlyMap<Graph, Scope>;

  constructor(
    scopes: ReadonlyMap<Graph, Scope>,
    findings: { readonly unknown: readonly UnknownNode[]; readonly conflicts: readonly TypeConflict[] },
  ) {
    this.#scopes = scopes;
    this.unknown = findings.unknown;
    this.conflicts = findings.conflicts;
  }

  /** The type of a value as seen from `graph` (names of the scopes around it included). */
  of(graph: Graph, valueName: string): ValueType | undefined {
    return this.#scopes.get(graph)?.get(valueName)?.type;
  }

  /** The shape of a tensor value; undefined when the rank is unknown or it is no tensor. */
  shape(graph: Graph, valueName: string): Shape | undefined {
    const type = this.of(graph, valueName);
    return type?.kind === 'tensor' ? type.shape : undefined;
  }

  /**
   * The elements of a small tensor in row-major order, when each is known: initializers, and what is computed from them
   * and from fixed sizes. At most 1,024 elements; undefined too when an integer is beyond 2^53.
   */
  constant(graph: Graph, valueName: string): readonly number[] | undefined {
    const values = this.#scopes.get(graph)?.get(valueName)?.values;
    return values?.every((value) => typeof value === 'number' && Number.isFinite(value)) === true
      ? (values as readonly number[])
      : undefined;
  }
}
