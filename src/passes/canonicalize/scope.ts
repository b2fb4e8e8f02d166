import { usesOf, type Graph, type NameScope, type Use } from '../../onnx/graph.ts';
import type { Model } from '../../onnx/model.ts';
import type { Node } from '../../onnx/node.ts';
import type { Tensor } from '../../onnx/tensor.ts';
import type { ValueType } from '../../onnx/value-type.ts';

/** A graph with the graphs around it: what a name means is looked up from the inside out. */
export interface Scope {
  readonly graph: Graph;
  readonly outer: Scope | undefined;
}

/** What the steps of canonicalize share: the model, fresh names, and whether initializers can be overridden by callers. */
export interface Workspace {
  readonly model: Model;
  readonly names: NameScope;
  /** Initializers that are graph inputs too (IR 4 and up): the caller may replace them, so they are not constants. */
  readonly overridable: ReadonlySet<string>;
  /** The type of a value of the scope, where known. */
  typeOf(scope: Scope, name: string): ValueType | undefined;
  /** The elements of a small integer tensor, where type inference knows them all. */
  integersOf(scope: Scope, name: string): readonly number[] | undefined;
}

/** Every graph of the model (not of its functions), innermost first: what inner graphs capture is settled before the outer. */
export function scopesOf(model: Model): Scope[] {
  const scopes: Scope[] = [];
  const visit = (scope: Scope): void => {
    for (const node of scope.graph.nodes) {
      for (const graph of node.subgraphs()) visit({ graph, outer: scope });
    }
    scopes.push(scope);
  };
  visit({ graph: model.graph, outer: undefined });
  return scopes;
}

/**
 * Finds what names mean in one scope while its graph is not edited. Building it is O(nodes of the scope and the scopes
 * around it).
 */
export class Names {
  readonly #levels: { readonly scope: Scope; readonly variables: Set<string> }[] = [];
  readonly #overridable: ReadonlySet<string>;

  constructor(scope: Scope, overridable: ReadonlySet<string>) {
    this.#overridable = overridable;
    for (let level: Scope | undefined = scope; level !== undefined; level = level.outer) {
      const variables = new Set<string>(level.graph.sparseInitializers.keys());
      for (const input of level.graph.inputs) if (!level.graph.initializers.has(input.name)) variables.add(input.name);
      for (const node of level.graph.nodes) for (const output of node.outputs) variables.add(output);
      this.#levels.push({ scope: level, variables });
    }
  }

  /** The initializer of that name when nothing can change it at run time. */
  constant(name: string | undefined): Tensor | undefined {
    if (name === undefined || name === '') return undefined;
    for (const { scope, variables } of this.#levels) {
      if (variables.has(name)) return undefined;
      const tensor = scope.graph.initializers.get(name);
      if (tensor !== undefined) return scope.outer === undefined && this.#overridable.has(name) ? undefined : tensor;
    }
    return undefined;
  }
}

/** Initializers of the main graph that its inputs list too. Before IR 4 that listing was a duty, not an offer. */
export function overridableInitializers(model: Model): ReadonlySet<string> {
  if (model.irVersion < 4) return new Set<string>();
  const { inputs, initializers } = model.graph;
  return new Set(inputs.map((input) => input.name).filter((name) => initializers.has(name)));
}

/** The readers of a graph's values, for renaming without walking the graph again. Building it is O(nodes). */
export class Reads {
  readonly #uses: Map<string, Use[]>;
  /** Outer values that a nested graph returns as they are: positions and names of its outputs would have to change. */
  readonly #returned = new Set<string>();

  constructor(graph: Graph) {
    this.#uses = usesOf(graph);
    const visit = (inner: Graph): void => {
      for (const output of inner.outputs) if (!defines(inner, output.name)) this.#returned.add(output.name);
      for (const node of inner.nodes) node.subgraphs().forEach(visit);
    };
    for (const node of graph.nodes) node.subgraphs().forEach(visit);
  }

  /** How often nodes of the graph read the value, reads from their subgraphs included. Graph outputs do not count. */
  count(name: string): number {
    return this.#uses.get(name)?.length ?? 0;
  }

  /** The one node that reads the value, once, as a direct input; undefined when there are none, more or nested reads. */
  only(name: string): Node | undefined {
    const uses = this.#uses.get(name);
    return uses?.length === 1 && uses[0] !== undefined && uses[0].inputIndex >= 0 ? uses[0].node : undefined;
  }

  /** True when `redirect` must not be called for the value. */
  isReturned(name: string): boolean {
    return this.#returned.has(name);
  }

  /** Makes every read of `from`, inside subgraphs too, a read of `to`. Graph outputs keep their names. */
  redirect(from: string, to: string): void {
    const moved = this.#uses.get(from) ?? [];
    for (const { node, inputIndex } of moved) {
      if (inputIndex >= 0) node.inputs[inputIndex] = to;
      else for (const subgraph of node.subgraphs()) renameReads(subgraph, from, to);
    }
    this.#uses.delete(from);
    const present = this.#uses.get(to);
    if (present === undefined) this.#uses.set(to, moved);
    else present.push(...moved);
  }
}

function renameReads(graph: Graph, from: string, to: string): void {
  if (defines(graph, from)) return;
  for (const node of graph.nodes) {
    node.inputs.forEach((name, index) => {
      if (name === from) node.inputs[index] = to;
    });
    for (const subgraph of node.subgraphs()) renameReads(subgraph, from, to);
  }
}

/** Whether the graph itself gives the name a meaning. */
function defines(graph: Graph, name: string): boolean {
  return (
    graph.initializers.has(name) ||
    graph.sparseInitializers.has(name) ||
    graph.inputs.some((input) => input.name === name) ||
    graph.nodes.some((node) => node.outputs.includes(name))
  );
}
