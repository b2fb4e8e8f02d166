import { LARGEST, decodeTable, encodeFloats, type NarrowFloat } from '../../../numerics/float-formats.ts';
import type { Tensor, TensorStorage } from '../../../onnx/tensor.ts';
import type { TensorChunks } from '../weights-only/tensor-chunks.ts';

/** Values that are in memory at a time. */
const STEP = 2 ** 20;

export interface NarrowedTensor {
  readonly storage: TensorStorage;
  /** Factor on what is stored; 1 but for float8. A float32 value. */
  readonly scale: number;
  /** Squared error as a share of the squares. */
  readonly error: number;
  readonly largest: number;
  /** Values beyond the largest of the type, which became it. */
  readonly clamped: number;
  readonly isFinite: boolean;
}

/**
 * A float tensor in a narrow type, some values at a time. float8 is scaled as ONNX Runtime's quantizer does it: the standard
 * deviation of the tensor over that of all finite float8 values, zero point 0.
 *
 * @see onnxruntime quantization/quant_utils.py, compute_scale_zp_float8
 */
export function narrowTensor(tensor: Tensor, type: NarrowFloat, chunks: TensorChunks): NarrowedTensor {
  let [count, sum, squares, largest] = [0, 0, 0, 0];
  for (const values of stretchesOf(tensor)) {
    count += values.length;
    for (const value of values) {
      sum += value;
      squares += value * value;
      const size = value < 0 ? -value : value;
      if (size > largest) largest = size;
    }
  }
  const mean = sum / count;
  const deviation = Math.sqrt(Math.max(0, squares / count - mean * mean));
  const table = decodeTable(type);
  const scale = type === 'float8e4m3fn' ? float8Scale(deviation, largest, table) : 1;
  const codes = type === 'float8e4m3fn' ? new Uint8Array(STEP) : new Uint16Array(STEP);
  const scaled = new Float32Array(STEP);
  const limit = LARGEST[type];
  let [lost, clamped] = [0, 0];
  for (const values of stretchesOf(tensor)) {
    for (let i = 0; i < values.length; i += 1) scaled[i] = (values[i] ?? 0) / scale;
    encodeFloats(scaled.subarray(0, values.length), type, codes);
    for (let i = 0; i < values.length; i += 1) {
      const difference = (values[i] ?? 0) - (table[codes[i] ?? 0] ?? 0) * scale;
      lost += difference * difference;
      if (Math.abs(scaled[i] ?? 0) > limit) clamped += 1;
    }
    const { buffer, BYTES_PER_ELEMENT: width } = codes;
    chunks.add(Uint8Array.prototype.slice.call(new Uint8Array(buffer), 0, values.length * width));
  }
  return {
    storage: chunks.finish(),
    scale,
    error: squares > 0 ? lost / squares : 0,
    largest,
    clamped,
    isFinite: Number.isFinite(squares),
  };
}

/** Of a tensor of one value through, which has no deviation: what maps it to the largest code. */
function float8Scale(deviation: number, largest: number, table: Float32Array): number {
  const scale = deviation > 0 ? deviation / deviationOf(table) : largest / LARGEST.float8e4m3fn;
  return scale < 2 ** -126 ? 1 : Math.fround(scale);
}

/** Standard deviation of the finite values. */
function deviationOf(table: Float32Array): number {
  const finite = table.filter((value) => Number.isFinite(value));
  const mean = finite.reduce((sum, value) => sum + value, 0) / finite.length;
  return Math.sqrt(finite.reduce((sum, value) => sum + (value - mean) ** 2, 0) / finite.length);
}

function* stretchesOf(tensor: Tensor): Generator<Float32Array> {
  const { storage, elementCount } = tensor;
  const buffer = storage.kind === 'external' ? new Float32Array(Math.min(STEP, elementCount)) : tensor.floats();
  for (let from = 0; from < elementCount; from += STEP) {
    const count = Math.min(STEP, elementCount - from);
    if (storage.kind === 'external') {
      storage.file.readInto(new Uint8Array(buffer.buffer, 0, count * 4), storage.offset + from * 4);
      yield buffer.subarray(0, count);
    } else yield buffer.subarray(from, from + count);
  }
}
