import type { InputMoments } from '../../layer-inputs/input-moments.ts';
import type { Scores } from './element-scores.ts';
import { ALREADY_ZERO } from './element-scores.ts';
import { groupMatrix, putGroup } from '../../layer-inputs/weight-matrix.ts';
import type { MatrixLayout } from '../../layer-inputs/weight-targets.ts';

/**
 * |w_ij| ||x_j||: how much an output loses with a weight, by the inputs it has seen. In the tensor's element order.
 *
 * @param moments - squares of the inputs
 * @see Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", ICLR 2024
 */
export function wandaScores(weights: Float32Array, layout: MatrixLayout, moments: InputMoments): Scores {
  const scores = new Float64Array(weights.length);
  for (const [group, squares] of moments.groups.entries()) {
    const { rows, columns, data } = groupMatrix(weights, layout, group);
    for (let row = 0; row < rows; row += 1) {
      for (let c = 0; c < columns; c += 1) {
        const weight = data[row * columns + c] ?? 0;
        data[row * columns + c] = weight === 0 ? ALREADY_ZERO : Math.abs(weight) * Math.sqrt(squares[c] ?? 0);
      }
    }
    putGroup(scores, data, layout, group);
  }
  return scores;
}
