import type { InputMoments } from '../../layer-inputs/input-moments.ts';
import type { MatrixLayout } from '../../layer-inputs/weight-targets.ts';
import { diagonalOf, type LayerWeight } from './gptq-rows.ts';
import { outputEnergy, rowsToTensor } from './output-error.ts';
import { dequantizeRows, type BlockScheme } from './quantized-rows.ts';
import { rowsOf } from './read-rows.ts';
import { rtnRows } from './rtn.ts';

const RATIOS = 20;
const SMALLEST = 1e-4;
/** Multiplications that the loss of one ratio may take in one layer: there are twenty of them to compare. */
const MULTIPLICATIONS = 2 ** 22;

export interface AwqChoice {
  /** s of each input channel: the weights are multiplied by it, the inputs divided. */
  readonly scales: Float64Array;
  readonly ratio: number;
}

/**
 * Chooses how far weights of strong input channels are enlarged before they are rounded, so that they lose less:
 * s = strength^ratio, normalized so that sqrt(max s * min s) = 1, for the ratio of 0, 1/20 … 19/20 with the least squared change of
 * the layers' outputs. Strength is the root mean square of a channel (the paper has the mean size).
 *
 * @param weights - layers that read one value: they share s
 * @param moments - of that value
 * @returns undefined when the weights as they are do best
 * @see Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration", MLSys 2024, section 3.2
 */
export function awqScales(
  weights: readonly LayerWeight[],
  moments: InputMoments,
  scheme: BlockScheme,
): AwqChoice | undefined {
  const { columns } = moments;
  const strength = diagonalOf(moments.groups[0] ?? new Float64Array(0), columns).map(Math.sqrt);
  let best: AwqChoice | undefined;
  let least = Infinity;
  for (let step = 0; step < RATIOS; step += 1) {
    const ratio = step / RATIOS;
    const scales = normalized(strength.map((value) => Math.max(value ** ratio, SMALLEST)));
    const loss = weights.reduce((sum, weight) => sum + lossOf(weight, scales, { moments, scheme }), 0);
    if (loss >= least) continue;
    least = loss;
    best = step === 0 ? undefined : { scales, ratio };
  }
  return best;
}

function normalized(scales: Float64Array): Float64Array {
  const middle = Math.sqrt(
    scales.reduce((a, b) => Math.max(a, b), 0) * scales.reduce((a, b) => Math.min(a, b), Infinity),
  );
  return scales.map((scale) => scale / middle);
}

/** Squared change of the outputs when the weights are rounded enlarged and made small again. */
function lossOf(
  { values, view, layout }: LayerWeight,
  scales: Float64Array,
  { moments, scheme }: { readonly moments: InputMoments; readonly scheme: BlockScheme },
): number {
  const enlarged = values.map((value, i) => value * (scales[inputOf(i, layout)] ?? 1));
  const restored = rowsToTensor(dequantizeRows(rtnRows(rowsOf(enlarged, view), view, scheme), view), view);
  return outputEnergy(
    restored.map((value, i) => value / (scales[inputOf(i, layout)] ?? 1) - (values[i] ?? 0)),
    layout,
    moments,
    MULTIPLICATIONS,
  );
}

/** The input channel that an element of a matrix meets. */
export function inputOf(element: number, { inputs, inputStride }: MatrixLayout): number {
  return Math.floor(element / inputStride) % inputs;
}
