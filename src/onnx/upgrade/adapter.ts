import type { DataType } from '../data-type.ts';
import type { NdArray } from '../nd-array.ts';
import { Node, attributeOf, type Attribute, type AttributeInit } from '../node.ts';
import { Tensor } from '../tensor.ts';
import type { Shape } from '../value-type.ts';

/** What an adapter may ask and make. Constants come into being only when the whole step to the next opset succeeds. */
export interface AdapterContext {
  shapeOf(name: string | undefined): Shape | undefined;
  elementTypeOf(name: string | undefined): DataType | undefined;
  /** The value when nothing can change it at run time. */
  constantOf(name: string | undefined): Tensor | undefined;
  /** Whether a node or the graph's outputs read the value. */
  isRead(name: string): boolean;
  /** An unused value name. */
  fresh(base: string): string;
  /** The name of a new constant. */
  constant(base: string, tensor: Tensor): string;
}

/** The step would change what the node computes, or might: why. */
export interface Refusal {
  readonly refused: string;
}

/** New nodes in place of the old one; undefined when the node means the same at the next opset as it stands. */
export type Adapted = readonly Node[] | Refusal | undefined;

/** Rewrites a node for the next opset. Never changes the node it is given. */
export type Adapter = (node: Node, context: AdapterContext) => Adapted;

/** A copy with other inputs, outputs or attributes; attributes given as undefined are left out. */
export function rewritten(
  node: Node,
  changes: {
    readonly opType?: string;
    readonly inputs?: readonly string[];
    readonly outputs?: readonly string[];
    readonly attributes?: Readonly<Record<string, AttributeInit | undefined>>;
  },
): Node {
  const attributes = new Map<string, Attribute>(node.attributes);
  for (const [name, value] of Object.entries(changes.attributes ?? {})) {
    if (value === undefined) attributes.delete(name);
    else attributes.set(name, attributeOf(value));
  }
  return new Node({
    opType: changes.opType ?? node.opType,
    inputs: [...(changes.inputs ?? node.inputs)],
    outputs: [...(changes.outputs ?? node.outputs)],
    name: node.name,
    domain: node.domain,
    overload: node.overload,
    attributes,
    docString: node.docString,
    metadata: node.metadata,
    unknownFields: node.unknownFields,
  });
}

/** An int64 vector as a new constant named after the node's first output. */
export function vectorConstant(node: Node, what: string, values: readonly number[], context: AdapterContext): string {
  return context.constant(`${node.outputs[0] ?? node.opType}_${what}`, Tensor.int64('', values));
}

/** A scalar of a float type; undefined for a type it cannot write. float16 is rounded to nearest, ties to even. */
export function scalarTensor(type: DataType, value: number): Tensor | undefined {
  const array = scalarArray(type, value);
  return array === undefined ? undefined : Tensor.fromArray('', array);
}

function scalarArray(type: DataType, value: number): NdArray | undefined {
  switch (type) {
    case 'float':
      return { type, dims: [], data: Float32Array.of(value) };
    case 'double':
      return { type, dims: [], data: Float64Array.of(value) };
    case 'float16':
      return { type, dims: [], data: Uint16Array.of(halfBits(value)) };
    case 'int32':
      return Number.isInteger(value) ? { type, dims: [], data: Int32Array.of(value) } : undefined;
    case 'int64':
      return Number.isInteger(value) ? { type, dims: [], data: BigInt64Array.of(BigInt(value)) } : undefined;
    default:
      return undefined;
  }
}

/** The IEEE 754 binary16 nearest to the number, as bits. */
export function halfBits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  // Below 2^-14 the spacing is 2^-24; above, 2^-10 of the power of two underneath.
  const exponent = size < 2 ** -14 ? -14 : Math.floor(Math.log2(size));
  const steps = roundHalfEven(size / 2 ** (exponent - 10));
  // A carry out of the mantissa falls into the exponent, as it should.
  return sign | (size < 2 ** -14 ? steps : ((exponent + 15) << 10) + (steps - 1024));
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
