import { CompressionError } from '../../errors.ts';
import type { DataType } from '../../onnx/data-type.ts';
import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import type { AttributeInit, Node } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import type { StaticTypes } from '../static-types.ts';

export type Attributes = Readonly<Record<string, AttributeInit>>;

/** Domain of FusedMatMul, the one operator outside the standard that gradients use: ONNX Runtime's CPU provider has it. */
export const MICROSOFT = 'com.microsoft';

/** Largest constant of zeros worth its memory. */
const MAX_ZEROS = 2 ** 22;

/** Writes gradient nodes with the words of the textbook. Equal constants are written once. */
export class GradientBuilder {
  readonly types: StaticTypes;
  /** Base of the names that are given; the walker sets it to the node whose gradient is being written. */
  prefix = '';
  readonly #graph: GraphBuilder;
  readonly #constants = new Map<string, string>();

  constructor(graph: GraphBuilder, types: StaticTypes) {
    this.#graph = graph;
    this.types = types;
  }

  op(opType: string, inputs: readonly string[], attributes: Attributes = {}, domain = ''): string {
    return this.#graph.op(opType, inputs, { attributes, domain, name: `${this.prefix}_grad_${opType.toLowerCase()}` });
  }

  ops(opType: string, inputs: readonly string[], count: number, attributes: Attributes = {}): string[] {
    return this.#graph.ops(opType, inputs, count, {
      attributes,
      name: `${this.prefix}_grad_${opType.toLowerCase()}`,
    });
  }

  /** The optional output `index` of a forward node, which is made to give it when it does not yet. */
  optionalOutput(node: Node, index: number, type: { elementType: DataType; shape: readonly number[] }): string {
    const given = node.outputs[index] ?? '';
    if (given !== '') return given;
    const name = this.#graph.fresh(`${node.outputs[0] ?? ''}_${index}`);
    while (node.outputs.length < index) node.outputs.push('');
    node.outputs[index] = name;
    this.types.declare(name, type.elementType, type.shape);
    return name;
  }

  shape(name: string): readonly number[] {
    return this.types.shape(name);
  }

  /** A constant tensor in the element type of `like`. */
  constant(values: ArrayLike<number>, dims: readonly number[], like: string): string {
    const type = this.types.elementType(like) ?? 'float';
    if (elementCount(dims) > 16) return this.#graph.initializer(constantTensor(values, dims, type));
    return this.#shared(`${type} ${dims.join()} ${Array.from(values, keyOf).join()}`, () =>
      constantTensor(values, dims, type),
    );
  }

  /** A float vector, as Resize takes its scales whatever its data are. */
  constantFloats(values: readonly number[]): string {
    return this.#shared(`float ${values.length} ${values.map(keyOf).join()}`, () =>
      constantTensor(values, [values.length], 'float'),
    );
  }

  /** A constant of zeros; one for all that need it, whatever its size. */
  zeroBlock(dims: readonly number[], like: string): string {
    const type = this.types.elementType(like) ?? 'float';
    return this.#shared(`${type} zeros ${dims.join()}`, () =>
      constantTensor(new Float32Array(elementCount(dims)), dims, type),
    );
  }

  scalar(value: number, like: string): string {
    return this.constant([value], [], like);
  }

  ints(values: readonly number[], dims: readonly number[] = [values.length]): string {
    return this.#shared(`int64 ${dims.join()} ${values.join()}`, () => Tensor.int64('grad_ints', values, dims));
  }

  #shared(key: string, make: () => Tensor): string {
    let name = this.#constants.get(key);
    if (name === undefined) {
      name = this.#graph.initializer(make());
      this.#constants.set(key, name);
    }
    return name;
  }

  add(a: string, b: string): string {
    return this.op('Add', [a, b]);
  }

  sub(a: string, b: string): string {
    return this.op('Sub', [a, b]);
  }

  mul(a: string, b: string): string {
    return this.op('Mul', [a, b]);
  }

  div(a: string, b: string): string {
    return this.op('Div', [a, b]);
  }

  /** a * factor; `a` itself for factor 1. */
  scale(a: string, factor: number): string {
    return factor === 1 ? a : this.mul(a, this.scalar(factor, a));
  }

  /** a + term, the term a number. */
  shift(a: string, term: number): string {
    return this.add(a, this.scalar(term, a));
  }

  /** 1 where the condition holds, else 0, in the element type of `like`. */
  mask(condition: string, like: string): string {
    return this.op('Cast', [condition], { to: CAST_CODE[this.types.elementType(like) ?? 'float'] ?? 1 });
  }

  /**
   * 1 where a > 0, else 0. For floats HardSigmoid with a huge slope, one pass instead of the two of Greater and Cast (values
   * under 1e-38 come out between).
   */
  positiveMask(a: string): string {
    if (this.types.elementType(a) !== 'float') return this.mask(this.greater(a, 0), a);
    return this.op('HardSigmoid', [a], { alpha: { float: 2 ** 127 }, beta: { float: 0 } });
  }

  where(condition: string, yes: string, no: string): string {
    return this.op('Where', [condition, yes, no]);
  }

  greater(a: string, bound: number): string {
    return this.op('Greater', [a, this.scalar(bound, a)]);
  }

  less(a: string, bound: number): string {
    return this.op('Less', [a, this.scalar(bound, a)]);
  }

  /** `a` in another shape of the same number of elements; `a` itself when it has that shape. */
  reshape(a: string, shape: readonly number[]): string {
    return sameShape(this.shape(a), shape) ? a : this.op('Reshape', [a, this.ints(shape)]);
  }

  transpose(a: string, perm: readonly number[]): string {
    return perm.every((axis, index) => axis === index) ? a : this.op('Transpose', [a], { perm });
  }

  /** Sum over `axes`; `a` itself for none. */
  sum(a: string, axes: readonly number[], keepdims: 0 | 1): string {
    return axes.length === 0 ? a : this.op('ReduceSum', [a, this.ints(axes)], { keepdims });
  }

  mean(a: string, axes: readonly number[], keepdims: 0 | 1): string {
    return axes.length === 0 ? a : this.op('ReduceMean', [a, this.ints(axes)], { keepdims });
  }

  expand(a: string, shape: readonly number[]): string {
    return sameShape(this.shape(a), shape) ? a : this.op('Expand', [a, this.ints(shape)]);
  }

  zeros(shape: readonly number[], like: string): string {
    return this.expand(this.scalar(0, like), shape);
  }

  /** a b with transposed operands where asked: [.., M, K] [.., K, N] -> [.., M, N]. */
  matMul(a: string, b: string, transposed: { readonly a?: boolean; readonly b?: boolean } = {}): string {
    if (transposed.a !== true && transposed.b !== true) return this.op('MatMul', [a, b]);
    if (this.types.elementType(a) !== 'float') {
      // FusedMatMul is there for float only.
      const left = transposed.a === true ? this.#transposedMatrix(a) : a;
      return this.op('MatMul', [left, transposed.b === true ? this.#transposedMatrix(b) : b]);
    }
    const attributes = { transA: transposed.a === true ? 1 : 0, transB: transposed.b === true ? 1 : 0 };
    return this.op('FusedMatMul', [a, b], attributes, MICROSOFT);
  }

  #transposedMatrix(a: string): string {
    const rank = this.shape(a).length;
    return this.transpose(a, [...Array.from({ length: rank - 2 }, (_, axis) => axis), rank - 1, rank - 2]);
  }

  /** `slice[start : end : step]` along the given axes. */
  slice(
    a: string,
    along: {
      readonly axes: readonly number[];
      readonly starts: readonly number[];
      readonly ends: readonly number[];
      readonly steps?: readonly number[];
    },
  ): string {
    const inputs = [a, this.ints(along.starts), this.ints(along.ends), this.ints(along.axes)];
    return this.op('Slice', along.steps === undefined ? inputs : [...inputs, this.ints(along.steps)]);
  }

  /**
   * Zeros before and behind each axis; negative counts crop. `a` itself when there is nothing to do. Along one axis, Concat
   * with constant zeros: ONNX Runtime runs it on all threads, and Pad on one.
   */
  pad(a: string, before: readonly number[], behind: readonly number[]): string {
    const shape = this.shape(a);
    const padded = shape.flatMap((_, axis) => (before[axis] !== 0 || behind[axis] !== 0 ? [axis] : []));
    const [axis] = padded;
    if (axis === undefined) return a;
    const counts = [before[axis] ?? 0, behind[axis] ?? 0];
    const plane = elementCount(shape) / (shape[axis] ?? 1);
    const isSmall = counts.every((count) => count >= 0 && count * plane <= MAX_ZEROS);
    if (padded.length > 1 || !isSmall) return this.op('Pad', [a, this.ints([...before, ...behind])]);
    const [first = [], last = []] = counts.map((count) =>
      count === 0 ? [] : [this.zeroBlock(shape.with(axis, count), a)],
    );
    return this.op('Concat', [...first, a, ...last], { axis });
  }

  /** The sum of a gradient over the axes along which an operand of `shape` was broadcast (numpy rules). */
  unbroadcast(gradient: string, shape: readonly number[]): string {
    const from = this.shape(gradient);
    const extra = from.length - shape.length;
    const axes = from.flatMap((size, axis) =>
      axis < extra || (shape[axis - extra] === 1 && size !== 1) ? [axis] : [],
    );
    return this.reshape(this.sum(gradient, axes, 0), shape);
  }

  /** matrix [rows, columns] applied along one axis of size `columns`, which becomes `rows`. */
  applyAlong(a: string, axis: number, matrix: string): string {
    const shape = this.shape(a);
    const [rows = 1, columns = 1] = this.shape(matrix);
    const before = elementCount(shape.slice(0, axis));
    const behind = elementCount(shape.slice(axis + 1));
    const target = [...shape.slice(0, axis), rows, ...shape.slice(axis + 1)];
    if (behind === 1) {
      return this.reshape(this.matMul(this.reshape(a, [before, columns]), matrix, { b: true }), target);
    }
    return this.reshape(this.matMul(matrix, this.reshape(a, [before, columns, behind])), target);
  }
}

const CAST_CODE: Readonly<Partial<Record<DataType, number>>> = { float: 1, double: 11, float16: 10, bfloat16: 16 };

function constantTensor(values: ArrayLike<number>, dims: readonly number[], type: DataType): Tensor {
  if (type === 'double') {
    return Tensor.fromArray('grad_constant', { type, dims, data: Float64Array.from(values) });
  }
  if (type === 'float') return Tensor.float('grad_constant', values, dims);
  throw new CompressionError(
    'MODEL_UNSUPPORTED',
    `training in ${type} is not possible; convert the model to float (32 bits) first`,
  );
}

/** Tells -0 from 0, which `join` would not. */
function keyOf(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}
