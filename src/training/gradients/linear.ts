import { elementCount } from '../../onnx/nd-array.ts';
import type { GradientBuilder } from './gradient-builder.ts';
import type { ForwardNode, GradientRule } from './gradient-rule.ts';

/**
 * Y = A B: dA = dY Bᵀ [..,M,N]·[..,N,K] -> [..,M,K];  dB = Aᵀ dY [..,K,M]·[..,M,N] -> [..,K,N], summed over broadcast
 * batch axes. An operand of one axis is a row (A) or a column (B). With a matrix B the batch of A is laid into its rows:
 * one product instead of many and no sum. Giles 2008, section 2.2.1.
 */
export const matMulGradient: GradientRule = (node, b) => {
  const product = asMatrices(node, b);
  return productGradient(node, b, product);
};

interface Product {
  readonly a: string;
  readonly b: string;
  readonly dY: string;
}

function asMatrices(node: ForwardNode, b: GradientBuilder): Product {
  const [left, right] = [node.inputShape(0), node.inputShape(1)];
  const leftMatrix = left.length === 1 ? [1, ...left] : left;
  const rightMatrix = right.length === 1 ? [...right, 1] : right;
  const output = [...node.outputShape()];
  if (right.length === 1) output.push(1);
  if (left.length === 1) output.splice(-1, 0, 1);
  return {
    a: b.reshape(node.input(0), leftMatrix),
    b: b.reshape(node.input(1), rightMatrix),
    dY: b.reshape(node.gradient(), output),
  };
}

function productGradient(node: ForwardNode, b: GradientBuilder, product: Product): readonly (string | undefined)[] {
  const leftShape = b.shape(product.a);
  const rightShape = b.shape(product.b);
  let { a, dY } = product;
  if (rightShape.length === 2) {
    const rows = elementCount(leftShape.slice(0, -1));
    a = b.reshape(a, [rows, leftShape.at(-1) ?? 1]);
    dY = b.reshape(dY, [rows, rightShape[1] ?? 1]);
  }
  const dA = node.needs(0) ? b.matMul(dY, product.b, { b: true }) : undefined;
  const dB = node.needs(1) ? b.matMul(a, dY, { a: true }) : undefined;
  return [
    dA === undefined
      ? undefined
      : b.reshape(rightShape.length === 2 ? dA : b.unbroadcast(dA, leftShape), node.inputShape(0)),
    dB === undefined ? undefined : b.reshape(b.unbroadcast(dB, rightShape), node.inputShape(1)),
  ];
}

/** com.microsoft FusedMatMul: Y = alpha op(A) op(B), as Gemm with batches. Batch transposition (transBatchA/B) is refused. */
export const fusedMatMulGradient: GradientRule = (node, b) => {
  const [left, right] = [node.inputShape(0), node.inputShape(1)];
  if (left.length < 2 || right.length < 2) throw node.unsupported('an operand has fewer than two axes');
  if (node.node.int('transBatchA', 0) !== 0 || node.node.int('transBatchB', 0) !== 0) {
    throw node.unsupported('batch transposition has no gradient');
  }
  const dY = b.scale(node.gradient(), node.node.float('alpha', 1));
  const [dA, dB] = transposedProductGradients(node, b, dY);
  return [
    dA === undefined ? undefined : b.unbroadcast(dA, left),
    dB === undefined ? undefined : b.unbroadcast(dB, right),
  ];
};

/**
 * Y = alpha op(A) op(B) + beta C, op transposing where transA, transB say so. With D = alpha dY:
 * NN dA = D Bᵀ, dB = Aᵀ D; NT dA = D B, dB = Dᵀ A; TN dA = B Dᵀ, dB = A D; TT dA = Bᵀ Dᵀ, dB = Dᵀ Aᵀ; dC = beta sum(dY).
 */
export const gemmGradient: GradientRule = (node, b) => {
  const dY = node.gradient();
  const [dA, dB] = transposedProductGradients(node, b, b.scale(dY, node.node.float('alpha', 1)));
  const dC = (): string => b.scale(b.unbroadcast(dY, node.inputShape(2)), node.node.float('beta', 1));
  return [dA, dB, node.needs(2) ? dC() : undefined];
};

function transposedProductGradients(
  node: ForwardNode,
  b: GradientBuilder,
  dY: string,
): readonly [string | undefined, string | undefined] {
  const [A, B] = [node.input(0), node.input(1)];
  const transA = node.node.int('transA', 0) !== 0;
  const transB = node.node.int('transB', 0) !== 0;
  const dA = (): string => (transA ? b.matMul(B, dY, { a: transB, b: true }) : b.matMul(dY, B, { b: !transB }));
  const dB = (): string => (transB ? b.matMul(dY, A, { a: true, b: transA }) : b.matMul(A, dY, { a: !transA }));
  return [node.needs(0) ? dA() : undefined, node.needs(1) ? dB() : undefined];
}

/**
 * Einsum with explicit or implicit output: the gradient at one operand is the Einsum of dY with the other operands; an
 * index that only this operand has was summed, so dY is spread along it by ones.
 */
export const einsumGradient: GradientRule = (node, b) => {
  const equation = node.node.string('equation', '').replaceAll(/\s/g, '');
  if (equation.includes('.'))
    throw node.unsupported('an ellipsis in its equation has no gradient rule; write all indices');
  const [left = '', right] = equation.split('->');
  const terms = left.split(',');
  const letters = Array.from(left.replaceAll(',', ''));
  const output =
    right ??
    letters
      .filter((letter, at) => letters.indexOf(letter) === at && letters.lastIndexOf(letter) === at)
      .sort()
      .join('');
  return terms.map((term, index) => {
    if (!node.needs(index)) return undefined;
    if (new Set(term).size !== term.length) throw node.unsupported(`operand ${index} reads a diagonal ("${term}")`);
    const operands = [node.gradient()];
    const inputs = [output];
    terms.forEach((other, at) => {
      if (at === index) return;
      operands.push(node.input(at));
      inputs.push(other);
    });
    const own = Array.from(term).filter((letter) => !inputs.some((known) => known.includes(letter)));
    if (own.length > 0) {
      const shape = own.map((letter) => node.inputShape(index)[term.indexOf(letter)] ?? 1);
      operands.push(b.expand(b.scalar(1, node.gradient()), shape));
      inputs.push(own.join(''));
    }
    return b.op('Einsum', operands, { equation: `${inputs.join(',')}->${term}` });
  });
};
