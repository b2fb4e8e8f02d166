import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { ExternalFile, Tensor } from '../tensor.ts';

/** Bytes that are in memory, or a range of a file that is read only when it is its turn to be written. */
export type Piece = Uint8Array | ExternalRange;

export interface ExternalRange {
  readonly file: ExternalFile;
  readonly offset: number;
  readonly byteLength: number;
}

/** One message on the wire as a list of pieces: tensors stay views, so a rope costs no copy of the weights. */
export class Rope {
  readonly pieces: Piece[] = [];
  #byteLength = 0;

  get byteLength(): number {
    return this.#byteLength;
  }

  add(piece: Piece): this {
    if (piece.byteLength > 0) {
      this.pieces.push(piece);
      this.#byteLength += piece.byteLength;
    }
    return this;
  }

  /** A length-delimited field with one piece as its value. */
  addField(number: number, value: Piece): this {
    return this.add(prefix(number, value.byteLength)).add(value);
  }

  /** A message field. */
  addMessage(number: number, message: Rope): this {
    this.add(prefix(number, message.byteLength));
    // A loop, not a spread: a graph can have more pieces than a call can have arguments.
    for (const piece of message.pieces) this.add(piece);
    return this;
  }
}

/** The `raw_data` bytes of a tensor that has no strings. */
export function tensorPiece(tensor: Tensor): Piece {
  if (tensor.storage.kind === 'external') return tensor.storage;
  return tensor.bytes();
}

/** Bytes that one step of reading an external range holds in memory. */
const CHUNK_BYTES = 4 * 2 ** 20;

/** The bytes of a piece in order, a few MiB at a time. */
export function* chunksOf(piece: Piece): Generator<Uint8Array> {
  for (let start = 0; start < piece.byteLength; start += CHUNK_BYTES) {
    const length = Math.min(CHUNK_BYTES, piece.byteLength - start);
    yield piece instanceof Uint8Array
      ? piece.subarray(start, start + length)
      : piece.file.read(piece.offset + start, length);
  }
}

/** A tag and a length. A length past 2^32 cannot be written; it is caught by the size check of the whole file. */
function prefix(number: number, byteLength: number): Uint8Array {
  const writer = new BinaryWriter().tag(number, WireType.LengthDelimited);
  return byteLength < 2 ** 32 ? writer.uint32(byteLength).finish() : writer.uint64(byteLength).finish();
}
