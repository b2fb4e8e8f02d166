import type { DataType } from '../data-type.ts';
import type { Shape } from '../value-type.ts';
import {
  InferenceConflict,
  broadcastShapes,
  sameSize,
  showShape,
  tensor,
  type InferRule,
  type RuleContext,
} from './rule.ts';

/** numpy.matmul: 1-D operands get an axis that the result loses again; leading axes broadcast. */
export function matMulShape(
  context: RuleContext,
  left: Shape | undefined,
  right: Shape | undefined,
): Shape | undefined {
  if (left === undefined || right === undefined) return undefined;
  if (left.length === 0 || right.length === 0) {
    throw new InferenceConflict(`MatMul needs rank 1 or more, got ${showShape(left)} and ${showShape(right)}`);
  }
  const [inner, rightInner] = [left.at(-1) ?? null, (right.length === 1 ? right[0] : right.at(-2)) ?? null];
  if (typeof inner === 'number' && typeof rightInner === 'number' && inner !== rightInner) {
    throw new InferenceConflict(
      `inner sizes differ: ${showShape(left)} x ${showShape(right)} (K = ${inner} and ${rightInner})`,
    );
  }
  const batch = broadcastShapes(context.symbols, [left.slice(0, -2), right.slice(0, -2)]) ?? [];
  const rows = left.length > 1 ? [left.at(-2) ?? null] : [];
  const columns = right.length > 1 ? [right.at(-1) ?? null] : [];
  return [...batch, ...rows, ...columns];
}

/** A MatMul whose operands are inputs `left` and `right`; the result has `type`, or the type of the first operand. */
export function matMul(left: number, right: number, type?: DataType): InferRule {
  return (context) => [
    tensor(type ?? context.elementType(left), matMulShape(context, context.shape(left), context.shape(right))),
  ];
}

/** Gemm: A' [M, K] x B' [K, N] (+ C) -> [M, N]. */
export const gemm: InferRule = (context) => [tensor(context.elementType(0), gemmShape(context, 0, 1))];

export function gemmShape(context: RuleContext, leftIndex: number, rightIndex: number): Shape | undefined {
  const [left, right] = [context.shape(leftIndex), context.shape(rightIndex)];
  for (const shape of [left, right]) {
    if (shape !== undefined && shape.length !== 2)
      throw new InferenceConflict(`Gemm needs rank 2, got ${showShape(shape)}`);
  }
  const [a, b] = [
    oriented(left, context.node.int('transA', 0) !== 0),
    oriented(right, context.node.int('transB', 0) !== 0),
  ];
  sameSize(a?.[1] ?? null, b?.[0] ?? null, `K of ${showShape(left)} x ${showShape(right)}`);
  return a === undefined && b === undefined ? undefined : [a?.[0] ?? null, b?.[1] ?? null];
}

function oriented(shape: Shape | undefined, transposed: boolean): Shape | undefined {
  return shape !== undefined && transposed ? [shape[1] ?? null, shape[0] ?? null] : shape;
}

/** Det: drops the last two axes. */
export const determinant: InferRule = (context) => [tensor(context.elementType(0), context.shape(0)?.slice(0, -2))];
