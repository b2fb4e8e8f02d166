import type { GradientBuilder } from './gradient-builder.ts';
import type { ForwardNode, GradientRule } from './gradient-rule.ts';

/** dX = dY f'(X), f' as a factor. */
function times(derivative: (node: ForwardNode, b: GradientBuilder) => string): GradientRule {
  return (node, b) => [b.mul(node.gradient(), derivative(node, b))];
}

/** Y = max(X, 0): dX = dY (Y > 0); the gradient at 0 is 0. A mask and a product take half the time of Where (measured). */
export const reluGradient = times((node, b) => b.positiveMask(node.output()));

/** Y = X where X > 0, else aX: dX = dY where X > 0, else a dY. */
export const leakyReluGradient: GradientRule = (node, b) => {
  const dY = node.gradient();
  const slope = node.node.float('alpha', 0.01);
  return [b.where(b.greater(node.input(0), 0), dY, b.scale(dY, slope))];
};

/** Y = X where X > 0, else S X: dX = dY where X > 0, else S dY; dS = sum of dY min(X, 0). */
export const pReluGradient: GradientRule = (node, b) => {
  const [x, slope, dY] = [node.input(0), node.input(1), node.gradient()];
  const dX = node.needs(0) ? b.where(b.greater(x, 0), dY, b.mul(dY, slope)) : undefined;
  const dSlope = (): string => b.unbroadcast(b.mul(dY, b.op('Min', [x, b.scalar(0, x)])), node.inputShape(1));
  return [dX, node.needs(1) ? dSlope() : undefined];
};

/**
 * Y = min(max(X, lo), hi): dX = dY (lo <= X <= hi). Inclusive as in PyTorch, so that weights at a bound still learn.
 * The bounds get no gradient where they are constants; as values they get what was clipped.
 */
export const clipGradient: GradientRule = (node, b) => {
  const [x, dY] = [node.input(0), node.gradient()];
  if (!node.needs(1) && !node.needs(2)) return [b.mul(dY, b.mask(b.op('Equal', [x, node.output()]), dY))];
  const below = node.has(1) ? b.mask(b.op('Less', [x, node.input(1)]), dY) : undefined;
  const above = node.has(2) ? b.mask(b.op('Greater', [x, node.input(2)]), dY) : undefined;
  const outside = below !== undefined && above !== undefined ? b.add(below, above) : (below ?? above);
  const inside = outside === undefined ? undefined : b.sub(b.scalar(1, dY), outside);
  const clipped = (mask: string | undefined): string | undefined =>
    mask === undefined ? undefined : b.unbroadcast(b.mul(dY, mask), []);
  return [
    inside === undefined ? dY : b.mul(dY, inside),
    node.needs(1) ? clipped(below) : undefined,
    node.needs(2) ? clipped(above) : undefined,
  ];
};

/** Y = 1 / (1 + e^-X): dX = dY Y (1 - Y). */
export const sigmoidGradient = times((node, b) =>
  b.mul(node.output(), b.sub(b.scalar(1, node.output()), node.output())),
);

/** Y = tanh X: dX = dY (1 - Y^2). */
export const tanhGradient = times((node, b) => b.sub(b.scalar(1, node.output()), b.mul(node.output(), node.output())));

/** Y = e^X: dX = dY Y. */
export const expGradient = times((node) => node.output());

/** Y = ln X: dX = dY / X. */
export const logGradient: GradientRule = (node, b) => [b.div(node.gradient(), node.input(0))];

/** Y = sqrt X: dX = dY / (2 Y). */
export const sqrtGradient: GradientRule = (node, b) => [b.div(b.scale(node.gradient(), 0.5), node.output())];

/** Y = |X|: dX = dY sign X. */
export const absGradient = times((node, b) => b.op('Sign', [node.input(0)]));

/** Y = -X: dX = -dY. */
export const negGradient: GradientRule = (node, b) => [b.op('Neg', [node.gradient()])];

/** Y = 1 / X: dX = -dY Y^2. */
export const reciprocalGradient = times((node, b) => b.op('Neg', [b.mul(node.output(), node.output())]));

/** Y = erf X: dX = dY 2 / sqrt(pi) e^(-X^2). */
export const erfGradient = times((node, b) => {
  const x = node.input(0);
  return b.scale(b.op('Exp', [b.op('Neg', [b.mul(x, x)])]), 2 / Math.sqrt(Math.PI));
});

/** Y = sin X: dX = dY cos X. */
export const sinGradient = times((node, b) => b.op('Cos', [node.input(0)]));

/** Y = cos X: dX = -dY sin X. */
export const cosGradient = times((node, b) => b.op('Neg', [b.op('Sin', [node.input(0)])]));

/** Y = atan X: dX = dY / (1 + X^2). */
export const atanGradient: GradientRule = (node, b) => {
  const x = node.input(0);
  return [b.div(node.gradient(), b.shift(b.mul(x, x), 1))];
};

/** Y = ln(1 + e^X): dX = dY sigmoid X. */
export const softplusGradient = times((node, b) => b.op('Sigmoid', [node.input(0)]));

/** Y = X / (1 + |X|): dX = dY / (1 + |X|)^2. */
export const softsignGradient: GradientRule = (node, b) => {
  const denominator = b.shift(b.op('Abs', [node.input(0)]), 1);
  return [b.div(node.gradient(), b.mul(denominator, denominator))];
};

/** Y = X where X > 0, else a (e^X - 1): dX = dY where X > 0, else dY (Y + a). */
export const eluGradient: GradientRule = (node, b) => {
  const [y, dY] = [node.output(), node.gradient()];
  const negative = b.mul(dY, b.shift(y, node.node.float('alpha', 1)));
  return [b.where(b.greater(node.input(0), 0), dY, negative)];
};

/** Y = max(X, 0) + min(0, a (e^(X/a) - 1)): dX = dY where X > 0, else dY e^(X/a) = dY (Y/a + 1). */
export const celuGradient: GradientRule = (node, b) => {
  const dY = node.gradient();
  const negative = b.mul(dY, b.shift(b.scale(node.output(), 1 / node.node.float('alpha', 1)), 1));
  return [b.where(b.greater(node.input(0), 0), dY, negative)];
};

/** Y = g X where X > 0, else g a (e^X - 1): dX = g dY where X > 0, else dY (Y + g a). Klambauer et al. 2017, eq. 2. */
export const seluGradient: GradientRule = (node, b) => {
  const [y, dY] = [node.output(), node.gradient()];
  const alpha = node.node.float('alpha', 1.67326319217681884765625);
  const gamma = node.node.float('gamma', 1.05070102214813232421875);
  const negative = b.mul(dY, b.shift(y, gamma * alpha));
  return [b.where(b.greater(node.input(0), 0), b.scale(dY, gamma), negative)];
};

/** Y = X where X > a, else 0: dX = dY (X > a). */
export const thresholdedReluGradient = times((node, b) =>
  b.mask(b.greater(node.input(0), node.node.float('alpha', 1)), node.gradient()),
);

/** Y = clip(a X + c, 0, 1): dX = a dY (0 < Y < 1). */
export const hardSigmoidGradient = times((node, b) => {
  const [y, dY] = [node.output(), node.gradient()];
  const inside = b.op('And', [b.greater(y, 0), b.less(y, 1)]);
  return b.scale(b.mask(inside, dY), node.node.float('alpha', 0.2));
});

/** Y = X clip(X/6 + 1/2, 0, 1): dX = dY times 0 for X <= -3, 1 for X >= 3, else X/3 + 1/2. Howard et al. 2019, section 5.2. */
export const hardSwishGradient = times((node, b) => {
  const x = node.input(0);
  const middle = b.shift(b.scale(x, 1 / 3), 0.5);
  const upper = b.mask(b.op('GreaterOrEqual', [x, b.scalar(3, x)]), x);
  return b.where(b.op('Less', [b.op('Abs', [x]), b.scalar(3, x)]), middle, upper);
});

/**
 * Y = X Phi(X): dX = dY (Phi(X) + X phi(X)), phi(X) = e^(-X^2/2) / sqrt(2 pi); with approximate="tanh",
 * t = tanh(c (X + .044715 X^3)), c = sqrt(2/pi): dX = dY (.5 (1 + t) + .5 X (1 - t^2) c (1 + 3 * .044715 X^2)).
 * Hendrycks & Gimpel 2016, section 2.
 */
export const geluGradient: GradientRule = (node, b) => {
  const isTanh = node.node.string('approximate', 'none') === 'tanh';
  return [b.mul(node.gradient(), isTanh ? tanhGeluSlope(node.input(0), b) : geluSlope(node.input(0), b))];
};

/** com.microsoft BiasGelu: Y = gelu(X + B). */
export const biasGeluGradient: GradientRule = (node, b) => {
  const gradient = b.mul(node.gradient(), geluSlope(b.add(node.input(0), node.input(1)), b));
  return [gradient, node.needs(1) ? b.unbroadcast(gradient, node.inputShape(1)) : undefined];
};

/** com.microsoft FastGelu: the tanh form of gelu(X + B), B optional. */
export const fastGeluGradient: GradientRule = (node, b) => {
  const x = node.has(1) ? b.add(node.input(0), node.input(1)) : node.input(0);
  const gradient = b.mul(node.gradient(), tanhGeluSlope(x, b));
  return [gradient, node.needs(1) ? b.unbroadcast(gradient, node.inputShape(1)) : undefined];
};

function geluSlope(x: string, b: GradientBuilder): string {
  const cdf = b.scale(b.shift(b.op('Erf', [b.scale(x, Math.SQRT1_2)]), 1), 0.5);
  const density = b.scale(b.op('Exp', [b.scale(b.mul(x, x), -0.5)]), 1 / Math.sqrt(2 * Math.PI));
  return b.add(cdf, b.mul(x, density));
}

function tanhGeluSlope(x: string, b: GradientBuilder): string {
  const c = Math.sqrt(2 / Math.PI);
  const square = b.mul(x, x);
  const t = b.op('Tanh', [b.mul(x, b.shift(b.scale(square, c * 0.044715), c))]);
  const inner = b.shift(b.scale(square, 3 * 0.044715 * c), c);
  const bell = b.sub(b.scalar(1, t), b.mul(t, t));
  return b.scale(b.add(b.shift(t, 1), b.mul(b.mul(x, bell), inner)), 0.5);
}

/** Swish (alpha) and com.microsoft QuickGelu: s = sigmoid(a X), Y = X s: dX = dY (s + a Y (1 - s)). */
export const swishGradient =
  (defaultAlpha: number): GradientRule =>
  (node, b) => {
    const alpha = node.node.float('alpha', defaultAlpha);
    const s = b.op('Sigmoid', [b.scale(node.input(0), alpha)]);
    const slope = b.add(s, b.scale(b.mul(node.output(), b.sub(b.scalar(1, s), s)), alpha));
    return [b.mul(node.gradient(), slope)];
  };

/** Y = X t, t = tanh(softplus X): dX = dY (t + X (1 - t^2) sigmoid X). Misra 2019, section 3. */
export const mishGradient = times((node, b) => {
  const x = node.input(0);
  const t = b.op('Tanh', [b.op('Softplus', [x])]);
  const slope = b.mul(b.sub(b.scalar(1, t), b.mul(t, t)), b.op('Sigmoid', [x]));
  return b.add(t, b.mul(x, slope));
});

/** Straight-through: rounding has derivative 0 almost everywhere, so dX = dY. Bengio et al. 2013, section 3.1. */
export const straightThroughGradient: GradientRule = (node) => [node.gradient()];

/** Y = sign X, straight-through within the linear zone: dX = dY (|X| <= 1). Hubara et al. 2016, eq. 4. */
export const signGradient = times((node, b) => {
  const x = node.input(0);
  return b.mask(b.op('LessOrEqual', [b.op('Abs', [x]), b.scalar(1, x)]), node.gradient());
});

/** Y = X. */
export const identityGradient: GradientRule = (node) => [node.gradient()];

/** Y = X in another float type: dX = dY cast back. */
export const castGradient: GradientRule = (node, b) => {
  if (!b.types.isFloat(node.input(0)))
    throw node.unsupported('it reads quantized integers as they are; use DequantizeLinear');
  return [b.op('CastLike', [node.gradient(), node.input(0)])];
};

/**
 * Y = M X / (1 - p) in training mode, with the mask that the forward pass drew; Y = X otherwise. The seed attribute fixes
 * the mask for all runs: a trainer that wants fresh masks feeds one and multiplies.
 */
export const dropoutGradient: GradientRule = (node, b) => {
  const dY = node.gradient();
  const isTraining = node.has(2) && b.types.constant(node.input(2))?.[0] !== 0;
  if (!isTraining) return [dY];
  const kept = b.optionalOutput(node.node, 1, { elementType: 'bool', shape: node.outputShape() });
  const mask = b.op('CastLike', [kept, dY]);
  if (!node.has(1)) return [b.mul(dY, b.scale(mask, 2))];
  return [b.div(b.mul(dY, mask), b.sub(b.scalar(1, node.input(1)), node.input(1)))];
};
