/** Ones and zeros as bits, eight a byte, the first in the lowest bit; the tail is padded with zeros. O(n). */
export function packBits(bits: Uint8Array): Uint8Array {
  const packed = new Uint8Array(Math.ceil(bits.length / 8));
  for (let i = 0; i < bits.length; i += 1) {
    const at = i >> 3;
    packed[at] = (packed[at] ?? 0) | ((bits[i] ?? 0) << (i & 7));
  }
  return packed;
}
