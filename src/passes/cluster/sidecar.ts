import { encodeSymbols } from '../../numerics/range-coder.ts';
import { CLUSTERED } from '../../sidecar/clustered.ts';
import { encodeContainer } from '../../sidecar/container.ts';

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

/**
 * The model file with its indices entropy-coded; src/sidecar has the layout.
 *
 * @param tensors - in the order their bytes stand in the file
 */
export function encodeSidecar(model: Uint8Array, tensors: readonly CodedTensor[]): Sidecar {
  const file = Buffer.from(model.buffer, model.byteOffset, model.byteLength);
  let end = 0;
  const parts = tensors.map(({ packed, indices, bits, centroids }) => {
    // Any place with these bytes will do: the decoder puts the same ones back.
    const offset = file.indexOf(packed, end);
    if (offset < 0) throw new RangeError('the model file does not hold the indices in this order');
    end = offset + packed.length;
    const fields = [indices.length, bits, centroids] as const;
    return { offset, byteLength: packed.length, fields, code: encodeSymbols(indices, centroids) };
  });
  return {
    bytes: encodeContainer(CLUSTERED.magic, file, parts),
    codedBytes: parts.reduce((sum, { code }) => sum + code.length, 0),
  };
}
