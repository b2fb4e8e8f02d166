import { multiply, multiplyTransposed, transpose } from '../../numerics/matrix.ts';
import { svd } from '../../numerics/svd.ts';
import { symmetricEigen } from '../../numerics/symmetric-eigen.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import type { InputMoments } from './input-covariance.ts';
import { fanIn, type DenseLayer } from './layers.ts';
import { windowAttributes, type Chain } from './replace-layer.ts';
import { balance } from './balance.ts';

/** One way to write a layer as a chain of smaller ones, at any rank. */
export interface Variant {
  readonly kind: 'product' | 'channel' | 'spatial' | 'tucker';
  /** Rank of the layer's matrix at most. */
  readonly fullRank: number;
  /** Where `rank` only numbers pairs of ranks: the pair. */
  readonly ranks?: (rank: number) => Readonly<Record<'input' | 'output', number>>;
  /** `loss[r]`: share of the energy that rank r loses, r = 0 .. fullRank; never rises. */
  readonly loss: Float64Array;
  /** Multiply-accumulates at batch 1 (of one position where their number is open). */
  macs(rank: number): number;
  parameters(rank: number): number;
  build(rank: number): BuiltChain;
}

export interface BuiltChain {
  readonly chain: Chain;
  /** The matrix that the chain multiplies by, [outputs, fan-in]. */
  readonly product: Float64Array;
}

/** `values` are squared singular values, largest first. */
export function lossOf(values: Float64Array): Float64Array {
  const total = values.reduce((sum, value) => sum + Math.max(value, 0), 0);
  const loss = new Float64Array(values.length + 1);
  let tail = 0;
  for (let r = values.length - 1; r >= 0; r -= 1) {
    tail += Math.max(values[r] ?? 0, 0);
    loss[r] = total > 0 ? tail / total : 0;
  }
  return loss;
}

/**
 * Two products: [outputs, fan-in] ~ [outputs, r] [r, fan-in]. A convolution becomes one with r outputs and its window, then a
 * 1x1. With data, the r directions are those in which the layer's output varies most: the eigenvectors of W C W^T, on which W
 * is projected. That is the least squared error of the output for this rank (for the data's covariance C), and needs no inverse.
 *
 * @see Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection", 2015, section 3.1
 */
export function channelVariant(layer: DenseLayer, moments: InputMoments | undefined): Variant {
  const { weight, outputs, kernel, node } = layer;
  const inner = fanIn(layer);
  const decomposition = moments === undefined ? byWeight(layer) : byOutput(layer, moments);
  const positions = layer.positions ?? 1;
  return {
    kind: layer.kind === 'Conv' ? 'channel' : 'product',
    fullRank: Math.min(outputs, inner),
    loss: lossOf(decomposition.energies).subarray(0, Math.min(outputs, inner) + 1),
    macs: (rank) => positions * rank * (inner + outputs),
    parameters: (rank) => rank * (inner + outputs),
    build(rank) {
      const { first, second } = balance(decomposition.factors(rank), { rank, inner, outputs });
      const product = multiply(second, first, { rows: outputs, inner: rank, cols: inner });
      if (layer.kind !== 'Conv') {
        const parts = [
          { weight: first, outputs: rank, inputs: inner },
          { weight: second, outputs, inputs: rank },
        ];
        return { product, chain: { kind: 'product', parts } };
      }
      const parts = [
        { weight: first, dims: [rank, layer.inputs, ...kernel], attributes: windowAttributes(node) },
        { weight: second, dims: [outputs, rank, ...kernel.map(() => 1)], attributes: {} },
      ];
      return { product, chain: { kind: 'conv', parts } };
    },
  };

  function byWeight({ weight: matrix }: DenseLayer): Decomposition {
    const { values, left, right } = svd(matrix, outputs, inner);
    return {
      energies: values.map((value) => value * value),
      factors(rank) {
        // Projected from the shorter side, whose vectors are orthonormal whatever the singular values.
        if (outputs <= inner) {
          const basis = left.subarray(0, rank * outputs);
          return projectedOutputs(basis, rank);
        }
        const basis = right.subarray(0, rank * inner);
        const second = multiplyTransposed(matrix, basis, { rows: outputs, inner, cols: rank });
        return { first: Float64Array.from(basis), second };
      },
    };
  }

  function byOutput({ weight: matrix }: DenseLayer, { covariance }: InputMoments): Decomposition {
    const weighted = multiplyTransposed(matrix, covariance, { rows: outputs, inner, cols: inner });
    const energy = multiplyTransposed(weighted, matrix, { rows: outputs, inner, cols: outputs });
    const { values, vectors } = symmetricEigen(symmetrized(energy, outputs), outputs);
    return { energies: values, factors: (rank) => projectedOutputs(vectors.subarray(0, rank * outputs), rank) };
  }

  /** first = U^T W, second = U, for a basis U given by rows. */
  function projectedOutputs(basis: Float64Array, rank: number): Factors {
    const first = multiply(Float64Array.from(basis), weight, { rows: rank, inner: outputs, cols: inner });
    return { first, second: transpose(basis, rank, outputs) };
  }
}

interface Factors {
  /** [rank, fan-in]. */
  readonly first: Float64Array;
  /** [outputs, rank]. */
  readonly second: Float64Array;
}

interface Decomposition {
  readonly energies: Float64Array;
  factors(rank: number): Factors;
}

/** Rounding leaves the two halves of W C W^T different in the last digits. */
export function symmetrized(matrix: Float64Array, n: number): Float64Array {
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j < i; j += 1) {
      const mean = ((matrix[i * n + j] ?? 0) + (matrix[j * n + i] ?? 0)) / 2;
      matrix[i * n + j] = mean;
      matrix[j * n + i] = mean;
    }
  }
  return matrix;
}

/** Share of the output's energy that differs between two matrices: of the weights, or with data of the outputs' variance. */
export function relativeError(layer: DenseLayer, product: Float64Array, moments: InputMoments | undefined): number {
  const inner = fanIn(layer);
  const difference = layer.weight.map((value, i) => value - (product[i] ?? 0));
  const whole = energyOf(layer.weight, moments, { rows: layer.outputs, inner });
  return whole > 0 ? energyOf(difference, moments, { rows: layer.outputs, inner }) / whole : 0;
}

function energyOf(
  matrix: Float64Array,
  moments: InputMoments | undefined,
  { rows, inner }: { readonly rows: number; readonly inner: number },
): number {
  const weighted =
    moments === undefined ? matrix : multiplyTransposed(matrix, moments.covariance, { rows, inner, cols: inner });
  let sum = 0;
  for (let i = 0; i < rows * inner; i += 1) sum += (matrix[i] ?? 0) * (weighted[i] ?? 0);
  return Math.max(sum, 0);
}

/** Sizes of the kernel, for messages: `3x3`. */
export function kernelText({ kernel }: DenseLayer): string {
  return elementCount(kernel) === 1 && kernel.length === 0 ? '' : kernel.join('x');
}
