/**
 * A weight tensor as rows of blocks: element k of row (o, i) lies at (o * size + k) * inner + i, and `blockSize` consecutive
 * elements of a row share scale and zero point. A row is what one output sums over: a column of a MatMul's [K, N] (outer 1,
 * inner N), a row of a Gemm's [N, K] (inner 1), an entry of an embedding.
 */
export interface BlockView {
  readonly outer: number;
  /** Elements of a row. */
  readonly size: number;
  readonly inner: number;
  readonly blockSize: number;
}

/** The blocks along one axis of a tensor. */
export function blocksAlong(dims: readonly number[], axis: number, blockSize: number): BlockView {
  const product = (sizes: readonly number[]): number => sizes.reduce((total, size) => total * size, 1);
  return {
    outer: product(dims.slice(0, axis)),
    size: dims[axis] ?? 1,
    inner: product(dims.slice(axis + 1)),
    blockSize,
  };
}

export function rowCount({ outer, inner }: BlockView): number {
  return outer * inner;
}

/** Blocks in a row; the last may be shorter. */
export function blocksPerRow({ size, blockSize }: BlockView): number {
  return Math.ceil(size / blockSize);
}
