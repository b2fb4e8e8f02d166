import type { BlockScheme, SquaredError } from './quantized-rows.ts';
import { usable, zeroOf } from './rtn.ts';

/** Rows that are worked on together: their blocks stay in the cache between finding the range and rounding. */
const ROWS_AT_ONCE = 256;

/** Where values lie: element k of row r at first + r * rowStride + k * elementStride. */
export interface Strided {
  readonly values: Float32Array;
  readonly first: number;
  readonly rows: number;
  readonly rowStride: number;
  /** A multiple of the block size, unless the rows end with them. */
  readonly elements: number;
  readonly elementStride: number;
}

/** Rows as MatMulNBits has them, four bytes at a time: words [rows, blocks * blockSize * bits / 32], scales and zeros [rows, blocks]. */
export interface PackedRows {
  readonly words: Uint32Array;
  readonly scales: Float32Array;
  readonly zeros: Uint8Array;
  readonly blocks: number;
}

/**
 * What `rtnRows` does, straight from a tensor in any layout into packed words: one pass for the ranges, one for the codes, nothing
 * in between is stored. About 8 ns a weight.
 *
 * @param to - place of the first row and the first block
 * @param lost - what rounding lost is added; not finite when some value is not
 */
export function packRtn(
  from: Strided,
  packed: PackedRows,
  to: { readonly row: number; readonly block: number },
  {
    scheme,
    blockSize,
    lost,
  }: { readonly scheme: BlockScheme; readonly blockSize: number; readonly lost: SquaredError },
): void {
  const { rows, elements } = from;
  const perWord = 32 / scheme.bits;
  const wordsPerBlock = blockSize / perWord;
  const reciprocals = new Float32Array(ROWS_AT_ONCE);
  for (let row = 0; row < rows; row += ROWS_AT_ONCE) {
    const some = Math.min(ROWS_AT_ONCE, rows - row);
    for (let block = 0; block * blockSize < elements; block += 1) {
      const start = from.first + row * from.rowStride + block * blockSize * from.elementStride;
      const length = Math.min(blockSize, elements - block * blockSize);
      const tile = { ...from, first: start, rows: some, elements: length };
      const place = (to.row + row) * packed.blocks + to.block + block;
      chooseScales(tile, packed, place, { scheme, reciprocals });
      const { words } = packed;
      // Of a block that the row ends in, the words behind the end hold zeros of the scale.
      if (length < blockSize) {
        for (let r = 0; r < some; r += 1) {
          const zero = packed.zeros[place + r * packed.blocks] ?? 0;
          const at = (place + r * packed.blocks) * wordsPerBlock;
          let word = 0;
          for (let j = 0; j < perWord; j += 1) word |= zero << (j * scheme.bits);
          words.fill(word, at, at + wordsPerBlock);
        }
      }
      roundTile(tile, packed, place, { scheme, reciprocals, wordsPerBlock, lost });
    }
  }
}

function chooseScales(
  { values, first, rows, rowStride, elements, elementStride }: Strided,
  { scales, zeros, blocks }: PackedRows,
  place: number,
  { scheme, reciprocals }: { readonly scheme: BlockScheme; readonly reciprocals: Float32Array },
): void {
  const top = 2 ** scheme.bits - 1;
  const middle = 2 ** (scheme.bits - 1);
  // The bits of floats of one sign order as the floats do. Extremes of unsorted numbers are guessed wrong by any branch
  // every few elements, so there is none: half the time of comparing the floats.
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const lowest = new Float32Array(rows);
  const highest = new Float32Array(rows);
  const lowestBits = new Int32Array(lowest.buffer);
  const highestBits = new Int32Array(highest.buffer);
  // Rows inside: where elements of a row lie far apart, those of neighbouring rows lie together.
  const step = elementStride === 1 ? elements : 8;
  for (let k = 0; k < elements; k += step) {
    const end = Math.min(step, elements - k);
    for (let row = 0; row < rows; row += 1) {
      let at = first + row * rowStride + k * elementStride;
      let low = lowestBits[row] ?? 0;
      let high = highestBits[row] ?? 0;
      for (let i = 0; i < end; i += 1, at += elementStride) {
        const value = bits[at] ?? 0;
        const isNegative = value >> 31;
        const above = ((value & ~isNegative) - high) | 0;
        high = (high + (above & ~(above >> 31))) | 0;
        const below = ((value & 0x7fffffff & isNegative) - low) | 0;
        low = (low + (below & ~(below >> 31))) | 0;
      }
      lowestBits[row] = low;
      highestBits[row] = high;
    }
  }
  for (let row = 0; row < rows; row += 1) {
    const min = -(lowest[row] ?? 0);
    const max = highest[row] ?? 0;
    const scale = usable(scheme.symmetric ? (max > -min ? max : min) / -middle : Math.fround(max - min) / top);
    scales[place + row * blocks] = scale;
    zeros[place + row * blocks] = scheme.symmetric ? middle : zeroOf(min, scale, top);
    reciprocals[row] = scale === 0 ? 0 : 1 / scale;
  }
}

function roundTile(
  { values, first, rows, rowStride, elements, elementStride }: Strided,
  { words, scales, zeros, blocks }: PackedRows,
  place: number,
  settings: {
    readonly scheme: BlockScheme;
    readonly reciprocals: Float32Array;
    readonly wordsPerBlock: number;
    readonly lost: SquaredError;
  },
): void {
  const { scheme, reciprocals, wordsPerBlock, lost } = settings;
  const { bits } = scheme;
  const perWord = 32 / bits;
  let error = 0;
  let energy = 0;
  for (let k = 0; k < elements; k += perWord) {
    const shifts = bits * Math.min(perWord, elements - k);
    const unused = shifts === 32 ? 0 : (-1 << shifts) >>> 0;
    for (let row = 0; row < rows; row += 1) {
      const parameters = place + row * blocks;
      const reciprocal = reciprocals[row] ?? 0;
      const scale = scales[parameters] ?? 0;
      const zero = zeros[parameters] ?? 0;
      const half = zero + 0.5;
      let at = first + row * rowStride + k * elementStride;
      let word = 0;
      for (let shift = 0; shift < shifts; shift += bits, at += elementStride) {
        const value = values[at] ?? 0;
        // No value lies more than half a code outside of the range, so the only code too large is the next one.
        const code = (Math.fround(value * reciprocal) + half) | 0;
        const kept = code - (code >> bits);
        word |= kept << shift;
        const difference = value - (kept - zero) * scale;
        error += difference * difference;
        energy += value * value;
      }
      const target = parameters * wordsPerBlock + k / perWord;
      words[target] = unused === 0 ? word : (word & ~unused) | ((words[target] ?? 0) & unused);
    }
  }
  lost.error += error;
  lost.energy += energy;
}
