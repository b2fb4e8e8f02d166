import { isUtf8 } from 'node:buffer';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { ScalarType, type DescField, type DescMessage } from '@bufbuild/protobuf';
import { ModelProtoSchema } from 'onnx-buf';
import { CompressionError, messageOf } from '../../errors.ts';
import type { DecodeLimits } from './limits.ts';

/** Nested messages a file may have: 3 for each subgraph (graph, node, attribute) and room for types inside. */
export const messageDepthLimit = (limits: DecodeLimits): number => limits.subgraphDepth * 3 + 32;

/** Rough heap cost of what the decoder makes, in bytes: upper bounds measured on V8 (64-bit, no pointer compression). */
const HEAP_COST = { message: 800, string: 48, bytes: 120, bigint: 40, number: 16, unknown: 200 } as const;

type Payload = 'message' | 'string' | 'text' | 'bytes' | 'varint' | 'varint64' | 'fixed32' | 'fixed64';

interface FieldRule {
  readonly name: string;
  readonly payload: Payload;
  readonly wireType: WireType;
  readonly repeated: boolean;
  readonly message?: DescMessage;
}

/**
 * Walks the wire format of a model once, without building anything, and refuses what must not be decoded: fields that
 * overrun their message, wrong wire types, text that is not UTF-8, nesting and counts past the limits.
 * O(bytes that are not raw_data) time, O(depth) memory.
 *
 * @throws CompressionError MODEL_PARSE when the bytes are no protobuf of an ONNX model; MODEL_LIMIT past a limit
 */
export function prescan(bytes: Uint8Array, limits: DecodeLimits): void {
  new Prescan(bytes, limits).run();
}

class Prescan {
  readonly #bytes: Uint8Array;
  readonly #reader: BinaryReader;
  readonly #limits: DecodeLimits;
  readonly #maxDepth: number;
  readonly #counts = { nodes: 0, tensors: 0, attributes: 0, heapBytes: 0 };

  constructor(bytes: Uint8Array, limits: DecodeLimits) {
    this.#bytes = bytes;
    this.#reader = new BinaryReader(bytes);
    this.#limits = limits;
    this.#maxDepth = messageDepthLimit(limits);
  }

  run(): void {
    try {
      this.#message(ModelProtoSchema, this.#bytes.byteLength, { depth: 1, subgraphs: -1 });
    } catch (error) {
      if (error instanceof CompressionError) throw error;
      throw broken(this.#reader.pos, messageOf(error), error);
    }
  }

  #message(schema: DescMessage, end: number, at: { readonly depth: number; readonly subgraphs: number }): void {
    const subgraphs = schema.typeName === 'onnx.GraphProto' ? at.subgraphs + 1 : at.subgraphs;
    if (subgraphs > this.#limits.subgraphDepth || at.depth > this.#maxDepth) {
      throw new CompressionError(
        'MODEL_LIMIT',
        `the model nests subgraphs or types deeper than ${this.#limits.subgraphDepth} levels; flatten the control flow`,
      );
    }
    this.#count(schema);
    const rules = rulesOf(schema);
    const reader = this.#reader;
    while (reader.pos < end) {
      const start = reader.pos;
      const [number, wireType] = reader.tag();
      const rule = rules.get(number);
      if (rule === undefined) {
        reader.skip(wireType, number, this.#maxDepth - at.depth);
        this.#spend(HEAP_COST.unknown);
      } else if (wireType === rule.wireType) {
        this.#field(rule, end, { depth: at.depth + 1, subgraphs });
      } else if (wireType === WireType.LengthDelimited && rule.repeated && rule.message === undefined) {
        this.#packed(rule, end);
      } else {
        throw broken(start, `field ${schema.name}.${rule.name} has wire type ${wireType}, expected ${rule.wireType}`);
      }
      if (reader.pos > end) throw broken(start, `a field of ${schema.name} runs past the end of its message`);
    }
  }

  #field(rule: FieldRule, end: number, at: { readonly depth: number; readonly subgraphs: number }): void {
    const reader = this.#reader;
    if (rule.wireType !== WireType.LengthDelimited) {
      reader.skip(rule.wireType);
      if (rule.repeated) this.#spend(rule.payload === 'varint64' ? HEAP_COST.bigint : HEAP_COST.number);
      return;
    }
    const start = reader.pos;
    const length = reader.uint32();
    const stop = reader.pos + length;
    if (stop > end) {
      throw broken(start, `field ${rule.name} says it has ${length} bytes, ${Math.max(0, end - reader.pos)} are left`);
    }
    if (rule.message !== undefined) {
      this.#message(rule.message, stop, at);
      return;
    }
    if (rule.payload === 'string' && !isUtf8(this.#bytes.subarray(reader.pos, stop))) {
      throw broken(start, `the text of field ${rule.name} is not UTF-8`);
    }
    this.#spend(rule.payload === 'bytes' ? HEAP_COST.bytes : HEAP_COST.string + length * 2);
    reader.pos = stop;
  }

  #packed(rule: FieldRule, end: number): void {
    const reader = this.#reader;
    const start = reader.pos;
    const length = reader.uint32();
    const stop = reader.pos + length;
    if (stop > end) throw broken(start, `field ${rule.name} says it has ${length} bytes, ${end - reader.pos} are left`);
    let count = 0;
    if (rule.payload === 'fixed32' || rule.payload === 'fixed64') {
      const width = rule.payload === 'fixed32' ? 4 : 8;
      count = length / width;
      if (!Number.isInteger(count))
        throw broken(start, `${length} bytes of field ${rule.name} are no multiple of ${width}`);
    } else {
      const bytes = this.#bytes;
      for (let index = reader.pos; index < stop; index += 1) if ((bytes[index] ?? 0) < 0x80) count += 1;
      if (length > 0 && (bytes[stop - 1] ?? 0) >= 0x80) throw broken(start, `field ${rule.name} ends inside a number`);
    }
    this.#spend(count * (rule.payload === 'varint64' ? HEAP_COST.bigint : HEAP_COST.number));
    reader.pos = stop;
  }

  #count(schema: DescMessage): void {
    this.#spend(HEAP_COST.message);
    if (schema.typeName === 'onnx.NodeProto') this.#add('nodes');
    else if (schema.typeName === 'onnx.TensorProto') this.#add('tensors');
    else if (schema.typeName === 'onnx.AttributeProto') this.#add('attributes');
  }

  #add(what: 'nodes' | 'tensors' | 'attributes'): void {
    this.#counts[what] += 1;
    if (this.#counts[what] > this.#limits[what]) {
      throw new CompressionError('MODEL_LIMIT', `the model has more than ${this.#limits[what]} ${what}`);
    }
  }

  #spend(bytes: number): void {
    this.#counts.heapBytes += bytes;
    if (this.#counts.heapBytes > this.#limits.heapBytes) {
      throw new CompressionError(
        'MODEL_LIMIT',
        `decoding the model would take more than ${this.#limits.heapBytes} bytes of memory; store its tensors as raw_data or external data`,
      );
    }
  }
}

function broken(offset: number, detail: string, cause?: unknown): CompressionError {
  return new CompressionError('MODEL_PARSE', `byte ${offset}: ${detail}`, { cause });
}

const RULES = new WeakMap<DescMessage, ReadonlyMap<number, FieldRule>>();

function rulesOf(schema: DescMessage): ReadonlyMap<number, FieldRule> {
  let rules = RULES.get(schema);
  if (rules === undefined) {
    rules = new Map(schema.fields.map((field) => [field.number, ruleOf(field)]));
    RULES.set(schema, rules);
  }
  return rules;
}

function ruleOf(field: DescField): FieldRule {
  const repeated = field.fieldKind === 'list';
  if (field.message !== undefined) {
    return {
      name: field.name,
      payload: 'message',
      wireType: WireType.LengthDelimited,
      repeated,
      message: field.message,
    };
  }
  const payload = field.name === 'doc_string' ? 'text' : payloadOf(field.scalar);
  return { name: field.name, payload, wireType: WIRE_TYPE[payload], repeated };
}

const WIRE_TYPE: Readonly<Record<Payload, WireType>> = {
  message: WireType.LengthDelimited,
  string: WireType.LengthDelimited,
  text: WireType.LengthDelimited,
  bytes: WireType.LengthDelimited,
  varint: WireType.Varint,
  varint64: WireType.Varint,
  fixed32: WireType.Bit32,
  fixed64: WireType.Bit64,
};

/** onnx.proto uses these scalar types only; an enum has none and is a varint. */
function payloadOf(scalar: ScalarType | undefined): Payload {
  switch (scalar) {
    case ScalarType.STRING:
      return 'string';
    case ScalarType.BYTES:
      return 'bytes';
    case ScalarType.FLOAT:
      return 'fixed32';
    case ScalarType.DOUBLE:
      return 'fixed64';
    case ScalarType.INT64:
    case ScalarType.UINT64:
      return 'varint64';
    default:
      return 'varint';
  }
}
