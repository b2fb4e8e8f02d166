import { createHash } from 'node:crypto';
import { inflateRawSync } from 'node:zlib';
import { decodeSymbols } from '../numerics/range-coder.ts';

const MAGIC = 'TERSORC1';

/**
 * The model file that a sidecar of `cluster.weights` (`clustered.tersorc`) was made of, byte for byte. The layout stands in
 * docs/passes/cluster-weights.md.
 *
 * @throws RangeError when the bytes are no such file, are damaged, or break off
 */
export function decodeClusteredModel(sidecar: Uint8Array): Uint8Array {
  const file = Buffer.from(sidecar.buffer, sidecar.byteOffset, sidecar.byteLength);
  if (file.length < 52 || file.toString('latin1', 0, 8) !== MAGIC) {
    throw new RangeError(`not a sidecar of cluster.weights: it does not start with ${MAGIC}`);
  }
  const length = file.readUInt32LE(8);
  const count = file.readUInt32LE(44);
  const behindTable = 48 + 20 * count;
  if (behindTable + 4 > file.length) throw new RangeError(`the sidecar breaks off in its table of ${count} tensors`);
  const deflatedEnd = behindTable + 4 + file.readUInt32LE(behindTable);
  const rest = inflate(file.subarray(behindTable + 4, deflatedEnd), length);
  const model = Buffer.alloc(length);
  let [codeAt, restAt, end] = [deflatedEnd, 0, 0];
  for (let tensor = 0; tensor < count; tensor += 1) {
    const field = (index: number): number => file.readUInt32LE(48 + 20 * tensor + 4 * index);
    const [offset, elements, bits, centroids, codeLength] = [field(0), field(1), field(2), field(3), field(4)];
    const bytes = bits === 4 ? Math.ceil(elements / 2) : elements;
    if ((bits !== 4 && bits !== 8) || centroids < 1 || centroids > 256 || offset < end || offset + bytes > length) {
      throw new RangeError(`the sidecar is damaged: tensor ${tensor} of ${count} has an entry that cannot be`);
    }
    restAt += rest.copy(model, end, restAt, restAt + offset - end);
    const indices = decodeSymbols(file.subarray(codeAt, codeAt + codeLength), elements, centroids);
    model.set(bits === 4 ? packed(indices) : indices, offset);
    codeAt += codeLength;
    end = offset + bytes;
  }
  rest.copy(model, end, restAt);
  if (!createHash('sha256').update(model).digest().equals(file.subarray(12, 44))) {
    throw new RangeError('the sidecar is damaged: what it holds has another SHA-256 than it says; download it again');
  }
  return model;
}

/** Nothing that a few bytes make of themselves is larger than the model is said to be. */
function inflate(bytes: Buffer, limit: number): Buffer {
  try {
    return inflateRawSync(bytes, { maxOutputLength: Math.max(limit, 1) });
  } catch (error) {
    throw new RangeError('the sidecar is damaged: its deflated part cannot be read', { cause: error });
  }
}

function packed(indices: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(indices.length / 2));
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = (indices[2 * i] ?? 0) | ((indices[2 * i + 1] ?? 0) << 4);
  return bytes;
}
