import type { Node } from './node.ts';
import type { Tensor } from './tensor.ts';
import type { StringEntries, UnknownFields } from './unknown-fields.ts';
import type { ValueInfo } from './value-type.ts';

/**
 * GraphProto. Values are names; an initializer may also be listed as an input (then it is a default the caller may
 * override, and must not be folded away). Node order is topological in a verified model.
 */
export class Graph {
  name: string;
  nodes: Node[];
  inputs: ValueInfo[];
  outputs: ValueInfo[];
  /** Keyed by tensor name, in file order. */
  initializers: Map<string, Tensor>;
  /** Types of inner values, keyed by name. Inputs and outputs carry their own. */
  valueInfos: Map<string, ValueInfo>;
  /** SparseTensorProto messages as their bytes; the key is the name of their values tensor. */
  sparseInitializers: Map<string, Uint8Array>;
  /** TensorAnnotation messages as their bytes, in file order. */
  quantizationAnnotations: readonly Uint8Array[];
  docString: string;
  metadata: StringEntries;
  unknownFields: UnknownFields;

  constructor(fields: Partial<Omit<Graph, 'initializerOf'>> & { name: string }) {
    this.name = fields.name;
    this.nodes = fields.nodes ?? [];
    this.inputs = fields.inputs ?? [];
    this.outputs = fields.outputs ?? [];
    this.initializers = fields.initializers ?? new Map<string, Tensor>();
    this.valueInfos = fields.valueInfos ?? new Map<string, ValueInfo>();
    this.sparseInitializers = fields.sparseInitializers ?? new Map<string, Uint8Array>();
    this.quantizationAnnotations = fields.quantizationAnnotations ?? [];
    this.docString = fields.docString ?? '';
    this.metadata = fields.metadata ?? [];
    this.unknownFields = fields.unknownFields ?? [];
  }
}

/** The node that makes each value of this graph (subgraphs not entered). O(nodes). */
export function producersOf(graph: Graph): Map<string, Node> {
  const producers = new Map<string, Node>();
  for (const node of graph.nodes) for (const output of node.outputs) if (output !== '') producers.set(output, node);
  return producers;
}

/** A place where a value is read. `node` belongs to this graph; a read inside its subgraphs has `inputIndex` -1. */
export interface Use {
  readonly node: Node;
  readonly inputIndex: number;
}

/** Every read of each value by nodes of this graph, reads from inside their subgraphs included. O(nodes). */
export function usesOf(graph: Graph): Map<string, Use[]> {
  const uses = new Map<string, Use[]>();
  const add = (name: string, use: Use): void => {
    if (name === '') return;
    const list = uses.get(name);
    if (list === undefined) uses.set(name, [use]);
    else list.push(use);
  };
  for (const node of graph.nodes) {
    node.inputs.forEach((name, inputIndex) => add(name, { node, inputIndex }));
    for (const subgraph of node.subgraphs())
      for (const name of outerNames(subgraph)) add(name, { node, inputIndex: -1 });
  }
  return uses;
}

/** Nodes that read each name, in a graph and the graphs within it, once for each input. */
export function readersWithin(owner: Graph): Map<string, Node[]> {
  const readers = new Map<string, Node[]>();
  for (const graph of withSubgraphs(owner)) {
    for (const node of graph.nodes) {
      for (const name of node.inputs) {
        const known = readers.get(name);
        if (known === undefined) readers.set(name, [node]);
        else known.push(node);
      }
    }
  }
  return readers;
}

/** Names a subgraph reads from the scopes around it (its own subgraphs included). */
export function outerNames(graph: Graph): Set<string> {
  const own = new Set<string>([...graph.inputs.map((input) => input.name), ...graph.initializers.keys()]);
  for (const name of graph.sparseInitializers.keys()) own.add(name);
  for (const node of graph.nodes) for (const output of node.outputs) own.add(output);
  const outer = new Set<string>();
  const read = (name: string): void => {
    if (name !== '' && !own.has(name)) outer.add(name);
  };
  for (const node of graph.nodes) {
    node.inputs.forEach(read);
    for (const subgraph of node.subgraphs()) outerNames(subgraph).forEach(read);
  }
  for (const output of graph.outputs) read(output.name);
  return outer;
}

/** Every name in use anywhere in the graph and its subgraphs: what a new value must not be called. */
export function allNames(graph: Graph): Set<string> {
  const names = new Set<string>();
  const visit = (scope: Graph): void => {
    for (const info of [...scope.inputs, ...scope.outputs]) names.add(info.name);
    for (const name of scope.initializers.keys()) names.add(name);
    for (const name of scope.sparseInitializers.keys()) names.add(name);
    for (const name of scope.valueInfos.keys()) names.add(name);
    for (const node of scope.nodes) {
      names.add(node.name);
      for (const name of node.inputs) names.add(name);
      for (const name of node.outputs) names.add(name);
      node.subgraphs().forEach(visit);
    }
  };
  visit(graph);
  return names;
}

/** Gives fresh names: `fresh('conv1_scale')` is that name, or with `_1`, `_2` … when taken. Deterministic. */
export class NameScope {
  readonly #taken: Set<string>;
  /** Where the search for a free suffix goes on, by base: names are only ever added. */
  readonly #nextSuffix = new Map<string, number>();

  constructor(graph: Graph) {
    this.#taken = allNames(graph);
  }

  fresh(base: string): string {
    let name = base;
    let suffix = this.#nextSuffix.get(base) ?? 1;
    for (; this.#taken.has(name); suffix += 1) name = `${base}_${suffix}`;
    this.#nextSuffix.set(base, suffix);
    this.#taken.add(name);
    return name;
  }
}

/** This graph and every graph nested in it, outermost first. */
export function* withSubgraphs(graph: Graph): Generator<Graph> {
  yield graph;
  for (const node of graph.nodes) for (const subgraph of node.subgraphs()) yield* withSubgraphs(subgraph);
}
