import { CompressionError } from '../errors.ts';
import { NameScope, usesOf, type Graph, type Use } from '../onnx/graph.ts';
import type { Model } from '../onnx/model.ts';
import type { Tensor } from '../onnx/tensor.ts';
import { isAdder } from '../zoo/adder2d.ts';
import { matchesGlob } from './glob.ts';

export type ParameterRole = 'weight' | 'bias' | 'normalization';

/** An initializer that training may change. */
export interface Parameter {
  readonly name: string;
  readonly dims: readonly number[];
  readonly role: ParameterRole;
  /** Labels of the nodes that read it (name, or first output). */
  readonly nodes: readonly string[];
  /** The filters of adder layers, whose gradients are given a norm before they are used (`optimizers/adaptive-rate.ts`). */
  readonly isAdder: boolean;
}

/** Inputs that hold trained values, by operator. Weights of other operators are constants. */
const WEIGHT_INPUTS: Readonly<Record<string, Readonly<Record<number, ParameterRole>>>> = {
  Conv: { 1: 'weight', 2: 'bias' },
  ConvTranspose: { 1: 'weight', 2: 'bias' },
  Gemm: { 0: 'weight', 1: 'weight', 2: 'bias' },
  MatMul: { 0: 'weight', 1: 'weight' },
  BatchNormalization: { 1: 'normalization', 2: 'normalization' },
  InstanceNormalization: { 1: 'normalization', 2: 'normalization' },
  LayerNormalization: { 1: 'normalization', 2: 'normalization' },
  GroupNormalization: { 1: 'normalization', 2: 'normalization' },
  RMSNormalization: { 1: 'normalization' },
  PRelu: { 1: 'normalization' },
  RNN: { 1: 'weight', 2: 'weight', 3: 'bias' },
  GRU: { 1: 'weight', 2: 'weight', 3: 'bias' },
  LSTM: { 1: 'weight', 2: 'weight', 3: 'bias' },
  Gather: { 0: 'weight' },
  Einsum: { 0: 'weight', 1: 'weight' },
};
/** Vectors beside these are biases and scales; a single number is a constant of the architecture. */
const ELEMENTWISE = new Set(['Add', 'Sub', 'Mul']);

/**
 * The float initializers that hold weights, by the operators that read them, in file order. An initializer that is a
 * graph input too belongs to the caller and is left out.
 */
export function parametersOf(model: Model): Parameter[] {
  const { graph } = model;
  const uses = usesOf(graph);
  const inputs = new Set(graph.inputs.map(({ name }) => name));
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const parameters: Parameter[] = [];
  for (const [name, tensor] of graph.initializers) {
    if (tensor.dataType !== 'float' || inputs.has(name) || outputs.has(name) || tensor.elementCount === 0) continue;
    const readers = uses.get(name) ?? [];
    const roles = readers.map((use) => roleOf(use, tensor.elementCount));
    const [role] = roles;
    if (role === undefined || roles.includes(undefined)) continue;
    const nodes = readers.map(({ node }) => labelOf(node));
    parameters.push({ name, dims: tensor.dims, role, nodes, isAdder: readers.some(({ node }) => isAdder(node)) });
  }
  return parameters;
}

function roleOf({ node, inputIndex }: Use, elements: number): ParameterRole | undefined {
  if (isAdder(node)) return inputIndex === 1 ? 'weight' : undefined;
  if (node.domain !== '') return undefined;
  if (ELEMENTWISE.has(node.opType)) return elements > 1 ? 'bias' : undefined;
  return WEIGHT_INPUTS[node.opType]?.[inputIndex];
}

function labelOf(node: Use['node']): string {
  return node.name === '' ? (node.outputs[0] ?? '') : node.name;
}

export interface ParameterFilter {
  /** Globs of parameter names, node names or operator roles; absent: all. */
  readonly trainable?: readonly string[] | undefined;
  /** Globs of what stays as it is. */
  readonly frozen?: readonly string[] | undefined;
}

/**
 * The parameters that a filter leaves.
 *
 * @throws CompressionError RECIPE_NO_MATCH when a glob matches nothing, or nothing is left to train
 */
export function selectParameters(parameters: readonly Parameter[], filter: ParameterFilter): Parameter[] {
  const matches = (glob: string, parameter: Parameter): boolean =>
    matchesGlob(glob, parameter.name) || parameter.nodes.some((node) => matchesGlob(glob, node));
  for (const [option, globs] of Object.entries({ trainable: filter.trainable ?? [], frozen: filter.frozen ?? [] })) {
    for (const glob of globs) {
      if (parameters.some((parameter) => matches(glob, parameter))) continue;
      const names = parameters.map(({ name }) => name);
      throw new CompressionError(
        'RECIPE_NO_MATCH',
        `${option} "${glob}" matches no parameter and no node that has one; there are: ${names.slice(0, 20).join(', ')}${names.length > 20 ? ` and ${names.length - 20} more` : ''}`,
      );
    }
  }
  const selected = parameters.filter(
    (parameter) =>
      (filter.trainable === undefined || filter.trainable.some((glob) => matches(glob, parameter))) &&
      filter.frozen?.some((glob) => matches(glob, parameter)) !== true,
  );
  if (selected.length > 0) return selected;
  throw new CompressionError(
    'RECIPE_NO_MATCH',
    parameters.length === 0
      ? 'the model has no float weights to train (quantized or computed weights cannot be trained); train before quantizing'
      : 'every parameter of the model is frozen, so there is nothing to train; freeze fewer layers',
  );
}

/** Takes away Identity nodes that give a vector a second name, as exporters do for vectors of equal values. */
function resolveNamedCopies(graph: Graph): number {
  const before = graph.nodes.length;
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  graph.nodes = graph.nodes.filter((node) => {
    const [source = ''] = node.inputs;
    const [copy = ''] = node.outputs;
    const tensor = graph.initializers.get(source);
    if (node.opType !== 'Identity' || node.domain !== '' || tensor === undefined) return true;
    if (!isFloatVector(tensor) || outputs.has(copy)) return true;
    graph.initializers.set(copy, tensor.renamed(copy));
    return false;
  });
  return before - graph.nodes.length;
}

function isFloatVector({ dataType, dims, elementCount }: Tensor): boolean {
  return dataType === 'float' && elementCount > 1 && dims.filter((size) => size !== 1).length === 1;
}

/**
 * Gives each node its own copy of vectors (biases, scales, running statistics) that several nodes share. Exporters and
 * optimizers merge vectors of equal values, such as all biases that are still zero; trained as one they would be tied.
 * Matrices and filters stay shared: they are tied on purpose.
 *
 * @returns how many copies were made
 */
export function separateVectors(graph: Graph): number {
  const names = new NameScope(graph);
  let copies = resolveNamedCopies(graph);
  for (const [name, readers] of usesOf(graph)) {
    const tensor = graph.initializers.get(name);
    if (tensor === undefined || !isFloatVector(tensor)) continue;
    for (const { node, inputIndex } of readers.slice(1)) {
      if (inputIndex < 0) continue;
      const copy = names.fresh(name);
      graph.initializers.set(copy, tensor.renamed(copy));
      node.inputs[inputIndex] = copy;
      copies += 1;
    }
  }
  return copies;
}
