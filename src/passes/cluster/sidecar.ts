import { createHash } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import { encodeSymbols } from '../../numerics/range-coder.ts';

/** One tensor of indices, as its bytes stand in the model file. */
export interface CodedTensor {
  /** As stored: one a byte, or two a byte with the first in the low half. */
  readonly packed: Uint8Array;
  /** Unpacked. */
  readonly indices: Uint8Array;
  readonly bits: 4 | 8;
  /** Indices are below this. */
  readonly centroids: number;
}

export interface Sidecar {
  readonly bytes: Uint8Array;
  /** Bytes of the coded indices alone. */
  readonly codedBytes: number;
}

/** First eight bytes of a sidecar; the digit is the version of its layout. */
const SIDECAR_MAGIC = 'TERSORC1';

/**
 * The model file with its indices entropy-coded. All integers are little-endian:
 *
 * | bytes | what |
 * |---|---|
 * | 8 | `TERSORC1` |
 * | 4 | length of the model file |
 * | 32 | SHA-256 of the model file |
 * | 4 | number of index tensors, t |
 * | t x 20 | for each, in file order: offset of its bytes in the model file, number of indices, bits an index as stored (4, 8), number of centroids, length of its code; 4 bytes each |
 * | 4 | length of the deflated rest |
 * | … | the model file without the index tensors' bytes, raw deflate (RFC 1951) |
 * | … | the codes, one behind the other (src/numerics/range-coder.ts) |
 *
 * @param tensors - in the order their bytes stand in the file
 */
export function encodeSidecar(model: Uint8Array, tensors: readonly CodedTensor[]): Sidecar {
  const file = Buffer.from(model.buffer, model.byteOffset, model.byteLength);
  const codes = tensors.map(({ indices, centroids }) => encodeSymbols(indices, centroids));
  const header = Buffer.alloc(8 + 4 + 32 + 4 + 20 * tensors.length + 4);
  header.write(SIDECAR_MAGIC, 0, 'latin1');
  header.writeUInt32LE(file.length, 8);
  createHash('sha256').update(file).digest().copy(header, 12);
  header.writeUInt32LE(tensors.length, 44);
  const rest: Buffer[] = [];
  let end = 0;
  for (const [index, { packed, indices, bits, centroids }] of tensors.entries()) {
    // Any place with these bytes will do: the decoder puts the same ones back.
    const offset = file.indexOf(packed, end);
    if (offset < 0) throw new RangeError('the model file does not hold the indices in this order');
    rest.push(file.subarray(end, offset));
    end = offset + packed.length;
    const at = 48 + 20 * index;
    [offset, indices.length, bits, centroids, codes[index]?.length ?? 0].forEach((value, field) =>
      header.writeUInt32LE(value, at + 4 * field),
    );
  }
  rest.push(file.subarray(end));
  const deflated = deflateRawSync(Buffer.concat(rest), { level: 9 });
  header.writeUInt32LE(deflated.length, header.length - 4);
  return {
    bytes: Buffer.concat([header, deflated, ...codes]),
    codedBytes: codes.reduce((sum, code) => sum + code.length, 0),
  };
}
