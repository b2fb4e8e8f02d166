import type { Dimension } from '../value-type.ts';
import { tensor, unknownDims, type InferRule } from './rule.ts';

/** Follows a reduction of a tracked vector to one element. */
export type Reduction = (values: readonly Dimension[], symbols: Parameters<InferRule>[0]['symbols']) => Dimension;

export const reductions = {
  sum: (values, symbols) => symbols.sum(values),
  product: (values, symbols) => symbols.product(values),
  min: (values, symbols) => values.reduce((a, b) => symbols.min(a, b)),
  max: (values, symbols) => values.reduce((a, b) => symbols.max(a, b)),
} satisfies Record<string, Reduction>;

/** Reduce*: axes by attribute or by input 1; no axes means all, unless noop_with_empty_axes. */
export function reduce(reduction?: Reduction): InferRule {
  return (context) => {
    const data = context.shape(0);
    const type = context.elementType(0);
    const given = context.intsFrom('axes', 1);
    const keep = context.node.int('keepdims', 1) !== 0;
    if (data === undefined) return [tensor(type, undefined)];
    if (given === 'unknown') {
      const count = context.shape(1)?.[0];
      if (keep) return [tensor(type, unknownDims(data.length))];
      return [
        tensor(
          type,
          typeof count === 'number' && count > 0 ? unknownDims(Math.max(0, data.length - count)) : undefined,
        ),
      ];
    }
    const none = given === 'absent' || given.length === 0;
    if (none && context.node.int('noop_with_empty_axes', 0) !== 0) return [tensor(type, data, context.values(0))];
    const axes = new Set(none ? data.keys() : given.map((axis) => context.axis(axis, data.length)));
    const shape: Dimension[] = [];
    for (const [axis, size] of data.entries()) {
      if (!axes.has(axis)) shape.push(size);
      else if (keep) shape.push(1);
    }
    const values = context.values(0);
    const whole = type === 'int64' || type === 'int32';
    const reduced =
      reduction !== undefined && whole && values !== undefined && values.length > 0 && axes.size === data.length
        ? [reduction(values, context.symbols)]
        : undefined;
    return [tensor(type, shape, reduced)];
  };
}

/** ArgMax, ArgMin: int64 indices along `axis`. */
export const argReduce: InferRule = (context) => {
  const data = context.shape(0);
  if (data === undefined) return [tensor('int64', undefined)];
  const axis = context.axis(context.node.int('axis', 0), data.length);
  const keep = context.node.int('keepdims', 1) !== 0;
  return [
    tensor('int64', keep ? data.map((size, at) => (at === axis ? 1 : size)) : data.filter((_, at) => at !== axis)),
  ];
};

/** CumSum keeps type and shape; a tracked vector is followed. */
export const cumulativeSum: InferRule = (context) => {
  const values = context.values(0);
  const plain = context.node.int('exclusive', 0) === 0 && context.node.int('reverse', 0) === 0;
  if (values === undefined || !plain || context.shape(0)?.length !== 1) {
    return [tensor(context.elementType(0), context.shape(0))];
  }
  let total: Dimension = 0;
  const sums = values.map((value) => (total = context.symbols.add(total, value)));
  return [tensor(context.elementType(0), context.shape(0), sums)];
};
