import { describeNode, type Node } from '../../../onnx/node.ts';
import type { Sizes } from '../removal/concrete-types.ts';
import { Obstacle } from './obstacle.ts';
import type { Spreading } from './spread.ts';

/** Carries marks between the inputs and outputs of one node; called again whenever one of them changed. */
export type Rule = (node: Node, walk: Spreading) => void;

const ELEMENTWISE =
  'Add Sub Mul Div Pow Max Min Sum Mean Where Equal Greater GreaterOrEqual Less LessOrEqual And Or Not Relu LeakyRelu PRelu ' +
  'Clip Elu Selu Celu Sigmoid HardSigmoid HardSwish Swish Mish Gelu Tanh Erf Exp Log Sqrt Reciprocal Abs Neg Softplus Softsign ' +
  'Sin Cos IsNaN IsInf Identity Cast Dropout';

/** Sides with the size of the result carry its units; a side of size 1 is repeated over them. */
const elementwise: Rule = (node, walk) => broadcast(node, node.inputs, walk);

/** The second input of Expand is a shape. */
const expand: Rule = (node, walk) => broadcast(node, node.inputs.slice(0, 1), walk);

function broadcast(node: Node, inputs: readonly string[], walk: Spreading): void {
  const [output = ''] = node.outputs;
  const rank = walk.shape(output).length;
  const sides = inputs.filter((name) => name !== '');
  for (const side of sides) {
    const mark = walk.mark(side);
    if (mark !== undefined) walk.set(output, mark.axis + rank - walk.shape(side).length, mark.labels);
  }
  const mark = walk.mark(output);
  if (mark === undefined) return;
  for (const side of sides) {
    const axis = alignedAxis(walk.shape(side), mark.axis, rank);
    if (axis !== undefined && walk.shape(side)[axis] === mark.labels.length) walk.set(side, axis, mark.labels);
  }
}

/** The axis of an operand that meets `axis` of the result when shapes are aligned at their ends. */
export function alignedAxis(shape: Sizes, axis: number, rank: number): number | undefined {
  const own = axis - (rank - shape.length);
  return own < 0 ? undefined : own;
}

/** Both ways over one axis map; undefined where the axis does not come through. */
function along(
  node: Node,
  walk: Spreading,
  maps: {
    readonly forward: (axis: number) => number | undefined;
    readonly backward: (axis: number) => number | undefined;
  },
): void {
  const [input = ''] = node.inputs;
  const [output = ''] = node.outputs;
  const ways = [
    { from: input, to: output, map: maps.forward },
    { from: output, to: input, map: maps.backward },
  ];
  for (const { from, to, map } of ways) {
    const mark = walk.mark(from);
    if (mark === undefined) continue;
    const axis = map(mark.axis);
    if (axis === undefined) throw new Obstacle(`${describeNode(node)} mixes the units`);
    walk.set(to, axis, mark.labels);
  }
}

/** Statistics or shares over axes: the units must lie along another one. */
function normalization(firstAxis: (node: Node, rank: number) => readonly number[]): Rule {
  return (node, walk) => {
    const rank = walk.shape(node.inputs[0] ?? '').length;
    const mixed = new Set(firstAxis(node, rank));
    const same = (axis: number): number | undefined => (mixed.has(axis) ? undefined : axis);
    along(node, walk, { forward: same, backward: same });
    if (node.outputs.slice(1).some((name) => walk.facts.uses(name).length > 0)) {
      throw new Obstacle(`${describeNode(node)} has a further output in use`);
    }
  };
}

const positive = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

const softmax: Rule = (node, walk) => {
  if (walk.facts.opset < 13) throw new Obstacle(`${describeNode(node)} flattens its input, as before opset 13`);
  normalization((_, rank) => [positive(node.int('axis', -1), rank)])(node, walk);
};

const layerNormalization = normalization((node, rank) => {
  const axis = positive(node.int('axis', -1), rank);
  return Array.from({ length: rank - axis }, (_, at) => axis + at);
});

const reduce: Rule = (node, walk) => {
  const [input = '', axesName] = node.inputs;
  const rank = walk.shape(input).length;
  const given = node.ints('axes') ?? walk.facts.constant(axesName)?.integers();
  if (given === undefined) throw new Obstacle(`the axes of ${describeNode(node)} are not constant`);
  const reduced = new Set(given.map((axis) => positive(axis, rank)));
  const keeps = node.int('keepdims', 1) !== 0;
  const kept = Array.from({ length: rank }, (_, axis) => axis).filter((axis) => keeps || !reduced.has(axis));
  along(node, walk, {
    forward: (axis) => (reduced.has(axis) ? undefined : kept.indexOf(axis)),
    backward: (axis) => {
      const own = kept[axis];
      return own === undefined || reduced.has(own) ? undefined : own;
    },
  });
};

const transpose: Rule = (node, walk) => {
  const rank = walk.shape(node.inputs[0] ?? '').length;
  const perm = node.ints('perm') ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
  along(node, walk, { forward: (axis) => perm.indexOf(axis), backward: (axis) => perm[axis] });
};

const reshape: Rule = (node, walk) => {
  const [input = ''] = node.inputs;
  const [output = ''] = node.outputs;
  walk.reshape(input, output);
  walk.reshape(output, input);
};

/** Values that are parts of a whole along an axis: Concat and its inverse, Split. */
function joined(node: Node, walk: Spreading, whole: string, parts: readonly string[]): void {
  const rank = walk.shape(whole).length;
  const axis = positive(node.int('axis', 0), rank);
  const sizes = parts.map((part) => walk.shape(part)[axis] ?? 0);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let offset = 0;
  for (const [at, part] of parts.entries()) {
    const size = sizes[at] ?? 0;
    const mark = walk.mark(part);
    if (mark?.axis === axis) {
      const labels = new Int32Array(total).fill(-1);
      labels.set(mark.labels, offset);
      walk.set(whole, axis, labels);
    } else if (mark !== undefined) walk.set(whole, mark.axis, mark.labels);
    offset += size;
  }
  const mark = walk.mark(whole);
  offset = 0;
  for (const [at, part] of parts.entries()) {
    const size = sizes[at] ?? 0;
    if (mark !== undefined) {
      walk.set(part, mark.axis, mark.axis === axis ? mark.labels.slice(offset, offset + size) : mark.labels);
    }
    offset += size;
  }
}

const concat: Rule = (node, walk) => joined(node, walk, node.outputs[0] ?? '', node.inputs);
const split: Rule = (node, walk) => joined(node, walk, node.inputs[0] ?? '', node.outputs);

const slice: Rule = (node, walk) => {
  const [input = ''] = node.inputs;
  const [output = ''] = node.outputs;
  const cut = sliceOf(node, walk);
  const from = walk.mark(input);
  if (from !== undefined) {
    const range = cut.get(from.axis);
    walk.set(output, from.axis, range === undefined ? from.labels : from.labels.slice(range[0], range[1]));
  }
  const to = walk.mark(output);
  if (to === undefined) return;
  const range = cut.get(to.axis);
  if (range === undefined) {
    walk.set(input, to.axis, to.labels);
    return;
  }
  const labels = new Int32Array(walk.shape(input)[to.axis] ?? 0).fill(-1);
  labels.set(to.labels, range[0]);
  walk.set(input, to.axis, labels);
};

/** The axes that a Slice cuts, each with its range in positions. @throws Obstacle when they are not constant, or a step is not 1 */
export function sliceOf(
  node: Node,
  walk: Pick<Spreading, 'facts' | 'shape'>,
): ReadonlyMap<number, readonly [number, number]> {
  const [input = '', startsName, endsName, axesName, stepsName] = node.inputs;
  const shape = walk.shape(input);
  const list = (name: string | undefined, attribute: string): readonly number[] | undefined =>
    name === undefined || name === '' ? node.ints(attribute) : walk.facts.constant(name)?.integers();
  const [starts, ends] = [list(startsName, 'starts'), list(endsName, 'ends')];
  const axes = list(axesName, 'axes') ?? starts?.map((_, axis) => axis);
  const steps = list(stepsName, 'steps') ?? starts?.map(() => 1);
  if (starts === undefined || ends === undefined || axes === undefined || steps?.some((step) => step !== 1) !== false) {
    throw new Obstacle(`${describeNode(node)} has bounds that are not constant, or steps`);
  }
  return new Map(
    axes.map((given, at): [number, readonly [number, number]] => {
      const axis = positive(given, shape.length);
      const size = shape[axis] ?? 0;
      const clamp = (bound: number): number => Math.min(size, Math.max(0, bound < 0 ? bound + size : bound));
      return [axis, [clamp(starts[at] ?? 0), clamp(ends[at] ?? size)]];
    }),
  );
}

const gather: Rule = (node, walk) => {
  const [input = '', indices = ''] = node.inputs;
  const axis = positive(node.int('axis', 0), walk.shape(input).length);
  const added = walk.shape(indices).length - 1;
  along(node, walk, {
    forward: (own) => (own === axis ? undefined : own < axis ? own : own + added),
    backward: (own) => (own < axis ? own : own > axis + added ? own - added : undefined),
  });
};

const matMul: Rule = (node, walk) => {
  const [a = '', b = ''] = node.inputs;
  const [output = ''] = node.outputs;
  const rank = walk.shape(output).length;
  const weight = walk.facts.constant(b);
  if (weight !== undefined) {
    if (weight.dims.length !== 2) throw new Obstacle(`the weight of ${describeNode(node)} is not a matrix`);
    const isPassed = (axis: number): number | undefined => (axis < rank - 1 ? axis : undefined);
    // The last axes are the layer's own: rows and columns of its weight go with them.
    const [from, to] = [walk.mark(a), walk.mark(output)];
    if (from !== undefined && isPassed(from.axis) !== undefined) walk.set(output, from.axis, from.labels);
    if (to !== undefined && isPassed(to.axis) !== undefined) walk.set(a, to.axis, to.labels);
    return;
  }
  if (walk.facts.constant(a) !== undefined) throw new Obstacle(`${describeNode(node)} has a constant on its left side`);
  const [shapeA, shapeB] = [walk.shape(a), walk.shape(b)];
  const [rankA, rankB] = [shapeA.length, shapeB.length];
  if (rankA < 2 || rankB < 2) throw new Obstacle(`${describeNode(node)} multiplies by a vector`);
  const link = (from: string, fromAxis: number, to: string, toAxis: number): void => {
    const [left, right] = [walk.mark(from), walk.mark(to)];
    if (left?.axis === fromAxis) walk.set(to, toAxis, left.labels);
    if (right?.axis === toAxis) walk.set(from, fromAxis, right.labels);
  };
  link(a, rankA - 1, b, rankB - 2);
  link(a, rankA - 2, output, rank - 2);
  link(b, rankB - 1, output, rank - 1);
  for (let axis = 0; axis < rank - 2; axis += 1) {
    for (const [side, shape] of [
      [a, shapeA],
      [b, shapeB],
      [a, shapeA],
    ] as const) {
      const own = alignedAxis(shape, axis, rank);
      if (own !== undefined && shape[own] === walk.shape(output)[axis]) link(side, own, output, axis);
    }
  }
};

const gemm: Rule = (node, walk) => {
  const [a = '', b = ''] = node.inputs;
  const [output = ''] = node.outputs;
  if (walk.facts.constant(b) === undefined || node.int('transA', 0) !== 0) {
    throw new Obstacle(`${describeNode(node)} has no constant weight, or a transposed input`);
  }
  if (walk.facts.constant(node.inputs[2]) === undefined && (node.inputs[2] ?? '') !== '') {
    throw new Obstacle(`the bias of ${describeNode(node)} is not constant`);
  }
  const [from, to] = [walk.mark(a), walk.mark(output)];
  if (from?.axis === 0) walk.set(output, 0, from.labels);
  if (to?.axis === 0) walk.set(a, 0, to.labels);
};

/** What depends on sizes alone: it follows them. */
const sizesOnly: Rule = () => undefined;

/** By `domain:opType`. */
export const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ...ELEMENTWISE.split(' ').map((opType): [string, Rule] => [`:${opType}`, elementwise]),
  ...['Gelu', 'FastGelu', 'QuickGelu', 'BiasGelu'].map((opType): [string, Rule] => [
    `com.microsoft:${opType}`,
    elementwise,
  ]),
  [':Softmax', softmax],
  [':LogSoftmax', softmax],
  [':LayerNormalization', layerNormalization],
  [':RMSNormalization', layerNormalization],
  [':ReduceMean', reduce],
  [':ReduceSum', reduce],
  [':ReduceMax', reduce],
  [':Transpose', transpose],
  [':Reshape', reshape],
  [':Flatten', reshape],
  [':Squeeze', reshape],
  [':Unsqueeze', reshape],
  [':Expand', expand],
  [':Concat', concat],
  [':Split', split],
  [':Slice', slice],
  [':Gather', gather],
  [':MatMul', matMul],
  [':Gemm', gemm],
  [':Shape', sizesOnly],
  [':Size', sizesOnly],
]);
