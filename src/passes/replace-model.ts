import { NameScope, withSubgraphs } from '../onnx/graph.ts';
import { inferTypes } from '../onnx/inference/infer-types.ts';
import type { Model } from '../onnx/model.ts';
import type { ValueInfo, ValueType } from '../onnx/value-type.ts';

/** Puts another network in the model's place. What describes the model (producer, metadata) stays. */
export function replaceModel(model: Model, by: Model): void {
  model.graph = by.graph;
  model.opsetImports = by.opsetImports;
  model.functions = by.functions;
  model.irVersion = by.irVersion;
}

interface Place {
  readonly info: ValueInfo;
  readonly type: ValueType | undefined;
}

function placesOf(model: Model, kind: 'inputs' | 'outputs'): Place[] {
  const { graph } = model;
  const types = inferTypes(model);
  return graph[kind]
    .filter(({ name }) => kind === 'outputs' || !graph.initializers.has(name))
    .map((info) => ({ info, type: types.of(graph, info.name) ?? info.type }));
}

/**
 * What makes a network unfit to take the model's place, in words with a remedy: other numbers of inputs or outputs, other types or
 * sizes. The names may differ.
 */
export function interfaceObstacle(network: Model, model: Model): string | undefined {
  for (const kind of ['inputs', 'outputs'] as const) {
    const [own, wanted] = [placesOf(network, kind), placesOf(model, kind)];
    const noun = kind === 'inputs' ? 'input' : 'output';
    if (own.length !== wanted.length) {
      return `the network has ${own.length} ${kind}, the model ${wanted.length}; it can only replace a model with as many`;
    }
    for (const [index, place] of own.entries()) {
      const other = wanted[index];
      if (other === undefined || fits(place.type, other.type)) continue;
      return `${noun} "${place.info.name}" of the network is ${describe(place.type)}, ${noun} "${other.info.name}" of the model ${describe(other.type)}; choose one of the same sizes (inputSize, inputChannels and classes of an architecture; its resolution is what the layers work at)`;
    }
  }
  return undefined;
}

/** Types equal, and sizes too where both are fixed; the batch is anybody's. */
function fits(own: ValueType | undefined, wanted: ValueType | undefined): boolean {
  if (own === undefined || wanted === undefined) return true;
  if (own.kind !== 'tensor' || wanted.kind !== 'tensor') return own.kind === wanted.kind;
  if (own.elementType !== wanted.elementType) return false;
  if (own.shape === undefined || wanted.shape === undefined) return true;
  return (
    own.shape.length === wanted.shape.length &&
    own.shape.every((size, axis) => {
      const other = wanted.shape?.[axis];
      return axis === 0 || typeof size !== 'number' || typeof other !== 'number' || size === other;
    })
  );
}

function describe(type: ValueType | undefined): string {
  if (type?.kind !== 'tensor') return type?.kind ?? 'of unknown type';
  return `${type.elementType} [${type.shape?.map((size) => size ?? '?').join(', ') ?? 'of unknown rank'}]`;
}

/** Gives the network's inputs and outputs the names of the model's. */
export function takeNames(network: Model, model: Model): void {
  for (const kind of ['inputs', 'outputs'] as const) {
    const own = placesOf(network, kind).map(({ info }) => info.name);
    const wanted = placesOf(model, kind).map(({ info }) => info.name);
    const scope = new NameScope(network.graph);
    const taken = wanted.filter((name, index) => own[index] !== name);
    // Out of the way first: a wanted name may be that of another value.
    for (const name of taken) if (scope.fresh(name) !== name) renameValue(network, name, scope.fresh(`own_${name}`));
    const moved = placesOf(network, kind).map(({ info }) => info.name);
    for (const [index, name] of wanted.entries()) {
      const current = moved[index];
      if (current !== undefined && current !== name) renameValue(network, current, name);
    }
  }
}

/** Renames a value of the main graph wherever it is made, read or described. Names are unique across nested graphs. */
function renameValue(model: Model, from: string, to: string): void {
  const renamed = (name: string): string => (name === from ? to : name);
  const info = (value: ValueInfo): ValueInfo => ({ ...value, name: renamed(value.name) });
  for (const graph of withSubgraphs(model.graph)) {
    graph.inputs = graph.inputs.map(info);
    graph.outputs = graph.outputs.map(info);
    for (const node of graph.nodes) {
      node.inputs = node.inputs.map(renamed);
      node.outputs = node.outputs.map(renamed);
    }
    const described = graph.valueInfos.get(from);
    if (described !== undefined) {
      graph.valueInfos.delete(from);
      graph.valueInfos.set(to, info(described));
    }
    const tensor = graph.initializers.get(from);
    if (tensor !== undefined) {
      graph.initializers.delete(from);
      graph.initializers.set(to, tensor.renamed(to));
    }
  }
}
