import type { Tensor } from '../../../onnx/tensor.ts';
import { blocksPerRow, rowCount, type BlockView } from './block-view.ts';
import type { BlockScheme, SquaredError } from './quantized-rows.ts';
import { packRtn } from './rtn-packed.ts';
import type { PackedCodes } from './stored-codes.ts';

/** Packed codes, and float weights, that are in memory at a time, about. */
interface StripeLimits {
  readonly packedBytes: number;
  readonly floatBytes: number;
}
const LIMITS: StripeLimits = { packedBytes: 64 * 2 ** 20, floatBytes: 16 * 2 ** 20 };

interface Rounding {
  readonly scheme: BlockScheme;
  readonly lost: SquaredError;
  /** The arrays of one stripe may be those of the next: whoever takes a stripe has done with it by then. */
  readonly reuse: boolean;
}

/**
 * Rounds a matrix to nearest, some rows at a time, packed by rows. Of an external tensor each byte is read once, in stretches of
 * megabytes where the rows are columns of the tensor, too.
 *
 * @param view - outer or inner is 1
 */
export function* packedStripes(
  tensor: Tensor,
  view: BlockView,
  rounding: Rounding,
  { packedBytes, floatBytes } = LIMITS,
): Generator<PackedCodes> {
  const { size, inner, blockSize } = view;
  const { bits } = rounding.scheme;
  const blocks = blocksPerRow(view);
  const rowBytes = (blocks * blockSize * bits) / 8;
  const rows = rowCount(view);
  const isRowMajor = inner === 1;
  const affordable = Math.min(packedBytes / rowBytes, isRowMajor ? floatBytes / (4 * size) : Infinity);
  const step = Math.min(rows, Math.max(8, Math.floor(affordable / 8) * 8));
  const read = reader(tensor);
  let buffers: ReturnType<typeof newBuffers> | undefined;
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    if (buffers === undefined || !rounding.reuse) buffers = newBuffers(step, blocks, rowBytes);
    const packed = { ...buffers, blocks };
    // Elements at a time: whole rows, or whole blocks of them.
    const chunk = isRowMajor ? size : Math.max(1, Math.floor(floatBytes / (4 * count * blockSize))) * blockSize;
    for (let k = 0; k < size; k += chunk) {
      const elements = Math.min(chunk, size - k);
      const values = isRowMajor
        ? read({ first: first * size, pieces: 1, length: count * size, stride: 0 })
        : read({ first: k * inner + first, pieces: elements, length: count, stride: inner });
      const strides = isRowMajor
        ? { rowStride: size, elementStride: 1 }
        : { rowStride: 1, elementStride: values.stride };
      const from = { values: values.values, first: values.first, rows: count, elements, ...strides };
      packRtn(from, packed, { row: 0, block: k / blockSize }, { ...rounding, blockSize });
    }
    yield {
      rows: count,
      codes: new Uint8Array(packed.words.buffer, 0, count * rowBytes),
      scales: packed.scales.subarray(0, count * blocks),
      zeros: packed.zeros.subarray(0, count * blocks),
    };
  }
}

function newBuffers(rows: number, blocks: number, rowBytes: number) {
  return {
    words: new Uint32Array((rows * rowBytes) / 4),
    scales: new Float32Array(rows * blocks),
    zeros: new Uint8Array(rows * blocks),
  };
}

interface Stretch {
  readonly first: number;
  readonly pieces: number;
  readonly length: number;
  readonly stride: number;
}

/** Gives pieces of a tensor: a place in it when it is in memory, else read into one buffer that is used again. */
function reader(tensor: Tensor): (stretch: Stretch) => { values: Float32Array; first: number; stride: number } {
  const { storage } = tensor;
  if (storage.kind !== 'external') {
    const values = tensor.floats();
    return ({ first, stride }) => ({ values, first, stride });
  }
  let buffer = new Float32Array(0);
  return ({ first, pieces, length, stride }) => {
    if (buffer.length < pieces * length) buffer = new Float32Array(pieces * length);
    const target = new Uint8Array(buffer.buffer, 0, pieces * length * 4);
    const isWhole = pieces === 1 || stride === length;
    const piece = isWhole ? { length: target.byteLength, stride: 0 } : { length: length * 4, stride: stride * 4 };
    storage.file.readInto(target, storage.offset + first * 4, piece);
    return { values: buffer, first: 0, stride: length };
  };
}
