import { CompressionError } from '../../../errors.ts';
import { GraphBuilder } from '../../../onnx/graph-builder.ts';
import { makeNode, type Node } from '../../../onnx/node.ts';
import type { Model } from '../../../onnx/model.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import { sortTopologically } from '../../../onnx/verify/topological-order.ts';
import { pruneGraph } from '../../../training/prune-graph.ts';
import { buildArchitecture } from '../../../zoo/build-architecture.ts';
import { regionOf, type OperationSpace, type Region } from './places.ts';

/** The strengths of the operations at a place, initializers [operations] of the mixed network. */
export interface MixedPlace {
  readonly alpha: string;
  /** Added to `alpha`, and not learned: takes an operation out for a step. */
  readonly penalty: string;
  readonly operations: number;
  /** The one that hands on what it gets, if there is one. */
  readonly skip: number | undefined;
}

export interface MixedNetwork {
  readonly model: Model;
  readonly places: readonly MixedPlace[];
}

/** Name of a weight of an operation in the mixed network. */
export function mixedName(operation: number, name: string): string {
  return `operation${operation}.${name}`;
}

/**
 * One network with all operations of every place side by side: what a place gives is their sum, each times its part of
 * softmax(alpha).
 *
 * @see Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019, equation 2
 */
export function mixedNetwork(space: OperationSpace, seed: number): MixedNetwork {
  const { places } = space;
  const base = places.map(({ solid }) => solid);
  const networkOf = (operations: readonly number[]): Model =>
    buildArchitecture(space.requestOf(space.pointOf(operations)), seed);
  const model = networkOf(base);
  const b = new GraphBuilder(model.graph);
  const mixed = places.map(({ name, prefix, operations }, index): MixedPlace => {
    const own = regionOf(model, prefix);
    const added: Node[] = [];
    const results = operations.map((_, operation) => {
      const source = operation === base[index] ? model : networkOf(base.with(index, operation));
      const region = operation === base[index] ? own : regionOf(source, prefix);
      return copyRegion({ source, region, operation, prefix }, { b, input: own.input, added });
    });
    const zeros = (part: string): string =>
      b.initializer(
        Tensor.float(
          `${part}.${name}`,
          operations.map(() => 0),
        ),
      );
    const [alpha, penalty] = [zeros('alpha'), zeros('penalty')];
    const output = mix({ name, results, alpha, penalty }, { b, added });
    const rest = model.graph.nodes.filter((node) => !node.name.startsWith(prefix));
    for (const node of rest) node.inputs = node.inputs.map((value) => (value === own.output ? output : value));
    model.graph.nodes = [...rest, ...added];
    const skip = results.indexOf(own.input);
    return { alpha, penalty, operations: operations.length, skip: skip < 0 ? undefined : skip };
  });
  sortTopologically(model.graph);
  pruneGraph(model.graph);
  return { model, places: mixed };
}

/** @returns the value that the copy gives */
function copyRegion(
  {
    source,
    region,
    operation,
    prefix,
  }: { readonly source: Model; readonly region: Region; readonly operation: number; readonly prefix: string },
  { b, input, added }: { readonly b: GraphBuilder; readonly input: string; readonly added: Node[] },
): string {
  const made = new Set(region.nodes.flatMap(({ outputs }) => outputs));
  const renamed = (value: string): string => {
    if (value === region.input) return input;
    if (made.has(value)) return mixedName(operation, value);
    const tensor = source.graph.initializers.get(value);
    if (tensor === undefined) return value;
    // Constants are shared under names that say what they hold.
    const name = value.startsWith(prefix) ? mixedName(operation, value) : value;
    if (!b.graph.initializers.has(name)) b.graph.initializers.set(name, tensor.renamed(name));
    return name;
  };
  for (const node of region.nodes) {
    const copy = makeNode(node.opType, node.inputs.map(renamed), node.outputs.map(renamed), {
      name: mixedName(operation, node.name),
    });
    copy.domain = node.domain;
    for (const [key, attribute] of node.attributes) copy.attributes.set(key, attribute);
    added.push(copy);
  }
  return renamed(region.output);
}

function mix(
  {
    name,
    results,
    alpha,
    penalty,
  }: { readonly name: string; readonly results: readonly string[]; readonly alpha: string; readonly penalty: string },
  { b, added }: { readonly b: GraphBuilder; readonly added: Node[] },
): string {
  const value = (part: string): string => b.fresh(`mix.${name}.${part}`);
  const write = (opType: string, inputs: readonly string[], outputs: readonly string[], attributes = {}): void => {
    added.push(makeNode(opType, inputs, outputs, { name: outputs[0] ?? '', attributes }));
  };
  const [strength, share, output] = ['strength', 'share', 'output'].map(value);
  if (strength === undefined || share === undefined || output === undefined)
    throw new CompressionError('INTERNAL', 'names of a mixture are missing');
  write('Add', [alpha, penalty], [strength]);
  write('Softmax', [strength], [share], { axis: 0 });
  const shares = results.map((_, operation) => value(`share${operation}`));
  if (shares.length === 1) write('Identity', [share], shares);
  else write('Split', [share], shares, { axis: 0, num_outputs: shares.length });
  const parts = results.map((result, operation) => {
    const part = value(`part${operation}`);
    write('Mul', [result, shares[operation] ?? ''], [part]);
    return part;
  });
  write(parts.length === 1 ? 'Identity' : 'Sum', parts, [output]);
  return output;
}
