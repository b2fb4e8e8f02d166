import type { OptimizerContext, OptimizerScalars, OptimizerSettings, Trained, Updated } from './optimizer.ts';

type Sgd = Extract<OptimizerSettings, { name: 'sgd' }>;

/**
 * Stochastic gradient descent in PyTorch's form: g += wd w; v = m v + g; w -= lr v, or w -= lr (g + m v) with Nesterov.
 * The velocity does not hold the learning rate, so a schedule takes effect at once.
 *
 * @see Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013
 */
export function sgd({ b, scalar }: OptimizerContext, settings: Sgd): (parameter: Trained) => Updated {
  const rate = scalar('learning_rate');
  const momentum = b.float('momentum', settings.momentum);
  const decay = b.float('weight_decay', settings.weightDecay);
  return (parameter) => {
    const { value, decays } = parameter;
    const gradient =
      decays && settings.weightDecay !== 0
        ? b.op('Add', [parameter.gradient, b.op('Mul', [value, decay])])
        : parameter.gradient;
    if (settings.momentum === 0) {
      return { value: b.op('Sub', [value, b.op('Mul', [gradient, rate])]), moments: new Map() };
    }
    const velocity = b.op('Add', [b.op('Mul', [parameter.moment('velocity'), momentum]), gradient]);
    const direction = settings.nesterov ? b.op('Add', [gradient, b.op('Mul', [velocity, momentum])]) : velocity;
    return {
      value: b.op('Sub', [value, b.op('Mul', [direction, rate])]),
      moments: new Map([['velocity', velocity]]),
    };
  };
}

export const SGD_SCALARS: OptimizerScalars = {
  names: ['learning_rate'],
  at: (_step, learningRate) => ({ learning_rate: learningRate }),
};
