/**
 * Adaptive order-0 range coder for small alphabets. Encoder and decoder count the symbols as they go, so no table is stored; the
 * output stays within a few percent of the entropy from a few thousand symbols on. Counts start at 1, grow by 32, and are
 * halved (rounding up) when their sum passes 65,535.
 *
 * Layout: bytes of the code, first those of highest weight; four bytes flush the end, so that the decoder never reads behind it.
 *
 * @see Martin, "Range encoding: an algorithm for removing redundancy from a digitised message", 1979; carryless form: Subbotin 1999
 */
const TOP = 2 ** 24;
const BOTTOM = 2 ** 16;
const STEP = 32;

class Model {
  readonly counts: Uint32Array;
  total: number;

  constructor(symbols: number) {
    this.counts = new Uint32Array(symbols).fill(1);
    this.total = symbols;
  }

  add(symbol: number): void {
    this.counts[symbol] = (this.counts[symbol] ?? 0) + STEP;
    this.total += STEP;
    if (this.total < BOTTOM) return;
    this.total = 0;
    for (let k = 0; k < this.counts.length; k += 1) {
      const halved = ((this.counts[k] ?? 0) + 1) >>> 1;
      this.counts[k] = halved;
      this.total += halved;
    }
  }
}

/** Whether the top byte of the interval is settled, or the interval has to be cut to settle it. */
function isSettled(low: number, range: number): boolean {
  return (low ^ ((low + range) >>> 0)) >>> 0 < TOP;
}

/**
 * @param symbols - each below `alphabet`
 * @param alphabet - 1 to 256
 */
export function encodeSymbols(symbols: Uint8Array, alphabet: number): Uint8Array {
  const model = new Model(alphabet);
  const output: number[] = [];
  let [low, range] = [0, 0xffffffff];
  for (const symbol of symbols) {
    let below = 0;
    for (let k = 0; k < symbol; k += 1) below += model.counts[k] ?? 0;
    range = Math.floor(range / model.total);
    low = (low + below * range) >>> 0;
    range *= model.counts[symbol] ?? 0;
    for (;;) {
      if (!isSettled(low, range)) {
        if (range >= BOTTOM) break;
        range = -low & (BOTTOM - 1);
      }
      output.push(low >>> 24);
      low = (low << 8) >>> 0;
      range = (range << 8) >>> 0;
    }
    model.add(symbol);
  }
  for (let k = 0; k < 4; k += 1) {
    output.push(low >>> 24);
    low = (low << 8) >>> 0;
  }
  return Uint8Array.from(output);
}

/**
 * The inverse of `encodeSymbols`.
 *
 * @throws RangeError when the bytes are no code of this alphabet, or too few: as few bytes cannot make many symbols run long
 */
export function decodeSymbols(bytes: Uint8Array, count: number, alphabet: number): Uint8Array {
  const model = new Model(alphabet);
  const symbols = new Uint8Array(count);
  let [low, range, code, at] = [0, 0xffffffff, 0, 0];
  const next = (): number => {
    const byte = bytes[at++];
    if (byte === undefined) throw new RangeError(`the code of ${count} symbols breaks off after ${bytes.length} bytes`);
    return byte;
  };
  for (let k = 0; k < 4; k += 1) code = ((code << 8) | next()) >>> 0;
  for (let i = 0; i < count; i += 1) {
    range = Math.floor(range / model.total);
    const position = Math.floor(((code - low) >>> 0) / range);
    if (position >= model.total) throw new RangeError(`the code breaks off at symbol ${i} of ${count}`);
    let [symbol, below] = [0, 0];
    while (below + (model.counts[symbol] ?? 0) <= position) {
      below += model.counts[symbol] ?? 0;
      symbol += 1;
    }
    symbols[i] = symbol;
    low = (low + below * range) >>> 0;
    range *= model.counts[symbol] ?? 0;
    for (;;) {
      if (!isSettled(low, range)) {
        if (range >= BOTTOM) break;
        range = -low & (BOTTOM - 1);
      }
      code = ((code << 8) | next()) >>> 0;
      low = (low << 8) >>> 0;
      range = (range << 8) >>> 0;
    }
    model.add(symbol);
  }
  return symbols;
}

/** Shannon entropy of the symbols' frequencies, in bits a symbol: what no order-0 code can go below on average. */
export function entropyOf(symbols: Uint8Array): number {
  const counts = new Float64Array(256);
  for (const symbol of symbols) counts[symbol] = (counts[symbol] ?? 0) + 1;
  let bits = 0;
  for (const count of counts) if (count > 0) bits -= (count / symbols.length) * Math.log2(count / symbols.length);
  return bits;
}
