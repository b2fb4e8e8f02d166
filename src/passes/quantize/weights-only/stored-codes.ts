import type { TensorSpool } from '../../../onnx/codec/tensor-spool.ts';
import type { DataType } from '../../../onnx/data-type.ts';
import { packIntegers, isPackedType } from '../../../onnx/packed-integers.ts';
import { Tensor, type TensorStorage } from '../../../onnx/tensor.ts';
import { blocksPerRow, rowCount, type BlockView } from './block-view.ts';
import type { BlockScheme, QuantizedRows } from './quantized-rows.ts';
import { TensorChunks } from './tensor-chunks.ts';

/**
 * A quantized weight as the tensors of its format, named after it. Rows are added in order, in numbers that are multiples of
 * eight but for the last, so that no byte is split.
 */
export interface CodeStore {
  add(rows: QuantizedRows): void;
  /** The same rows with their codes packed as this store packs them. */
  addPacked(rows: PackedCodes): void;
  finish(name: string): StoredCodes;
}

export interface PackedCodes {
  readonly rows: number;
  readonly codes: Uint8Array;
  /** [rows, blocks] */
  readonly scales: Float32Array;
  /** [rows, blocks] */
  readonly zeros: Uint8Array;
}

export interface StoredCodes {
  readonly codes: Tensor;
  readonly scales: Tensor;
  /** Absent where the format's own default is meant. */
  readonly zeroPoints?: Tensor;
}

export interface StoreOptions {
  readonly view: BlockView;
  readonly scheme: BlockScheme;
  /** Zeros are numbers of their own, not codes. MatMulNBits only. */
  readonly floatZeros: boolean;
  readonly spool: TensorSpool | undefined;
  /** Unsigned codes with their zero points even where these are all the same: some operators take no others. */
  readonly unsigned?: boolean;
}

/**
 * The layout of MatMulNBits: codes [rows, blocks, bytes of a block], low bits first, the last block filled up with codes
 * that stand for 0; scales [rows, blocks]; zero points packed likewise along the blocks of a row, each row in whole bytes.
 *
 * @see onnxruntime docs/ContribOperators.md, com.microsoft.MatMulNBits
 */
export class NBitsStore implements CodeStore {
  readonly #options: StoreOptions;
  readonly #codes: TensorChunks;
  readonly #scales: Float32Array;
  readonly #zeros: Float32Array;
  #rows = 0;

  constructor(options: StoreOptions) {
    this.#options = options;
    this.#codes = new TensorChunks(options.spool);
    const blocks = rowCount(options.view) * blocksPerRow(options.view);
    this.#scales = new Float32Array(blocks);
    this.#zeros = new Float32Array(blocks);
  }

  add(rows: QuantizedRows): void {
    const { view, scheme } = this.#options;
    this.#add(packCodes(filledUp(rows, view), scheme.bits), rows);
  }

  addPacked(rows: PackedCodes): void {
    this.#add(rows.codes, rows);
  }

  #add(
    packed: Uint8Array,
    { rows, scales, zeros }: Omit<PackedCodes, 'codes' | 'zeros'> & { readonly zeros: ArrayLike<number> },
  ): void {
    const at = this.#rows * blocksPerRow(this.#options.view);
    this.#scales.set(scales, at);
    this.#zeros.set(zeros, at);
    this.#codes.add(packed);
    this.#rows += rows;
  }

  finish(name: string): StoredCodes {
    const { view, scheme, floatZeros, spool } = this.#options;
    const { bits } = scheme;
    const [rows, blocks] = [rowCount(view), blocksPerRow(view)];
    const codes = tensorOf(
      `${name}_q${bits}`,
      'uint8',
      [rows, blocks, (view.blockSize * bits) / 8],
      this.#codes.finish(),
    );
    const scales = floatTensor(`${name}_scales`, [rows, blocks], this.#scales, spool);
    if (floatZeros) {
      return { codes, scales, zeroPoints: floatTensor(`${name}_zero_points`, [rows, blocks], this.#zeros, spool) };
    }
    if (scheme.symmetric) return { codes, scales };
    const width = Math.ceil((blocks * bits) / 8);
    const packed = new Uint8Array(rows * width);
    for (let row = 0; row < rows; row += 1) {
      const zeros = this.#zeros.subarray(row * blocks, (row + 1) * blocks);
      packed.set(packCodes(Uint8Array.from(zeros), bits), row * width);
    }
    const storage = stored(packed, spool);
    return { codes, scales, zeroPoints: tensorOf(`${name}_zero_points`, 'uint8', [rows, width], storage) };
  }
}

/** Codes [rows, blocks * blockSize]: as they are where rows end with a whole block. */
function filledUp({ rows, codes, zeros }: QuantizedRows, view: BlockView): Uint8Array {
  const { size, blockSize } = view;
  const blocks = blocksPerRow(view);
  const whole = blocks * blockSize;
  if (whole === size) return codes;
  const filled = new Uint8Array(rows * whole);
  for (let row = 0; row < rows; row += 1) {
    filled.set(codes.subarray(row * size, (row + 1) * size), row * whole);
    filled.fill(Math.round(zeros[(row + 1) * blocks - 1] ?? 0), row * whole + size, (row + 1) * whole);
  }
  return filled;
}

function packCodes(codes: Uint8Array, bits: BlockScheme['bits']): Uint8Array {
  switch (bits) {
    case 8:
      return codes;
    case 4: {
      const packed = new Uint8Array(Math.ceil(codes.length / 2));
      for (let i = 0, at = 0; at < packed.length; i += 2, at += 1)
        packed[at] = (codes[i] ?? 0) | ((codes[i + 1] ?? 0) << 4);
      return packed;
    }
    case 2:
      return packIntegers('uint2', codes);
  }
}

/**
 * The layout of DequantizeLinear: codes in the weight's own dimensions, scales and zero points with the number of blocks in
 * place of the size of the blocks' axis. Signed types for symmetric codes, so that the zero point is the default 0.
 */
export class QdqStore implements CodeStore {
  readonly #options: StoreOptions;
  readonly #dims: readonly number[];
  readonly #parameterDims: readonly number[];
  readonly #type: 'int8' | 'uint8' | 'int4' | 'uint4' | 'int2' | 'uint2';
  readonly #signed: boolean;
  /** Packed codes, where rows follow one another in the tensor. */
  readonly #chunks: TensorChunks;
  /** Else all codes in the tensor's order, a byte each until they are packed. */
  readonly #codes: Uint8Array;
  readonly #scales: Float32Array;
  readonly #zeros: Uint8Array;
  #rows = 0;

  /** @param place - dimensions of the weight, and of its scales */
  constructor(
    options: StoreOptions,
    place: { readonly dims: readonly number[]; readonly parameterDims: readonly number[] },
  ) {
    const { view, scheme, unsigned = false } = options;
    this.#options = options;
    this.#signed = scheme.symmetric && !unsigned;
    this.#dims = place.dims;
    this.#parameterDims = place.parameterDims;
    this.#type = `${this.#signed ? 'int' : 'uint'}${scheme.bits}`;
    this.#chunks = new TensorChunks(options.spool);
    this.#codes = new Uint8Array(view.inner === 1 ? 0 : rowCount(view) * view.size);
    this.#scales = new Float32Array(rowCount(view) * blocksPerRow(view));
    this.#zeros = new Uint8Array(this.#scales.length);
  }

  add({ rows, codes, scales, zeros }: QuantizedRows): void {
    const { view, scheme } = this.#options;
    const offset = this.#signed ? 2 ** (scheme.bits - 1) : 0;
    const blocks = blocksPerRow(view);
    if (view.inner === 1) this.#chunks.add(this.#pack(offset === 0 ? codes : codes.map((code) => code - offset)));
    for (let row = 0; row < rows; row += 1) {
      const at = this.#rows + row;
      const [slab, column] = [Math.floor(at / view.inner), at % view.inner];
      const first = slab * view.size * view.inner + column;
      for (let k = 0; view.inner > 1 && k < view.size; k += 1) {
        this.#codes[first + k * view.inner] = (codes[row * view.size + k] ?? 0) - offset;
      }
      const firstBlock = slab * blocks * view.inner + column;
      for (let block = 0; block < blocks; block += 1) {
        this.#scales[firstBlock + block * view.inner] = scales[row * blocks + block] ?? 0;
        this.#zeros[firstBlock + block * view.inner] = zeros[row * blocks + block] ?? 0;
      }
    }
    this.#rows += rows;
  }

  /** @throws RangeError where rows are no stretches of the tensor, or codes are signed */
  addPacked({ rows, codes, scales, zeros }: PackedCodes): void {
    const { view } = this.#options;
    if (view.inner !== 1 || this.#signed) throw new RangeError('codes of this layout are not packed by rows');
    const at = this.#rows * blocksPerRow(view);
    this.#chunks.add(codes);
    this.#scales.set(scales, at);
    this.#zeros.set(zeros, at);
    this.#rows += rows;
  }

  #pack(values: Uint8Array): Uint8Array {
    const type = this.#type;
    return isPackedType(type) ? packIntegers(type, values) : values;
  }

  finish(name: string): StoredCodes {
    const { scheme, spool } = this.#options;
    const type = this.#type;
    const storage = this.#options.view.inner === 1 ? this.#chunks.finish() : stored(this.#pack(this.#codes), spool);
    const codes = tensorOf(`${name}_q${scheme.bits}`, type, this.#dims, storage);
    const scales = floatTensor(`${name}_scales`, this.#parameterDims, this.#scales, spool);
    if (this.#signed) return { codes, scales };
    const zeroPoints = tensorOf(
      `${name}_zero_points`,
      type,
      this.#parameterDims,
      stored(this.#pack(this.#zeros), spool),
    );
    return { codes, scales, zeroPoints };
  }
}

function stored(bytes: Uint8Array, spool: TensorSpool | undefined): TensorStorage {
  const chunks = new TensorChunks(spool);
  chunks.add(bytes);
  return chunks.finish();
}

function tensorOf(name: string, dataType: DataType, dims: readonly number[], storage: TensorStorage): Tensor {
  return new Tensor({ name, dataType, dims, storage });
}

function floatTensor(
  name: string,
  dims: readonly number[],
  values: Float32Array,
  spool: TensorSpool | undefined,
): Tensor {
  return tensorOf(
    name,
    'float',
    dims,
    stored(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), spool),
  );
}

/** Bytes of a weight in MatMulNBits' layout. */
export function nbitsBytes(view: BlockView, scheme: BlockScheme, floatZeros: boolean): number {
  const [rows, blocks] = [rowCount(view), blocksPerRow(view)];
  const zeroPoint = floatZeros ? 4 * blocks : scheme.symmetric ? 0 : Math.ceil((blocks * scheme.bits) / 8);
  return rows * ((blocks * view.blockSize * scheme.bits) / 8 + 4 * blocks + zeroPoint);
}

/** Bytes of a weight for DequantizeLinear. */
export function qdqBytes(view: BlockView, scheme: BlockScheme, unsigned = false): number {
  const [rows, blocks] = [rowCount(view), blocksPerRow(view)];
  const packed = (count: number): number => Math.ceil((count * scheme.bits) / 8);
  return packed(rows * view.size) + 4 * rows * blocks + (scheme.symmetric && !unsigned ? 0 : packed(rows * blocks));
}
