import { inferTypes } from '../../../onnx/inference/infer-types.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import type { Tensor } from '../../../onnx/tensor.ts';
import { blockOf, blocksOf, type Block } from './blocks.ts';
import { isDepthwise, zeroRule } from './zero-rules.ts';

/** Where a small network lies in a large one of the same family, whose weights it shares. */
export interface LineUp {
  /** Dimensions of the small network's weights, by initializer: the front of the large one's, kernels their middle. */
  readonly dims: ReadonlyMap<string, readonly number[]>;
  /** Blocks that the small one does without. */
  readonly left: ReadonlySet<string>;
}

/** A network with what is looked up of it again and again. */
export interface Surveyed {
  readonly model: Model;
  readonly nodes: ReadonlyMap<string, Node>;
  readonly blocks: ReadonlyMap<string, Block>;
  /** Undefined where a size is open: the batch. */
  readonly shape: (value: string) => readonly (number | undefined)[];
}

/** @param model - a network of the zoo: nodes and initializers have stable names */
export function survey(model: Model): Surveyed {
  const types = inferTypes(model);
  return {
    model,
    nodes: new Map(model.graph.nodes.map((node) => [node.name, node])),
    blocks: new Map(blocksOf(model.graph).map((block) => [block.name, block])),
    shape: (value) =>
      (types.shape(model.graph, value) ?? []).map((size) => (typeof size === 'number' ? size : undefined)),
  };
}

/** Attributes that a smaller kernel and a depthwise convolution of fewer channels have others of. */
const CHANGING = new Set(['kernel_shape', 'pads', 'group']);

/**
 * Checks node by node that the small network computes what the large one does when channels behind the small one's are zeros,
 * kernels have zeros around the small one's, and some blocks hand on what they get.
 *
 * @returns in words why it is no part of the large one, where it is none
 */
export function lineUp(large: Surveyed, small: Surveyed): LineUp | string {
  const left = leftBlocks(large, small);
  if (typeof left === 'string') return left;
  /** What stands for a value of the large network when the left blocks are passed by. */
  const passed = new Map(
    [...left].map((name) => [large.blocks.get(name)?.output ?? '', large.blocks.get(name)?.input ?? '']),
  );
  const resolve = (value: string): string => {
    let at = value;
    for (let next = passed.get(at); next !== undefined; next = passed.get(at)) at = next;
    return at;
  };
  const counterpart = new Map<string, string>();
  const ends = inputsOf(small.model).map((name, index): [string, string | undefined] => [
    name,
    inputsOf(large.model)[index],
  ]);
  for (const [name, other] of ends) {
    if (other === undefined || !sameSizes(small.shape(name), large.shape(other)))
      return `its input "${name}" has other sizes`;
    counterpart.set(name, other);
  }
  const dims = new Map<string, readonly number[]>();
  /** Values of the small network whose further channels in the large one are not zero. */
  const loud = new Set<string>();
  for (const node of small.model.graph.nodes) {
    const twin = large.nodes.get(node.name);
    const problem =
      twin === undefined
        ? 'the largest network has no such layer'
        : (operatorProblem(node, twin) ??
          wiringProblem({ node, twin }, { small, counterpart, resolve }) ??
          weightProblem({ node, twin }, { small, large }, dims) ??
          zeroProblem({ node, twin }, { small, large }, loud));
    if (twin === undefined || problem !== undefined) return `${node.name}: ${problem ?? ''}`;
    for (const [index, output] of node.outputs.entries()) counterpart.set(output, twin.outputs[index] ?? '');
  }
  for (const [index, { name }] of small.model.graph.outputs.entries()) {
    const other = large.model.graph.outputs[index]?.name ?? '';
    if (counterpart.get(name) !== resolve(other) || !sameSizes(small.shape(name), large.shape(other)))
      return `its output "${name}" has other sizes`;
  }
  return { dims, left };
}

function inputsOf({ graph }: Model): string[] {
  return graph.inputs.map(({ name }) => name).filter((name) => !graph.initializers.has(name));
}

function sameSizes(one: readonly unknown[], other: readonly unknown[]): boolean {
  return one.length === other.length && one.every((size, axis) => size === other[axis]);
}

function leftBlocks(large: Surveyed, small: Surveyed): ReadonlySet<string> | string {
  const left = new Set<string>();
  for (const node of large.model.graph.nodes) {
    if (small.nodes.has(node.name)) continue;
    const name = blockOf(node);
    if (name === undefined || small.blocks.has(name)) return `${node.name}: only the largest network has this layer`;
    left.add(name);
  }
  for (const name of left) {
    const { input, output } = large.blocks.get(name) ?? {};
    if (input === undefined || output === undefined || !sameSizes(large.shape(input), large.shape(output)))
      return `${name}: what goes in and what comes out have other sizes, so it cannot be passed by`;
  }
  return left;
}

interface Pair {
  readonly node: Node;
  readonly twin: Node;
}

function operatorProblem(node: Node, twin: Node): string | undefined {
  if (node.opType !== twin.opType || node.domain !== twin.domain)
    return `is ${node.opType} here and ${twin.opType} there`;
  const names = new Set([...node.attributes.keys(), ...twin.attributes.keys()]);
  const differing = [...names]
    .filter((name) => !CHANGING.has(name) || node.opType !== 'Conv')
    .find((name) => !sameAttribute({ node, twin }, name));
  return differing === undefined ? undefined : `has another ${differing}`;
}

function sameAttribute({ node, twin }: Pair, name: string): boolean {
  const text = (of: Node): string =>
    JSON.stringify(of.attributes.get(name) ?? null, (_, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    );
  return text(node) === text(twin);
}

function wiringProblem(
  { node, twin }: Pair,
  {
    small,
    counterpart,
    resolve,
  }: {
    readonly small: Surveyed;
    readonly counterpart: ReadonlyMap<string, string>;
    readonly resolve: (value: string) => string;
  },
): string | undefined {
  if (node.inputs.length !== twin.inputs.length) return 'has another number of inputs';
  for (const [index, input] of node.inputs.entries()) {
    const other = twin.inputs[index] ?? '';
    const same =
      small.model.graph.initializers.has(input) || input === ''
        ? input === other
        : counterpart.get(input) === resolve(other);
    if (!same) return 'reads another value';
  }
  return undefined;
}

function weightProblem(
  { node, twin }: Pair,
  { small, large }: { readonly small: Surveyed; readonly large: Surveyed },
  dims: Map<string, readonly number[]>,
): string | undefined {
  const padding = (of: Node): readonly number[] => of.ints('pads') ?? [];
  const sameGroups =
    node.opType !== 'Conv' ||
    node.int('group', 1) === twin.int('group', 1) ||
    (isDepthwise(node, small.model) && isDepthwise(twin, large.model));
  if (!sameGroups) return `has ${node.int('group', 1)} groups here and ${twin.int('group', 1)} there`;
  for (const [index, name] of node.inputs.entries()) {
    const [own, other] = [small.model.graph.initializers.get(name), large.model.graph.initializers.get(name)];
    if (own === undefined || other === undefined) continue;
    if (own.dataType !== 'float' || own.dims.length === 0) {
      if (!sameConstant(own, other)) return `its constant "${name}" differs`;
      continue;
    }
    if (own.dims.length !== other.dims.length || own.dims.some((size, axis) => size > (other.dims[axis] ?? 0)))
      return `its "${name}" is [${own.dims.join(', ')}], no part of [${other.dims.join(', ')}]`;
    if (node.opType === 'Conv' && index === 1) {
      const rings = own.dims.slice(2).map((size, axis) => ((other.dims[axis + 2] ?? 0) - size) / 2);
      const [few, many] = [padding(node), padding(twin)];
      const centred = rings.every(
        (ring, axis) =>
          Number.isInteger(ring) &&
          [axis, axis + rings.length].every((side) => (many[side] ?? 0) - (few[side] ?? 0) === ring),
      );
      if (!centred) return 'its kernel does not lie in the middle of the large one';
    }
    dims.set(name, own.dims);
  }
  return undefined;
}

function sameConstant(one: Tensor, other: Tensor): boolean {
  return (
    one.dataType === other.dataType && sameSizes(one.dims, other.dims) && Buffer.from(one.bytes()).equals(other.bytes())
  );
}

/** Keeps track of which channels beyond the small network's are zero in the large one. */
function zeroProblem(
  { node, twin }: Pair,
  { small, large }: { readonly small: Surveyed; readonly large: Surveyed },
  loud: Set<string>,
): string | undefined {
  const values = node.inputs.filter((input) => input !== '' && !small.model.graph.initializers.has(input));
  const isNarrow = (value: string, other: string): boolean => small.shape(value)[1] !== large.shape(other)[1];
  const narrow = values.filter((value) => isNarrow(value, twin.inputs[node.inputs.indexOf(value)] ?? ''));
  const [output = ''] = node.outputs;
  const widened = isNarrow(output, twin.outputs[0] ?? '');
  if (narrow.length === 0 && !widened) return undefined;
  const rule = zeroRule(node, small.model);
  switch (rule) {
    case 'masked':
      return narrow.some((value) => loud.has(value))
        ? 'reads channels of the large network that are not zero'
        : undefined;
    case 'masked-by-channel':
      return undefined;
    case 'all':
    case 'any': {
      const quiet = values.map((value) => !narrow.includes(value) || !loud.has(value));
      // A value without further channels (a scalar) has none that could be zero.
      const zero =
        rule === 'all' ? quiet.every(Boolean) : values.some((value) => narrow.includes(value) && !loud.has(value));
      if (!zero) loud.add(output);
      return undefined;
    }
    case 'loud':
      loud.add(output);
      return undefined;
    case undefined:
      return `${node.opType} over channels whose number changes cannot share weights`;
  }
}
