import type { Node } from '../../../onnx/node.ts';

/**
 * What an axis of a weight is to the layer that reads it: `output` channels it makes, `input` channels it reads, `scale` of
 * a normalization, or `other` (biases, statistics, slopes, constants that are added).
 */
export type WeightRole = 'output' | 'input' | 'scale' | 'other';

const CONVOLUTIONS = /^(Conv|Adder2D|ConvInteger)$/;
const NORMALIZATIONS = /^(BatchNormalization|InstanceNormalization|GroupNormalization|LayerNormalization)$/;

export function roleOf(
  { opType, attributes }: Node,
  input: number,
  { at, rank }: { readonly at: number; readonly rank: number },
): WeightRole {
  if (CONVOLUTIONS.test(opType) && input === 1) return at === 0 ? 'output' : at === 1 ? 'input' : 'other';
  if (opType === 'ConvTranspose' && input === 1) return at === 1 ? 'output' : at === 0 ? 'input' : 'other';
  if (opType === 'Gemm' && input === 1) {
    const transB = attributes.get('transB');
    const isTransposed = transB?.kind === 'int' && transB.value !== 0n;
    return (at === 0) === isTransposed ? 'output' : 'input';
  }
  if (opType === 'MatMul' && input === 1) return at === rank - 1 ? 'output' : at === rank - 2 ? 'input' : 'other';
  if (opType === 'MatMul' && input === 0) return at === rank - 2 ? 'output' : at === rank - 1 ? 'input' : 'other';
  if (opType === 'Gather' && input === 0 && at === rank - 1) return 'output';
  if (NORMALIZATIONS.test(opType) && input === 1) return 'scale';
  return 'other';
}
