import { createHash } from 'node:crypto';
import { deflateRawSync, inflateRawSync } from 'node:zlib';

/** Elements of a tensor, and two numbers that mean what the format says. */
export type PartFields = readonly [elements: number, second: number, third: number];

/** A tensor of the model file that has a code of its own in the sidecar. */
export interface CodedPart {
  /** Where its bytes stand in the model file. */
  readonly offset: number;
  readonly byteLength: number;
  readonly fields: PartFields;
  readonly code: Uint8Array;
}

/** What a kind of sidecar is known by, and how its tensors are read. */
export interface SidecarFormat {
  /** First eight bytes, ASCII; the last is the version of the layout. */
  readonly magic: string;
  /** Whose file it is, for messages. */
  readonly pass: string;
  /** Bytes in the model file of a tensor with these fields; undefined where there cannot be such a tensor. */
  byteLength(fields: PartFields): number | undefined;
  /** The tensor's bytes, as many as `byteLength` says. @throws RangeError for a code that cannot be */
  decode(fields: PartFields, code: Uint8Array): Uint8Array;
}

/** Bytes ahead of the table: magic, length, SHA-256, number of tensors. */
const HEAD_BYTES = 48;
const ENTRY_BYTES = 20;

/**
 * A model file in which some tensors are replaced by codes. All integers are little-endian and of 4 bytes:
 *
 * | bytes | what |
 * |---|---|
 * | 8 | magic |
 * | 4 | length of the model file |
 * | 32 | SHA-256 of the model file |
 * | 4 | number of coded tensors, t |
 * | t x 20 | for each, in file order: offset of its bytes in the model file, its three fields, length of its code |
 * | 4 | length of the deflated rest |
 * | … | the model file without these tensors' bytes, raw deflate (RFC 1951) |
 * | … | the codes, one behind the other |
 *
 * @param parts - in file order, not overlapping
 */
export function encodeContainer(magic: string, model: Uint8Array, parts: readonly CodedPart[]): Uint8Array {
  const file = Buffer.from(model.buffer, model.byteOffset, model.byteLength);
  const header = Buffer.alloc(HEAD_BYTES + ENTRY_BYTES * parts.length + 4);
  header.write(magic, 0, 'latin1');
  header.writeUInt32LE(file.length, 8);
  createHash('sha256').update(file).digest().copy(header, 12);
  header.writeUInt32LE(parts.length, 44);
  const rest: Buffer[] = [];
  let end = 0;
  for (const [index, { offset, byteLength, fields, code }] of parts.entries()) {
    if (offset < end) throw new RangeError('the coded tensors are not in file order');
    rest.push(file.subarray(end, offset));
    end = offset + byteLength;
    const at = HEAD_BYTES + ENTRY_BYTES * index;
    [offset, ...fields, code.length].forEach((value, field) => header.writeUInt32LE(value, at + 4 * field));
  }
  rest.push(file.subarray(end));
  const deflated = deflateRawSync(Buffer.concat(rest), { level: 9 });
  header.writeUInt32LE(deflated.length, header.length - 4);
  return Buffer.concat([header, deflated, ...parts.map(({ code }) => code)]);
}

interface Entry {
  readonly offset: number;
  readonly byteLength: number;
  readonly fields: PartFields;
  readonly code: Uint8Array;
}

/**
 * The model file that a sidecar was made of, byte for byte. What the header says is checked before anything of its size is
 * allocated: memory stays within about three times the size of the model file, and that within `maxBytes`.
 *
 * @param maxBytes - the largest model file that is restored
 * @throws RangeError when the bytes are no such file, are damaged, break off, or hold a larger model
 */
export function decodeContainer(sidecar: Uint8Array, format: SidecarFormat, maxBytes: number): Uint8Array {
  const file = Buffer.from(sidecar.buffer, sidecar.byteOffset, sidecar.byteLength);
  if (file.length < HEAD_BYTES + 4 || file.toString('latin1', 0, 8) !== format.magic) {
    throw new RangeError(`not a sidecar of ${format.pass}: it does not start with ${format.magic}`);
  }
  const length = file.readUInt32LE(8);
  if (length > maxBytes) {
    throw new RangeError(
      `the sidecar says its model file has ${length} bytes, more than the ${maxBytes} that are allowed`,
    );
  }
  const { entries, rest } = readParts(file, format, length);
  const model = Buffer.alloc(length);
  let [restAt, end] = [0, 0];
  for (const [index, { offset, byteLength, fields, code }] of entries.entries()) {
    restAt += rest.copy(model, end, restAt, restAt + offset - end);
    const bytes = decodePart(format, fields, { code, name: `tensor ${index} of ${entries.length}` });
    model.set(bytes, offset);
    end = offset + byteLength;
  }
  rest.copy(model, end, restAt);
  if (!createHash('sha256').update(model).digest().equals(file.subarray(12, 44))) {
    throw new RangeError('the sidecar is damaged: what it holds has another SHA-256 than it says; download it again');
  }
  return model;
}

/** The table with its codes, and the inflated rest: together exactly as long as the model file. */
function readParts(
  file: Buffer,
  format: SidecarFormat,
  length: number,
): { readonly entries: readonly Entry[]; readonly rest: Buffer } {
  const count = file.readUInt32LE(44);
  const behindTable = HEAD_BYTES + ENTRY_BYTES * count;
  if (behindTable + 4 > file.length) throw new RangeError(`the sidecar breaks off in its table of ${count} tensors`);
  const deflatedEnd = behindTable + 4 + file.readUInt32LE(behindTable);
  const entries: Entry[] = [];
  let [codeAt, end, coded] = [deflatedEnd, 0, 0];
  for (let index = 0; index < count; index += 1) {
    const field = (number: number): number => file.readUInt32LE(HEAD_BYTES + ENTRY_BYTES * index + 4 * number);
    const [offset, fields, codeLength] = [field(0), [field(1), field(2), field(3)] as const, field(4)];
    const byteLength = format.byteLength(fields);
    if (byteLength === undefined || offset < end || offset + byteLength > length) {
      throw new RangeError(`the sidecar is damaged: tensor ${index} of ${count} has an entry that cannot be`);
    }
    entries.push({ offset, byteLength, fields, code: file.subarray(codeAt, codeAt + codeLength) });
    codeAt += codeLength;
    end = offset + byteLength;
    coded += byteLength;
  }
  if (codeAt !== file.length) {
    throw new RangeError(`the sidecar is damaged: it has ${file.length} bytes, its table says ${codeAt}`);
  }
  const rest = inflate(file.subarray(behindTable + 4, deflatedEnd), length - coded);
  return { entries, rest };
}

/** What a few bytes make of themselves is exactly as long as it is said to be. */
function inflate(bytes: Buffer, length: number): Buffer {
  let rest: Buffer;
  try {
    rest = inflateRawSync(bytes, { maxOutputLength: Math.max(length, 1) });
  } catch (error) {
    throw new RangeError('the sidecar is damaged: its deflated part cannot be read', { cause: error });
  }
  if (rest.length === length) return rest;
  throw new RangeError(`the sidecar is damaged: its deflated part gives ${rest.length} bytes, expected ${length}`);
}

function decodePart(
  format: SidecarFormat,
  fields: PartFields,
  { code, name }: { readonly code: Uint8Array; readonly name: string },
): Uint8Array {
  try {
    return format.decode(fields, code);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RangeError(`the sidecar is damaged: ${name}: ${error.message}`, { cause: error });
  }
}

/** Largest model file there can be: a protobuf. */
export const MAX_MODEL_BYTES = 2 ** 31 - 1;
