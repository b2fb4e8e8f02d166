import type { Graph } from './graph.ts';
import { toSafeInteger, type Tensor } from './tensor.ts';
import type { StringEntries, UnknownFields } from './unknown-fields.ts';
import type { ValueType } from './value-type.ts';

/** AttributeProto by kind. Strings are bytes, as in the specification; a sparse tensor stays as its message bytes. */
export type AttributeValue =
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'int'; readonly value: bigint }
  | { readonly kind: 'string'; readonly value: Uint8Array }
  | { readonly kind: 'tensor'; readonly value: Tensor }
  | { readonly kind: 'graph'; readonly value: Graph }
  | { readonly kind: 'sparse-tensor'; readonly value: Uint8Array }
  | { readonly kind: 'type'; readonly value: ValueType }
  | { readonly kind: 'floats'; readonly value: readonly number[] }
  | { readonly kind: 'ints'; readonly value: readonly bigint[] }
  | { readonly kind: 'strings'; readonly value: readonly Uint8Array[] }
  | { readonly kind: 'tensors'; readonly value: readonly Tensor[] }
  | { readonly kind: 'graphs'; readonly value: readonly Graph[] }
  | { readonly kind: 'sparse-tensors'; readonly value: readonly Uint8Array[] }
  | { readonly kind: 'types'; readonly value: readonly ValueType[] }
  /** Inside a function body: takes the value of the caller's attribute `refAttrName`. `type` is the AttributeType code. */
  | { readonly kind: 'reference'; readonly refAttrName: string; readonly type: number };

export type Attribute = AttributeValue & { readonly docString?: string; readonly unknownFields?: UnknownFields };

/** Plain values for `makeNode`: integers are int attributes, `{ float: 1 }` makes a whole number a float attribute. */
export type AttributeInit =
  | number
  | bigint
  | string
  | { readonly float: number }
  | { readonly floats: readonly number[] }
  | readonly number[]
  | readonly string[]
  | Attribute;

/** NodeProto. Inputs and outputs are value names; an absent optional one is the empty string. */
export class Node {
  name: string;
  opType: string;
  domain: string;
  overload: string;
  inputs: string[];
  outputs: string[];
  attributes: Map<string, Attribute>;
  docString: string;
  metadata: StringEntries;
  unknownFields: UnknownFields;

  constructor(fields: {
    opType: string;
    inputs: string[];
    outputs: string[];
    name?: string;
    domain?: string;
    overload?: string;
    attributes?: Map<string, Attribute>;
    docString?: string;
    metadata?: StringEntries;
    unknownFields?: UnknownFields;
  }) {
    this.opType = fields.opType;
    this.inputs = fields.inputs;
    this.outputs = fields.outputs;
    this.name = fields.name ?? '';
    this.domain = normalDomain(fields.domain ?? '');
    this.overload = fields.overload ?? '';
    this.attributes = fields.attributes ?? new Map<string, Attribute>();
    this.docString = fields.docString ?? '';
    this.metadata = fields.metadata ?? [];
    this.unknownFields = fields.unknownFields ?? [];
  }

  /** The attribute as a number. @throws RangeError past 2^53; TypeError when it is of another kind */
  int(name: string, fallback: number): number {
    const attribute = this.attributes.get(name);
    if (attribute === undefined) return fallback;
    if (attribute.kind !== 'int') throw wrongKind(this, name, attribute.kind, 'int');
    return toSafeInteger(attribute.value, `${describeNode(this)} attribute ${name}`);
  }

  ints(name: string): number[] | undefined {
    const attribute = this.attributes.get(name);
    if (attribute === undefined) return undefined;
    if (attribute.kind !== 'ints') throw wrongKind(this, name, attribute.kind, 'ints');
    return attribute.value.map((value) => toSafeInteger(value, `${describeNode(this)} attribute ${name}`));
  }

  float(name: string, fallback: number): number {
    const attribute = this.attributes.get(name);
    if (attribute === undefined) return fallback;
    if (attribute.kind !== 'float') throw wrongKind(this, name, attribute.kind, 'float');
    return attribute.value;
  }

  floats(name: string): readonly number[] | undefined {
    const attribute = this.attributes.get(name);
    if (attribute === undefined) return undefined;
    if (attribute.kind !== 'floats') throw wrongKind(this, name, attribute.kind, 'floats');
    return attribute.value;
  }

  string(name: string, fallback: string): string {
    const attribute = this.attributes.get(name);
    if (attribute === undefined) return fallback;
    if (attribute.kind !== 'string') throw wrongKind(this, name, attribute.kind, 'string');
    return new TextDecoder().decode(attribute.value);
  }

  /** The graphs of this node's attributes (If branches, Loop and Scan bodies), in attribute order. */
  subgraphs(): Graph[] {
    const graphs: Graph[] = [];
    for (const attribute of this.attributes.values()) {
      if (attribute.kind === 'graph') graphs.push(attribute.value);
      if (attribute.kind === 'graphs') graphs.push(...attribute.value);
    }
    return graphs;
  }
}

/** A node from plain values: `makeNode('Conv', ['x', 'w'], ['y'], { strides: [2, 2] }, 'conv1')`. */
export function makeNode(
  opType: string,
  inputs: readonly string[],
  outputs: readonly string[],
  options: { attributes?: Readonly<Record<string, AttributeInit>>; name?: string; domain?: string } = {},
): Node {
  const attributes = new Map<string, Attribute>();
  for (const [name, value] of Object.entries(options.attributes ?? {})) attributes.set(name, attributeOf(value));
  return new Node({
    opType,
    inputs: [...inputs],
    outputs: [...outputs],
    attributes,
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.domain === undefined ? {} : { domain: options.domain }),
  });
}

export function attributeOf(value: AttributeInit): Attribute {
  if (typeof value === 'bigint') return { kind: 'int', value };
  if (typeof value === 'number') {
    return Number.isInteger(value) ? { kind: 'int', value: BigInt(value) } : { kind: 'float', value };
  }
  if (typeof value === 'string') return { kind: 'string', value: new TextEncoder().encode(value) };
  if (isArray(value)) {
    if (value.every((item) => typeof item === 'string')) {
      return value.length === 0
        ? { kind: 'ints', value: [] }
        : { kind: 'strings', value: value.map((item) => new TextEncoder().encode(item)) };
    }
    const numbers = value;
    return numbers.every((item) => Number.isInteger(item))
      ? { kind: 'ints', value: numbers.map(BigInt) }
      : { kind: 'floats', value: numbers };
  }
  if ('float' in value) return { kind: 'float', value: value.float };
  if ('floats' in value) return { kind: 'floats', value: value.floats };
  return value;
}

/** `Conv "conv1"`, or by its first output when the node has no name. For messages and the report. */
export function describeNode(node: Node): string {
  const op = node.domain === '' ? node.opType : `${node.domain}:${node.opType}`;
  return node.name === '' ? `${op} (output "${node.outputs[0] ?? ''}")` : `${op} "${node.name}"`;
}

/** `ai.onnx` is the long name of the default domain. */
export function normalDomain(domain: string): string {
  return domain === 'ai.onnx' ? '' : domain;
}

function isArray(value: AttributeInit): value is readonly number[] | readonly string[] {
  return Array.isArray(value);
}

function wrongKind(node: Node, name: string, got: string, expected: string): TypeError {
  return new TypeError(`${describeNode(node)}: attribute ${name} is ${got}, expected ${expected}`);
}
