import { dataTypeOfCode } from '../data-type.ts';
import type { Dimension } from '../value-type.ts';
import { InferenceConflict, broadcastShapes, tensor, type InferRule, type RuleContext } from './rule.ts';
import { convertElement, expandElements, type BinaryOperation, type UnaryOperation } from './value-arithmetic.ts';

/** Same type and shape as input 0; `operation` follows tracked elements. */
export function unary(operation?: UnaryOperation): InferRule {
  return (context) => {
    const type = context.elementType(0);
    const values =
      operation === undefined || type === undefined
        ? undefined
        : context.values(0)?.map((value) => operation(value, type));
    return [tensor(type, context.shape(0), values)];
  };
}

/** Type and shape of input 0 alone: activations, PRelu, normalizations that keep the shape. */
export const sameAsFirst: InferRule = unary();

/** Input 0 as it is, whatever its kind (tensor, sequence, optional). */
export const identity: InferRule = (context) => [context.input(0)];

/** Same shape as input 0, element type bool (IsNaN, IsInf). */
export const predicate: InferRule = (context) => [tensor('bool', context.shape(0))];

/** Broadcast of both inputs, which share their element type. */
export function binary(operation?: BinaryOperation): InferRule {
  return (context) => {
    requireSameType(context, [0, 1]);
    const type = context.elementType(0) ?? context.elementType(1);
    return [tensor(type, pairShape(context), operatedValues(context, operation))];
  };
}

/** Broadcast of both inputs with bool result. */
export function comparison(operation?: BinaryOperation): InferRule {
  return (context) => {
    requireSameType(context, [0, 1]);
    return [tensor('bool', pairShape(context), operatedValues(context, operation))];
  };
}

/** Broadcast of any number of inputs (Sum, Mean, Max, Min). */
export function variadic(operation?: BinaryOperation): InferRule {
  return (context) => {
    const indices = context.node.inputs.map((_, index) => index);
    requireSameType(context, indices);
    const shape = broadcastShapes(
      context.symbols,
      indices.map((index) => context.shape(index)),
    );
    const values =
      indices.length === 2 ? operatedValues(context, operation) : indices.length === 1 ? context.values(0) : undefined;
    return [tensor(context.elementType(0), shape, values)];
  };
}

/** Pow, BitShift: the type of the first input, both shapes broadcast. */
export const broadcastKeepingType: InferRule = (context) => [tensor(context.elementType(0), pairShape(context))];

export const where: InferRule = (context) => {
  requireSameType(context, [1, 2]);
  const shapes = [context.shape(0), context.shape(1), context.shape(2)];
  const shape = broadcastShapes(context.symbols, shapes);
  const [condition, yes, no] = [0, 1, 2].map((index) => expandElements(context.values(index), shapes[index], shape));
  const select = (chosen: Dimension, at: number): Dimension => {
    const [left, right] = [yes?.[at] ?? null, no?.[at] ?? null];
    if (typeof chosen === 'number') return chosen !== 0 ? left : right;
    return left === right ? left : null;
  };
  const values = yes === undefined || no === undefined ? undefined : condition?.map(select);
  return [tensor(context.elementType(1) ?? context.elementType(2), shape, values)];
};

export const cast: InferRule = (context) => {
  const code = context.node.int('to', 0);
  const to = dataTypeOfCode(code);
  if (to === undefined) throw new InferenceConflict(`attribute to = ${code} is no ONNX element type`);
  return [
    tensor(
      to,
      context.shape(0),
      context.values(0)?.map((value) => convertElement(value, to)),
    ),
  ];
};

export const castLike: InferRule = (context) => {
  const to = context.elementType(1);
  if (to === undefined) return [];
  return [
    tensor(
      to,
      context.shape(0),
      context.values(0)?.map((value) => convertElement(value, to)),
    ),
  ];
};

/** BitCast: the same bits as another element type of the same width. */
export const bitCast: InferRule = (context) => [tensor(dataTypeOfCode(context.node.int('to', 0)), context.shape(0))];

/** Dropout: the data, and a mask of the same shape (bool since opset 10, of the data's type before). */
export const dropout: InferRule = (context) => {
  const shape = context.shape(0);
  const type = context.elementType(0);
  return [tensor(type, shape, context.values(0)), tensor(context.opset >= 10 ? 'bool' : type, shape)];
};

function pairShape(context: RuleContext): ReturnType<typeof broadcastShapes> {
  const [left, right] = [context.shape(0), context.shape(1)];
  // Before opset 7, `broadcast = 1` aligns the second input at `axis`: the result has the first input's shape.
  if (context.opset < 7 && context.node.int('broadcast', 0) === 1) return left;
  return broadcastShapes(context.symbols, [left, right]);
}

function operatedValues(context: RuleContext, operation: BinaryOperation | undefined): Dimension[] | undefined {
  const type = context.elementType(0);
  if (operation === undefined || type === undefined) return undefined;
  const shapes = [context.shape(0), context.shape(1)];
  const target = broadcastShapes(context.symbols, shapes);
  const left = expandElements(context.values(0), shapes[0], target);
  const right = expandElements(context.values(1), shapes[1], target);
  if (left === undefined || right === undefined) return undefined;
  return left.map((value, at) => operation(value, right[at] ?? null, context.symbols, type));
}

function requireSameType(context: RuleContext, indices: readonly number[]): void {
  let first: string | undefined;
  for (const index of indices) {
    const type = context.elementType(index);
    if (type === undefined) continue;
    first ??= type;
    if (type !== first) throw new InferenceConflict(`input ${index} is ${type}, the inputs before it are ${first}`);
  }
}
