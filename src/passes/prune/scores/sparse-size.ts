/**
 * Bytes of a weight in the two usual sparse formats, without headers.
 *
 * - bitmap: one bit an element, then the values that are not zero
 * - csr: one row pointer (4 bytes) a row and one, a 2-byte column index a value (4-byte where a row is longer than 65,536), the values
 */
export function sparseBytes(
  shape: { readonly rows: number; readonly columns: number },
  nonzero: number,
  bytesPerValue: number,
): { readonly bitmap: number; readonly csr: number } {
  const { rows, columns } = shape;
  return {
    bitmap: Math.ceil((rows * columns) / 8) + nonzero * bytesPerValue,
    csr: 4 * (rows + 1) + nonzero * ((columns > 2 ** 16 ? 4 : 2) + bytesPerValue),
  };
}
