import { multiply, multiplyTransposed, transpose } from '../../numerics/matrix.ts';
import { svd } from '../../numerics/svd.ts';
import { symmetricEigen } from '../../numerics/symmetric-eigen.ts';
import type { AttributeInit, Node } from '../../onnx/node.ts';
import { balance } from './balance.ts';
import type { InputMoments } from './input-covariance.ts';
import { fanIn, type DenseLayer } from './layers.ts';
import { lossOf, relativeError, symmetrized, type BuiltChain, type Variant } from './svd-variant.ts';

/** With data, the eigenvectors of a matrix of this size are needed; above it `auto` looks at the channel form alone. */
const MAX_AUTO_SIZE = 1024;
/** Eigenvalues below this share of the largest count as none when least squares are solved. */
const CUTOFF = 1e-9;

/**
 * A kh x kw convolution as kh x 1 with r outputs, then 1 x kw: the filters as a matrix of [inputs * kh, kw * outputs], in
 * rank r. With data, the r columns are chosen for the covariance of the input's columns, and the second convolution is then
 * solved by least squares for the layer's output on the calibration data.
 *
 * @returns why there is none, in words
 * @see Jaderberg et al., "Speeding up Convolutional Neural Networks with Low Rank Expansions", BMVC 2014, scheme 2
 */
export function spatialVariant(
  layer: DenseLayer,
  moments: InputMoments | undefined,
  mode: 'auto' | 'spatial',
): Variant | string {
  const { kernel, inputs, outputs } = layer;
  const [kh = 0, kw = 0] = kernel;
  if (kernel.length !== 2 || kh < 2 || kw < 2) return 'a spatial form needs a window with two axes longer than 1';
  const rows = inputs * kh;
  const cols = kw * outputs;
  if (moments !== undefined && mode === 'auto' && cols > MAX_AUTO_SIZE)
    return 'too large to try out beside the channel form';
  const matrix = columnMatrix(layer);
  const { energies, basis } =
    moments === undefined
      ? byWeight(matrix, rows, cols)
      : byColumns(matrix, columnCovariance(layer, moments), { rows, cols });
  const fullRank = Math.min(rows, cols);
  const build = (rank: number): BuiltChain => buildChain(layer, moments, { ...basis(rank), rank });
  const loss = lossOf(energies).slice(0, fullRank + 1);
  const variant: Variant = {
    kind: 'spatial',
    fullRank,
    loss,
    macs: (rank) => rank * (firstPositions(layer) * rows + (layer.positions ?? 1) * cols),
    parameters: (rank) => rank * (rows + cols),
    build,
  };
  if (moments !== undefined) calibrateLoss(variant, layer, moments);
  return variant;
}

/** The tails treat shifted columns as if they were independent: one true error sets their scale. */
function calibrateLoss(variant: Variant, layer: DenseLayer, moments: InputMoments): void {
  const { loss, fullRank } = variant;
  const middle = Math.max(1, Math.floor(fullRank / 3));
  const guess = loss[middle] ?? 0;
  if (guess <= 0) return;
  const scale = relativeError(layer, variant.build(middle).product, moments) / guess;
  for (let rank = 0; rank <= fullRank; rank += 1) loss[rank] = Math.min((loss[rank] ?? 0) * scale, 1);
}

/** Columns of the image that the first convolution is applied to, times its rows. */
function firstPositions({ node, inputShape, outputShape, positions = 1 }: DenseLayer): number {
  const width = inputShape?.[3];
  const outWidth = outputShape?.[3];
  const stride = node.ints('strides')?.[1] ?? 1;
  return positions * (width !== undefined && outWidth !== undefined ? width / outWidth : stride);
}

/** [(input, row of the window), (column of the window, output)]. */
function columnMatrix({ weight, outputs, inputs, kernel }: DenseLayer): Float64Array {
  const [kh = 0, kw = 0] = kernel;
  const matrix = new Float64Array(weight.length);
  const cols = kw * outputs;
  for (let m = 0; m < outputs; m += 1) {
    for (let ci = 0; ci < inputs * kh; ci += 1) {
      for (let j = 0; j < kw; j += 1) {
        matrix[ci * cols + j * outputs + m] = weight[(m * inputs * kh + ci) * kw + j] ?? 0;
      }
    }
  }
  return matrix;
}

/** Covariance of the input's columns of kh values a channel, summed over the columns of the window. */
function columnCovariance(layer: DenseLayer, { covariance }: InputMoments): Float64Array {
  const [kh = 0, kw = 0] = layer.kernel;
  const size = layer.inputs * kh;
  const inner = fanIn(layer);
  const result = new Float64Array(size * size);
  for (let a = 0; a < size; a += 1) {
    for (let b = 0; b < size; b += 1) {
      let sum = 0;
      for (let j = 0; j < kw; j += 1) sum += covariance[(a * kw + j) * inner + b * kw + j] ?? 0;
      result[a * size + b] = sum;
    }
  }
  return result;
}

interface Halves {
  /** [rank, inputs * kh]. */
  readonly first: Float64Array;
  /** [kw * outputs, rank]. */
  readonly second: Float64Array;
}

interface Spectrum {
  readonly energies: Float64Array;
  readonly basis: (rank: number) => Halves;
}

function byWeight(matrix: Float64Array, rows: number, cols: number): Spectrum {
  const { values, left } = svd(matrix, rows, cols);
  const turned = transpose(matrix, rows, cols);
  return {
    energies: values.map((value) => value * value),
    basis(rank) {
      const first = Float64Array.from(left.subarray(0, rank * rows));
      return { first, second: multiplyTransposed(turned, first, { rows: cols, inner: rows, cols: rank }) };
    },
  };
}

/** Projects on the directions of the second half in which the sums over columns vary most: A ~ A V V^T. */
function byColumns(
  matrix: Float64Array,
  covariance: Float64Array,
  { rows, cols }: { readonly rows: number; readonly cols: number },
): Spectrum {
  const turned = transpose(matrix, rows, cols);
  const weighted = multiplyTransposed(turned, covariance, { rows: cols, inner: rows, cols: rows });
  const energy = multiplyTransposed(weighted, turned, { rows: cols, inner: rows, cols });
  const { values, vectors } = symmetricEigen(symmetrized(energy, cols), cols);
  return {
    energies: values,
    basis(rank) {
      const directions = vectors.slice(0, rank * cols);
      const first = multiply(directions, turned, { rows: rank, inner: cols, cols: rows });
      return { first, second: transpose(directions, rank, cols) };
    },
  };
}

function buildChain(
  layer: DenseLayer,
  moments: InputMoments | undefined,
  given: Halves & { readonly rank: number },
): BuiltChain {
  const { outputs, inputs, kernel } = layer;
  const [kh = 0, kw = 0] = kernel;
  const { rank } = given;
  const solved = moments === undefined ? given.second : leastSquares(layer, moments, given);
  const { first, second } = balance(
    { first: given.first, second: solved },
    { rank, inner: inputs * kh, outputs: kw * outputs },
  );
  const row = new Float64Array(outputs * rank * kw);
  for (let m = 0; m < outputs; m += 1) {
    for (let r = 0; r < rank; r += 1) {
      for (let j = 0; j < kw; j += 1) row[(m * rank + r) * kw + j] = second[(j * outputs + m) * rank + r] ?? 0;
    }
  }
  const { column: columnWindow, row: rowWindow } = splitWindow(layer.node);
  return {
    product: multiply(row, columnsOf(first, rank, layer), { rows: outputs, inner: rank * kw, cols: fanIn(layer) }),
    chain: {
      kind: 'conv',
      parts: [
        { weight: first, dims: [rank, inputs, kh, 1], attributes: columnWindow },
        { weight: row, dims: [outputs, rank, 1, kw], attributes: rowWindow },
      ],
    },
  };
}

/** [(r, j), fan-in]: what column j of the second window reads, as rows over the whole patch. */
function columnsOf(first: Float64Array, rank: number, layer: DenseLayer): Float64Array {
  const [kh = 0, kw = 0] = layer.kernel;
  const size = layer.inputs * kh;
  const inner = fanIn(layer);
  const result = new Float64Array(rank * kw * inner);
  for (let r = 0; r < rank; r += 1) {
    for (let j = 0; j < kw; j += 1) {
      for (let ci = 0; ci < size; ci += 1) result[(r * kw + j) * inner + ci * kw + j] = first[r * size + ci] ?? 0;
    }
  }
  return result;
}

/** The second half that makes E |W x - H B x|^2 least for the given first half: H = W C B^T (B C B^T)^+. */
function leastSquares(layer: DenseLayer, { covariance }: InputMoments, given: Halves & { rank: number }): Float64Array {
  const { outputs, kernel } = layer;
  const kw = kernel[1] ?? 0;
  const { rank } = given;
  const inner = fanIn(layer);
  const size = rank * kw;
  const b = columnsOf(given.first, rank, layer);
  const bc = multiplyTransposed(b, covariance, { rows: size, inner, cols: inner });
  const bcb = symmetrized(multiplyTransposed(bc, b, { rows: size, inner, cols: size }), size);
  const target = multiplyTransposed(layer.weight, bc, { rows: outputs, inner, cols: size });
  const { values, vectors } = symmetricEigen(bcb, size);
  const coordinates = multiplyTransposed(target, vectors, { rows: outputs, inner: size, cols: size });
  const least = CUTOFF * (values[0] ?? 0);
  for (let m = 0; m < outputs; m += 1) {
    for (let k = 0; k < size; k += 1) {
      const value = values[k] ?? 0;
      coordinates[m * size + k] = value > least ? (coordinates[m * size + k] ?? 0) / value : 0;
    }
  }
  const h = multiply(coordinates, vectors, { rows: outputs, inner: size, cols: size });
  const second = new Float64Array(kw * outputs * rank);
  for (let m = 0; m < outputs; m += 1) {
    for (let r = 0; r < rank; r += 1) {
      for (let j = 0; j < kw; j += 1) second[(j * outputs + m) * rank + r] = h[m * size + r * kw + j] ?? 0;
    }
  }
  return second;
}

/** Strides, pads and dilations of the vertical axis go to the first convolution, those of the other to the second. */
function splitWindow(node: Node): {
  readonly column: Record<string, AttributeInit>;
  readonly row: Record<string, AttributeInit>;
} {
  const column: Record<string, AttributeInit> = {};
  const row: Record<string, AttributeInit> = {};
  for (const name of ['strides', 'dilations']) {
    const [vertical, horizontal] = node.ints(name) ?? [];
    if (vertical === undefined || horizontal === undefined) continue;
    column[name] = [vertical, 1];
    row[name] = [1, horizontal];
  }
  const [top, left, bottom, right] = node.ints('pads') ?? [];
  if (top !== undefined && left !== undefined && bottom !== undefined && right !== undefined) {
    column['pads'] = [top, 0, bottom, 0];
    row['pads'] = [0, left, 0, right];
  }
  const autoPad = node.attributes.get('auto_pad');
  if (autoPad !== undefined) {
    column['auto_pad'] = autoPad;
    row['auto_pad'] = autoPad;
  }
  return { column, row };
}
