import type { GradientBuilder } from './gradient-builder.ts';
import type { ForwardNode, GradientRule } from './gradient-rule.ts';

/** Gradients of two broadcast operands, each written only when asked for and summed back to its operand's shape. */
function binary(
  left: (node: ForwardNode, b: GradientBuilder) => string,
  right: (node: ForwardNode, b: GradientBuilder) => string,
): GradientRule {
  return (node, b) => [
    node.needs(0) ? b.unbroadcast(left(node, b), node.inputShape(0)) : undefined,
    node.needs(1) ? b.unbroadcast(right(node, b), node.inputShape(1)) : undefined,
  ];
}

/** Y = A + B: dA = dY, dB = dY. */
export const addGradient = binary(
  (node) => node.gradient(),
  (node) => node.gradient(),
);

/** Y = A - B: dA = dY, dB = -dY. */
export const subGradient: GradientRule = (node, b) => [
  node.needs(0) ? b.unbroadcast(node.gradient(), node.inputShape(0)) : undefined,
  // Negated after the sum: a bias is smaller than what it is subtracted from.
  node.needs(1) ? b.op('Neg', [b.unbroadcast(node.gradient(), node.inputShape(1))]) : undefined,
];

/** Y = A B (elementwise): dA = dY B, dB = dY A. */
export const mulGradient = binary(
  (node, b) => b.mul(node.gradient(), node.input(1)),
  (node, b) => b.mul(node.gradient(), node.input(0)),
);

/** Y = A / B: dA = dY / B, dB = -dY Y / B. */
export const divGradient = binary(
  (node, b) => b.div(node.gradient(), node.input(1)),
  (node, b) => b.op('Neg', [b.div(b.mul(node.gradient(), node.output()), node.input(1))]),
);

/**
 * Y = X^E: dX = dY E X^(E-1), 0 where E = 0 (X^(E-1) may be infinite there); dE = dY Y ln X, 0 where X <= 0 (PyTorch has
 * the same limit at X = 0 for E > 0; for X < 0 the function is defined at integers only).
 */
export const powGradient: GradientRule = (node, b) => {
  const [x, e, dY] = [node.input(0), node.input(1), node.gradient()];
  let dX: string | undefined;
  if (node.needs(0)) {
    const exponent = b.types.constant(e);
    const [first] = exponent ?? [];
    const isUniform = first !== undefined && exponent?.every((value) => value === first) === true;
    if (isUniform && first === 2) dX = b.mul(dY, b.scale(x, 2));
    else {
      const slope = b.mul(e, b.op('Pow', [x, b.shift(e, -1)]));
      const isZero = b.op('Equal', [e, b.scalar(0, e)]);
      dX = b.mul(dY, isUniform && first !== 0 ? slope : b.where(isZero, b.scalar(0, e), slope));
    }
    dX = b.unbroadcast(dX, node.inputShape(0));
  }
  let dE: string | undefined;
  if (node.needs(1)) {
    const isPositive = b.greater(x, 0);
    const logarithm = b.op('Log', [b.where(isPositive, x, b.scalar(1, x))]);
    dE = b.unbroadcast(b.mul(b.mul(dY, node.output()), logarithm), node.inputShape(1));
  }
  return [dX, dE];
};

/** Y = sum of the inputs (broadcast): each gets dY. */
export const sumGradient: GradientRule = (node, b) =>
  node.node.inputs.map((_, index) =>
    node.needs(index) ? b.unbroadcast(node.gradient(), node.inputShape(index)) : undefined,
  );

/** Y = mean of n inputs: each gets dY / n. */
export const meanGradient: GradientRule = (node, b) => {
  const share = b.scale(node.gradient(), 1 / node.node.inputs.length);
  return node.node.inputs.map((_, index) =>
    node.needs(index) ? b.unbroadcast(share, node.inputShape(index)) : undefined,
  );
};

/** Y = max or min of the inputs: dXi = dY where Xi = Y, split evenly where several are equal. */
export const extremumGradient: GradientRule = (node, b) => {
  const dY = node.gradient();
  if (node.node.inputs.length === 1) return [dY];
  const masks = node.node.inputs.map((input) => b.mask(b.op('Equal', [input, node.output()]), dY));
  const share = b.div(dY, b.op('Sum', masks));
  return masks.map((mask, index) =>
    node.needs(index) ? b.unbroadcast(b.mul(mask, share), node.inputShape(index)) : undefined,
  );
};

/** Y = where(C, A, B): dA = where(C, dY, 0), dB = where(C, 0, dY), each summed back to its operand's shape. */
export const whereGradient: GradientRule = (node, b) => {
  const [condition, dY] = [node.input(0), node.gradient()];
  const zero = b.scalar(0, dY);
  return [
    undefined,
    node.needs(1) ? b.unbroadcast(b.where(condition, dY, zero), node.inputShape(1)) : undefined,
    node.needs(2) ? b.unbroadcast(b.where(condition, zero, dY), node.inputShape(2)) : undefined,
  ];
};
