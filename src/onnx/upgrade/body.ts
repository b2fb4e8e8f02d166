import { DATA_TYPES, type DataType } from '../data-type.ts';
import { outerNames, type Graph } from '../graph.ts';
import type { TypeTable } from '../inference/type-table.ts';
import type { Model, ModelFunction } from '../model.ts';
import { describeNode, makeNode, normalDomain, type Node } from '../node.ts';
import type { Tensor } from '../tensor.ts';
import type { Adapted, Adapter, AdapterContext } from './adapter.ts';
import { ADAPTERS } from './adapters.ts';

/** Why a node keeps the model at an older opset. */
export interface UpgradeSkip {
  readonly node: string;
  readonly reason: string;
}

/** What one graph, or one function body, becomes at the next opset. Made first, applied when all of them succeed. */
export interface BodyPlan {
  readonly changed: number;
  apply(): void;
}

interface Surroundings {
  readonly taken: Set<string>;
  readonly types: () => TypeTable;
  readonly overridable: ReadonlySet<string>;
  /** Constants made for the upgrade; those that a later step makes superfluous are removed at the end. */
  readonly made: Map<string, Graph>;
}

/** The part of a model that has nodes: a graph (with those around it) or a function. */
export type Body =
  | { readonly kind: 'graph'; readonly graph: Graph; readonly outer: Body | undefined }
  | { readonly kind: 'function'; readonly body: ModelFunction };

/** Every graph of the model, subgraphs included. Subgraphs of function bodies belong to the function. */
export function graphBodies(model: Model): Body[] {
  return nested({ kind: 'graph', graph: model.graph, outer: undefined });
}

export function functionBodies(body: ModelFunction): Body[] {
  const own: Body = { kind: 'function', body };
  return [own, ...body.nodes.flatMap((node) => subBodies(node, own))];
}

function nested(body: Body): Body[] {
  return [body, ...nodesOf(body).flatMap((node) => subBodies(node, body))];
}

function subBodies(node: Node, outer: Body): Body[] {
  return node.subgraphs().flatMap((graph) => nested({ kind: 'graph', graph, outer }));
}

function nodesOf(body: Body): Node[] {
  return body.kind === 'graph' ? body.graph.nodes : body.body.nodes;
}

/**
 * Works out the step of one body to `version`. Nothing changes until `apply`.
 *
 * @param skipped - gets the nodes that cannot go; the plan must not be applied then
 */
export function planBody(body: Body, version: number, around: Surroundings, skipped: UpgradeSkip[]): BodyPlan {
  const adapters = ADAPTERS[version];
  const nodes: Node[] = [];
  const constants = new Map<string, Tensor>();
  let changed = 0;
  const context = contextOf(body, around, constants);
  for (const node of nodesOf(body)) {
    const adapter =
      adapters !== undefined && normalDomain(node.domain) === '' && Object.hasOwn(adapters, node.opType)
        ? adapters[node.opType]
        : undefined;
    if (adapter === undefined) {
      nodes.push(node);
      continue;
    }
    const given = [...node.attributes].find(([, attribute]) => attribute.kind === 'reference');
    const result =
      given === undefined
        ? adapted(adapter, node, context)
        : { refused: `its attribute ${given[0]} comes from the caller of the function` };
    if (result === undefined) nodes.push(node);
    else if ('refused' in result)
      skipped.push({ node: describeNode(node), reason: `opset ${version}: ${result.refused}` });
    else {
      nodes.push(...result);
      changed += 1;
    }
  }
  return { changed, apply: () => changed > 0 && applyPlan(body, { nodes, constants }, around) };
}

/** A node with an attribute of the wrong kind is left to the verifier, not guessed at. */
function adapted(adapter: Adapter, node: Node, context: AdapterContext): Adapted {
  try {
    return adapter(node, context);
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) return { refused: error.message };
    throw error;
  }
}

function applyPlan(
  body: Body,
  { nodes, constants }: { nodes: Node[]; constants: ReadonlyMap<string, Tensor> },
  around: Surroundings,
): void {
  if (body.kind === 'graph') {
    body.graph.nodes = nodes;
    for (const [name, tensor] of constants) {
      body.graph.initializers.set(name, tensor);
      around.made.set(name, body.graph);
    }
    return;
  }
  // Functions have no initializers.
  const made = [...constants].map(([name, tensor]) =>
    makeNode('Constant', [], [name], { attributes: { value: { kind: 'tensor', value: tensor } } }),
  );
  body.body.nodes = [...made, ...nodes];
}

function contextOf(body: Body, around: Surroundings, constants: Map<string, Tensor>): AdapterContext {
  const fresh = (base: string): string => {
    let name = base;
    for (let suffix = 1; around.taken.has(name); suffix += 1) name = `${base}_${suffix}`;
    around.taken.add(name);
    return name;
  };
  let reads: ReadonlySet<string> | undefined;
  return {
    shapeOf: (name) =>
      body.kind === 'function' || name === undefined ? undefined : around.types().shape(body.graph, name),
    elementTypeOf: (name): DataType | undefined => {
      if (body.kind === 'function' || name === undefined) return undefined;
      const type = around.types().of(body.graph, name);
      return type?.kind === 'tensor' && Object.hasOwn(DATA_TYPES, type.elementType) ? type.elementType : undefined;
    },
    constantOf: (name) => (name === undefined ? undefined : constantIn(body, name, around.overridable)),
    isRead: (name) => (reads ??= readsOf(body)).has(name),
    fresh,
    constant: (base, tensor) => {
      const name = fresh(base);
      constants.set(name, tensor.renamed(name));
      return name;
    },
  };
}

function constantIn(body: Body, name: string, overridable: ReadonlySet<string>): Tensor | undefined {
  if (body.kind === 'graph') {
    const initializer = body.graph.initializers.get(name);
    if (initializer !== undefined) return body.outer === undefined && overridable.has(name) ? undefined : initializer;
    if (body.graph.inputs.some((input) => input.name === name)) return undefined;
  }
  const producer = nodesOf(body).find((node) => node.outputs.includes(name));
  if (producer !== undefined) {
    const value = producer.opType === 'Constant' ? producer.attributes.get('value') : undefined;
    return value?.kind === 'tensor' ? value.value : undefined;
  }
  return body.kind === 'graph' && body.outer !== undefined ? constantIn(body.outer, name, overridable) : undefined;
}

function readsOf(body: Body): Set<string> {
  const outputs = body.kind === 'graph' ? body.graph.outputs.map((output) => output.name) : body.body.outputs;
  const reads = new Set<string>(outputs);
  for (const node of nodesOf(body)) {
    for (const name of node.inputs) reads.add(name);
    for (const subgraph of node.subgraphs()) for (const name of outerNames(subgraph)) reads.add(name);
  }
  return reads;
}

/** Removes constants of earlier steps that a later step stopped reading. */
export function dropUnreadConstants(made: ReadonlyMap<string, Graph>): void {
  for (const graph of new Set(made.values())) {
    const reads = readsOf({ kind: 'graph', graph, outer: undefined });
    for (const [name, home] of made) if (home === graph && !reads.has(name)) graph.initializers.delete(name);
  }
}
