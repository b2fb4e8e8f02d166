/** Dense matrices in row-major Float64Array: element (i, j) of an m x n matrix lies at i * n + j. */

/** A^T: [rows, cols] -> [cols, rows]. */
export function transpose(a: ArrayLike<number>, rows: number, cols: number): Float64Array {
  const result = new Float64Array(rows * cols);
  for (let i = 0; i < rows; i += 1) for (let j = 0; j < cols; j += 1) result[j * rows + i] = a[i * cols + j] ?? 0;
  return result;
}

/**
 * A B^T: [rows, inner] x [cols, inner] -> [rows, cols]. Both are read along their rows; two rows of each at a time, so
 * that a loaded number is used twice. About 1 ns a product.
 */
export function multiplyTransposed(
  a: Float64Array,
  b: Float64Array,
  { rows, inner, cols }: { readonly rows: number; readonly inner: number; readonly cols: number },
): Float64Array {
  const result = new Float64Array(rows * cols);
  for (let i = 0; i < rows; i += 2) {
    const pairs = i + 1 < rows;
    const a0 = i * inner;
    const a1 = pairs ? a0 + inner : a0;
    for (let j = 0; j < cols; j += 2) {
      const b0 = j * inner;
      const b1 = j + 1 < cols ? b0 + inner : b0;
      let [s00, s01, s10, s11] = [0, 0, 0, 0];
      for (let k = 0; k < inner; k += 1) {
        const x0 = a[a0 + k] ?? 0;
        const x1 = a[a1 + k] ?? 0;
        const y0 = b[b0 + k] ?? 0;
        const y1 = b[b1 + k] ?? 0;
        s00 += x0 * y0;
        s01 += x0 * y1;
        s10 += x1 * y0;
        s11 += x1 * y1;
      }
      result[i * cols + j] = s00;
      if (j + 1 < cols) result[i * cols + j + 1] = s01;
      if (!pairs) continue;
      result[(i + 1) * cols + j] = s10;
      if (j + 1 < cols) result[(i + 1) * cols + j + 1] = s11;
    }
  }
  return result;
}

/** A B: [rows, inner] x [inner, cols] -> [rows, cols]. */
export function multiply(
  a: Float64Array,
  b: Float64Array,
  sizes: { readonly rows: number; readonly inner: number; readonly cols: number },
): Float64Array {
  return multiplyTransposed(a, transpose(b, sizes.inner, sizes.cols), sizes);
}

/** A A^T of the rows of A: [rows, cols] -> [rows, rows], exactly symmetric. */
export function gramOfRows(a: Float64Array, rows: number, cols: number): Float64Array {
  const gram = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i += 1) {
    const own = i * cols;
    for (let j = 0; j <= i; j += 2) {
      const b0 = j * cols;
      const b1 = j + 1 <= i ? b0 + cols : b0;
      let [s0, s1] = [0, 0];
      for (let k = 0; k < cols; k += 1) {
        const x = a[own + k] ?? 0;
        s0 += x * (a[b0 + k] ?? 0);
        s1 += x * (a[b1 + k] ?? 0);
      }
      gram[i * rows + j] = s0;
      gram[j * rows + i] = s0;
      if (j + 1 > i) continue;
      gram[i * rows + j + 1] = s1;
      gram[(j + 1) * rows + i] = s1;
    }
  }
  return gram;
}
