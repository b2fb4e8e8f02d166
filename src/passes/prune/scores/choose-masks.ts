import { CompressionError } from '../../../errors.ts';
import { keepMasks } from './select-smallest.ts';
import type { Scores } from './element-scores.ts';
import { groupMatrix, putGroup } from '../../layer-inputs/weight-matrix.ts';
import { targetLabel, type MatrixLayout, type WeightTarget } from '../../layer-inputs/weight-targets.ts';

/** Which zeros are allowed, and how many. */
export type SparsityPattern =
  /** `sparsity` of the elements, 0 <= sparsity < 1, of each output row, each weight, or all together. */
  | { readonly kind: 'elements'; readonly scope: 'row' | 'layer' | 'global'; readonly sparsity: number }
  /** `zeros` of each `m` consecutive input channels, for each output channel and place of the kernel. */
  | { readonly kind: 'n-of-m'; readonly zeros: number; readonly m: number }
  /** `sparsity` of the blocks of `rows` output channels x `columns` input channels at one place of the kernel. */
  | { readonly kind: 'blocks'; readonly rows: number; readonly columns: number; readonly sparsity: number };

/** Masks by initializer, in the tensors' own element order: 1 stays, 0 becomes zero. */
export type Masks = ReadonlyMap<string, Uint8Array>;

/** A share of a whole in whole things: rounded, and never all of them. */
export function countOf(share: number, total: number): number {
  return Math.min(Math.max(0, total - 1), Math.round(share * total));
}

/** Chooses what is zeroed: exact counts, ties by index. */
export function chooseMasks(
  targets: readonly WeightTarget[],
  scores: ReadonlyMap<string, Scores>,
  pattern: SparsityPattern,
): Masks {
  const scoresOf = (target: WeightTarget): Scores => scores.get(target.name) ?? new Float64Array(target.elements);
  switch (pattern.kind) {
    case 'elements': {
      if (pattern.scope === 'global') {
        const total = targets.reduce((sum, { elements }) => sum + elements, 0);
        const masks = keepMasks(targets.map(scoresOf), countOf(pattern.sparsity, total));
        return new Map(targets.map(({ name }, index) => [name, masks[index] ?? new Uint8Array(0)]));
      }
      if (pattern.scope === 'row') {
        return new Map(targets.map((one) => [one.name, rowMask(scoresOf(one), one.layout, pattern.sparsity)]));
      }
      return new Map(
        targets.map((target) => {
          const [mask] = keepMasks([scoresOf(target)], countOf(pattern.sparsity, target.elements));
          return [target.name, mask ?? new Uint8Array(0)];
        }),
      );
    }
    case 'n-of-m':
      return new Map(targets.map((target) => [target.name, nOfM(target.layout, scoresOf(target), pattern)]));
    case 'blocks':
      return new Map(targets.map((target) => [target.name, blocks(target.layout, scoresOf(target), pattern)]));
  }
}

/** The same share of each output row; a row keeps at least one weight. */
export function rowMask(scores: Scores, layout: MatrixLayout, sparsity: number): Uint8Array {
  const mask = new Uint8Array(scores.length);
  for (let group = 0; group < layout.groups; group += 1) {
    const { rows, columns, data } = groupMatrix(scores, layout, group);
    const kept = new Uint8Array(data.length);
    for (let row = 0; row < rows; row += 1) {
      const [one] = keepMasks([data.subarray(row * columns, (row + 1) * columns)], countOf(sparsity, columns));
      if (one !== undefined) kept.set(one, row * columns);
    }
    putGroup(mask, kept, layout, group);
  }
  return mask;
}

/** Input channels behind the last whole group of m stay dense. */
function nOfM(
  { outputs, inputs, kernel, outputStride, inputStride }: MatrixLayout,
  scores: Scores,
  { zeros, m }: { readonly zeros: number; readonly m: number },
): Uint8Array {
  const mask = new Uint8Array(scores.length).fill(1);
  const group = new Float64Array(m);
  for (let o = 0; o < outputs; o += 1) {
    for (let k = 0; k < kernel; k += 1) {
      for (let i = 0; i + m <= inputs; i += m) {
        const first = o * outputStride + i * inputStride + k;
        for (let j = 0; j < m; j += 1) group[j] = scores[first + j * inputStride] ?? 0;
        for (let zeroed = 0; zeroed < zeros; zeroed += 1) {
          let lowest = 0;
          for (let j = 1; j < m; j += 1) if ((group[j] ?? 0) < (group[lowest] ?? 0)) lowest = j;
          group[lowest] = Infinity;
          mask[first + lowest * inputStride] = 0;
        }
      }
    }
  }
  return mask;
}

/** A block's score is the sum of its elements'; blocks that the matrix's edge would cut stay dense. */
function blocks(
  { outputs, inputs, kernel, outputStride, inputStride }: MatrixLayout,
  scores: Scores,
  { rows, columns, sparsity }: { readonly rows: number; readonly columns: number; readonly sparsity: number },
): Uint8Array {
  const mask = new Uint8Array(scores.length).fill(1);
  const down = Math.floor(outputs / rows);
  const across = Math.floor(inputs / columns);
  const sums = new Float64Array(down * across * kernel);
  const visit = (each: (block: number, element: number) => void): void => {
    for (let o = 0; o < down * rows; o += 1) {
      for (let i = 0; i < across * columns; i += 1) {
        const first = o * outputStride + i * inputStride;
        const block = (Math.floor(o / rows) * across + Math.floor(i / columns)) * kernel;
        for (let k = 0; k < kernel; k += 1) each(block + k, first + k);
      }
    }
  };
  visit((block, element) => {
    const score = scores[element] ?? 0;
    // A zero adds nothing to its block; a block of nothing but zeros has sum 0, the lowest there is for magnitudes.
    sums[block] = (sums[block] ?? 0) + (score === -Infinity ? 0 : score);
  });
  const [kept] = keepMasks([sums], countOf(sparsity, sums.length));
  visit((block, element) => {
    if (kept?.[block] === 0) mask[element] = 0;
  });
  return mask;
}

/**
 * Zeroes everything whose absolute value is below a threshold.
 *
 * @param threshold - absolute, or in standard deviations of each weight (around its mean), as Han et al. do it
 * @see Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015
 */
export function thresholdMask(weights: Float32Array, threshold: number | { readonly deviations: number }): Uint8Array {
  const limit = typeof threshold === 'number' ? threshold : threshold.deviations * deviationOf(weights);
  const mask = new Uint8Array(weights.length);
  for (let i = 0; i < mask.length; i += 1) mask[i] = Math.abs(weights[i] ?? 0) < limit ? 0 : 1;
  return mask;
}

function deviationOf(weights: Float32Array): number {
  let sum = 0;
  for (const weight of weights) sum += weight;
  const mean = sum / weights.length;
  let squares = 0;
  for (const weight of weights) squares += (weight - mean) ** 2;
  return Math.sqrt(squares / weights.length);
}

/**
 * A layer without a single weight left computes a constant: the network behind it sees nothing of its input.
 *
 * @param remedy - what to do about it, in words
 * @param when - where it happens, as the beginning of the message
 * @throws CompressionError PASS_PRECONDITION naming the layers that the masks would empty
 */
export function checkNoneEmpty(targets: readonly WeightTarget[], masks: Masks, remedy: string, when = ''): void {
  const empty = targets.filter(({ name }) => masks.get(name)?.includes(1) === false);
  if (empty.length === 0) return;
  const named = empty.slice(0, 10).map((target) => `"${targetLabel(target)}" (${target.elements} weights)`);
  throw new CompressionError(
    'PASS_PRECONDITION',
    `${when}nothing would be left of ${named.join(', ')}${empty.length > 10 ? ` and ${empty.length - 10} more layers` : ''}; ${remedy}`,
  );
}
