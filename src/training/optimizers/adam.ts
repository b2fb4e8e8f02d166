import type { OptimizerContext, OptimizerScalars, OptimizerSettings, Trained, Updated } from './optimizer.ts';

type Adam = Extract<OptimizerSettings, { name: 'adam' | 'adamw' }>;

/**
 * Adam, and AdamW (decay taken off the parameter itself, not put into the gradient), in PyTorch's form:
 * m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps).
 *
 * @see Kingma and Ba, "Adam", ICLR 2015; Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019
 */
export function adam({ b, scalar }: OptimizerContext, settings: Adam): (parameter: Trained) => Updated {
  const stepSize = scalar('step_size');
  const rootScale = scalar('second_moment_scale');
  const keep = settings.name === 'adamw' && settings.weightDecay !== 0 ? scalar('decay_factor') : '';
  const constants = {
    beta1: b.float('beta1', settings.beta1),
    rest1: b.float('one_minus_beta1', 1 - settings.beta1),
    beta2: b.float('beta2', settings.beta2),
    rest2: b.float('one_minus_beta2', 1 - settings.beta2),
    epsilon: b.float('adam_epsilon', settings.epsilon),
    decay: b.float('weight_decay', settings.weightDecay),
  };
  return (parameter) => {
    const decays = parameter.decays && settings.weightDecay !== 0;
    const gradient =
      decays && keep === ''
        ? b.op('Add', [parameter.gradient, b.op('Mul', [parameter.value, constants.decay])])
        : parameter.gradient;
    const value = decays && keep !== '' ? b.op('Mul', [parameter.value, keep]) : parameter.value;
    const first = b.op('Add', [
      b.op('Mul', [parameter.moment('first_moment'), constants.beta1]),
      b.op('Mul', [gradient, constants.rest1]),
    ]);
    const square = b.op('Mul', [gradient, gradient]);
    const second = b.op('Add', [
      b.op('Mul', [parameter.moment('second_moment'), constants.beta2]),
      b.op('Mul', [square, constants.rest2]),
    ]);
    const root = b.op('Add', [b.op('Mul', [b.op('Sqrt', [second]), rootScale]), constants.epsilon]);
    const step = b.op('Mul', [b.op('Div', [first, root]), stepSize]);
    return {
      value: b.op('Sub', [value, step]),
      moments: new Map([
        ['first_moment', first],
        ['second_moment', second],
      ]),
    };
  };
}

export function adamScalars(settings: Adam): OptimizerScalars {
  const decoupled = settings.name === 'adamw' && settings.weightDecay !== 0;
  return {
    names: ['step_size', 'second_moment_scale', ...(decoupled ? ['decay_factor'] : [])],
    at: (step, learningRate) => ({
      step_size: learningRate / (1 - settings.beta1 ** step),
      second_moment_scale: 1 / Math.sqrt(1 - settings.beta2 ** step),
      ...(decoupled ? { decay_factor: 1 - learningRate * settings.weightDecay } : {}),
    }),
  };
}
