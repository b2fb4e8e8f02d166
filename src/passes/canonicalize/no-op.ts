import { elementCount } from '../../onnx/nd-array.ts';
import type { Node } from '../../onnx/node.ts';
import { dataTypeOfCode } from '../../onnx/data-type.ts';
import type { Tensor } from '../../onnx/tensor.ts';
import type { Dimension, Shape, ValueType } from '../../onnx/value-type.ts';

/** What a no-op rule may ask about the node's surroundings. */
export interface Surroundings {
  constant(name: string | undefined): Tensor | undefined;
  typeOf(name: string): ValueType | undefined;
  producer(name: string): Node | undefined;
}

type Rule = (node: Node, around: Surroundings) => boolean;

/** Nodes that return their first input unchanged, by operator. Each rule answers for opset 13 and up as well as before. */
const RULES: Readonly<Record<string, Rule>> = {
  Identity: () => true,
  Dropout: (node, around) => {
    const training = node.inputs[2];
    return training === undefined || training === '' || around.constant(training)?.bytes()[0] === 0;
  },
  Cast: (node, around) => {
    const to = dataTypeOfCode(node.int('to', 0));
    return to !== undefined && elementTypeOf(node, around) === to;
  },
  Reshape: (node, around) => {
    const target = integersOf(around.constant(node.inputs[1]));
    const shape = shapeOf(node, around);
    if (target?.length !== shape?.length || target === undefined || shape === undefined) return false;
    const zeroCopies = node.int('allowzero', 0) === 0;
    const same = target.map((size, axis) => (size === 0 && zeroCopies) || (size >= 0 && size === shape[axis]));
    // One -1 takes what is left: the same dimension, when all others are the same.
    return same.filter((is) => !is).length <= (target.includes(-1) ? 1 : 0);
  },
  Transpose: (node, around) => {
    const perm = node.ints('perm');
    if (perm !== undefined) return perm.every((from, to) => from === to);
    const rank = shapeOf(node, around)?.length;
    return rank !== undefined && rank < 2;
  },
  Flatten: (node, around) => {
    const shape = shapeOf(node, around);
    return shape?.length === 2 && [1, -1].includes(node.int('axis', 1));
  },
  Expand: (node, around) => {
    const target = integersOf(around.constant(node.inputs[1]));
    const shape = shapeOf(node, around);
    if (target === undefined) return false;
    if (target.length === 0) return true;
    return (
      shape !== undefined &&
      target.length <= shape.length &&
      target.every((size, index) => size === 1 || size === shape[shape.length - target.length + index])
    );
  },
  Tile: (node, around) => integersOf(around.constant(node.inputs[1]))?.every((times) => times === 1) ?? false,
  Pad: (node, around) =>
    (node.ints('pads') ?? integersOf(around.constant(node.inputs[1])))?.every((pad) => pad === 0) ?? false,
  Slice: (node, around) => {
    const starts = node.ints('starts') ?? integersOf(around.constant(node.inputs[1]));
    const ends = node.ints('ends') ?? integersOf(around.constant(node.inputs[2]));
    const axes = node.ints('axes') ?? integersOf(around.constant(node.inputs[3]));
    if ((node.inputs[3] ?? '') !== '' && axes === undefined) return false;
    const steps = (node.inputs[4] ?? '') === '' ? undefined : integersOf(around.constant(node.inputs[4]));
    if ((node.inputs[4] ?? '') !== '' && steps === undefined) return false;
    if (starts === undefined || ends === undefined) return false;
    const shape = shapeOf(node, around);
    return starts.every((start, index) => {
      const end = ends[index];
      const size = sizeAt(shape, axes === undefined ? index : axes[index]);
      const whole = end !== undefined && (end >= 2 ** 31 - 1 || (typeof size === 'number' && end >= size));
      return start === 0 && whole && (steps?.[index] ?? 1) === 1;
    });
  },
  Concat: (node) => node.inputs.length === 1,
  Sum: (node) => node.inputs.length === 1,
  Mean: (node) => node.inputs.length === 1,
  Max: (node) => node.inputs.length === 1,
  Min: (node) => node.inputs.length === 1,
  Mul: (node, around) => isNeutral(around.constant(node.inputs[1]), 1, node, around),
  Div: (node, around) => isNeutral(around.constant(node.inputs[1]), 1, node, around),
  // x - 0 is x for every x; x + 0 is not (it turns -0 into 0), so Add has no rule.
  Sub: (node, around) => isNeutral(around.constant(node.inputs[1]), 0, node, around),
};

/**
 * Whether the node gives back one of its values: `from` is the value it gives back. A Transpose that undoes the Transpose
 * before it gives back that one's input.
 */
export function passesThrough(node: Node, around: Surroundings): { readonly from: string } | undefined {
  if (node.domain !== '') return undefined;
  const [input] = node.inputs;
  if (input === undefined || hasReference(node)) return undefined;
  if (Object.hasOwn(RULES, node.opType) && RULES[node.opType]?.(node, around) === true) return { from: input };
  if (node.opType === 'Transpose') {
    const before = around.producer(input);
    const source = before?.inputs[0];
    if (before?.opType !== 'Transpose' || before.domain !== '' || source === undefined) return undefined;
    const first = before.ints('perm');
    const second = node.ints('perm');
    if (first === undefined || second === undefined) {
      return first === undefined && second === undefined ? { from: source } : undefined;
    }
    if (first.length === second.length && second.every((from, to) => first[from] === to)) return { from: source };
  }
  return undefined;
}

/** Inside a function body an attribute may stand for the caller's: nothing is known of it there. */
function hasReference(node: Node): boolean {
  return [...node.attributes.values()].some((attribute) => attribute.kind === 'reference');
}

function isNeutral(tensor: Tensor | undefined, neutral: number, node: Node, around: Surroundings): boolean {
  if (tensor === undefined || elementCount(tensor.dims) !== 1) return false;
  // A one-element operand of higher rank would give the result more dimensions.
  const rank = shapeOf(node, around)?.length;
  if (tensor.dims.length > 0 && (rank === undefined || tensor.dims.length > rank)) return false;
  const [value] = tensor.toArray().data;
  return (tensor.dataType === 'float' || tensor.dataType === 'double' || tensor.dataType === 'int64') &&
    typeof value !== 'string'
    ? Number(value) === neutral && !Object.is(value, -0)
    : false;
}

function shapeOf(node: Node, around: Surroundings): Shape | undefined {
  const [name] = node.inputs;
  if (name === undefined) return undefined;
  const constant = around.constant(name);
  if (constant !== undefined) return constant.dims;
  const type = around.typeOf(name);
  return type?.kind === 'tensor' ? type.shape : undefined;
}

function elementTypeOf(node: Node, around: Surroundings): string | undefined {
  const [name] = node.inputs;
  if (name === undefined) return undefined;
  const type = around.typeOf(name);
  return around.constant(name)?.dataType ?? (type?.kind === 'tensor' ? type.elementType : undefined);
}

/** The values, INT64_MAX and the like as the nearest double: they only mean "to the end". */
function integersOf(tensor: Tensor | undefined): number[] | undefined {
  if (tensor === undefined || (tensor.dataType !== 'int64' && tensor.dataType !== 'int32')) return undefined;
  return Array.from(tensor.toArray().data, Number);
}

function sizeAt(shape: Shape | undefined, axis: number | undefined): Dimension {
  if (shape === undefined || axis === undefined) return null;
  return shape[axis < 0 ? axis + shape.length : axis] ?? null;
}
