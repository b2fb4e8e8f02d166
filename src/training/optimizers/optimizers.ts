import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import { adam, adamScalars } from './adam.ts';
import type { OptimizerContext, OptimizerScalars, OptimizerSettings, Trained, Updated } from './optimizer.ts';
import { SGD_SCALARS, sgd } from './sgd.ts';

/** Writes what the optimizer needs once, and gives the function that writes the update of one parameter. */
export function optimizerFragment(
  context: OptimizerContext,
  settings: OptimizerSettings,
): (parameter: Trained) => Updated {
  return settings.name === 'sgd' ? sgd(context, settings) : adam(context, settings);
}

export function optimizerScalars(settings: OptimizerSettings): OptimizerScalars {
  return settings.name === 'sgd' ? SGD_SCALARS : adamScalars(settings);
}

/** As torch.nn.utils.clip_grad_norm_: keeps the quotient finite where all gradients are 0. */
const CLIP_EPSILON = 1e-6;

/**
 * Scales all gradients so that their common 2-norm is at most `limit`.
 *
 * @returns the norm before clipping, and the gradients in their order
 * @see Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013
 */
export function clipByGlobalNorm(
  b: GraphBuilder,
  gradients: readonly string[],
  limit: number,
): { readonly norm: string; readonly gradients: readonly string[] } {
  const squares = gradients.map((gradient) => b.op('ReduceSumSquare', [gradient], { attributes: { keepdims: 0 } }));
  const norm = b.op('Sqrt', [squares.length === 1 ? (squares[0] ?? '') : b.op('Sum', squares)], {
    name: 'global_norm',
  });
  const quotient = b.op('Div', [b.float('clip_norm', limit), b.op('Add', [norm, b.float('epsilon', CLIP_EPSILON)])]);
  const factor = b.op('Min', [quotient, b.float('one', 1)]);
  return { norm, gradients: gradients.map((gradient) => b.op('Mul', [gradient, factor])) };
}
