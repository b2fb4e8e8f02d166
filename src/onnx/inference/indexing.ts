import type { Dimension } from '../value-type.ts';
import { InferenceConflict, showShape, tensor, unknownDims, type InferRule, type RuleContext } from './rule.ts';
import { allPositions, selectElements } from './tracked-elements.ts';
import { fixedDims } from './value-arithmetic.ts';

/** Gather: the axis of the data is replaced by the shape of the indices. */
export const gather: InferRule = (context) => {
  const [data, indices] = [context.shape(0), context.shape(1)];
  const type = context.elementType(0);
  if (data === undefined || indices === undefined) return [tensor(type, undefined)];
  if (data.length === 0) throw new InferenceConflict('data is a scalar, Gather needs rank 1 or more');
  const axis = context.axis(context.node.int('axis', 0), data.length);
  const shape = [...data.slice(0, axis), ...indices, ...data.slice(axis + 1)];
  return [tensor(type, shape, gatheredValues(context, axis))];
};

function gatheredValues(context: RuleContext, axis: number): Dimension[] | undefined {
  const [values, indices, dims] = [context.values(0), context.values(1), fixedDims(context.shape(0))];
  if (values === undefined || indices === undefined || dims === undefined) return undefined;
  const size = dims[axis] ?? 0;
  const positions = indices.map((index): number | null => {
    if (typeof index !== 'number') return null;
    const at = index < 0 ? index + size : index;
    if (at < 0 || at >= size) throw new InferenceConflict(`index ${index} is out of range for ${size} elements`);
    return at;
  });
  if (positions.every((position) => position !== null)) {
    return selectElements(
      values,
      dims,
      dims.map((own, at) => (at === axis ? positions : allPositions(own))),
    );
  }
  return dims.length === 1 ? positions.map((at) => (at === null ? null : (values[at] ?? null))) : undefined;
}

/** GatherElements: the shape of the indices. */
export const gatherElements: InferRule = (context) => [tensor(context.elementType(0), context.shape(1))];

export const gatherNd: InferRule = (context) => {
  const [data, indices] = [context.shape(0), context.shape(1)];
  const type = context.elementType(0);
  const last = indices?.at(-1);
  if (data === undefined || indices === undefined || typeof last !== 'number') return [tensor(type, undefined)];
  const batch = context.node.int('batch_dims', 0);
  if (batch + last > data.length) {
    throw new InferenceConflict(`indices ${showShape(indices)} address ${last} axes, data is ${showShape(data)}`);
  }
  return [tensor(type, [...indices.slice(0, -1), ...data.slice(batch + last)])];
};

/** ScatterElements, ScatterND, Scatter, TensorScatter: the data's type and shape. */
export const scatter: InferRule = (context) => [tensor(context.elementType(0), context.shape(0))];

export const oneHot: InferRule = (context) => {
  const indices = context.shape(0);
  const type = context.elementType(2);
  if (indices === undefined) return [tensor(type, undefined)];
  const given = context.node.int('axis', -1);
  const axis = context.axis(given, indices.length + 1);
  return [tensor(type, [...indices.slice(0, axis), context.values(1)?.[0] ?? null, ...indices.slice(axis)])];
};

/** TopK: values and int64 indices; k by attribute (opset 1) or input. */
export const topK: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  if (data === undefined) return [tensor(type, undefined), tensor('int64', undefined)];
  const axis = context.axis(context.node.int('axis', -1), data.length);
  const k: Dimension = context.has(1) ? (context.values(1)?.[0] ?? null) : context.node.int('k', 1);
  const size = data[axis];
  if (typeof k === 'number' && typeof size === 'number' && k > size) {
    throw new InferenceConflict(`k = ${k} exceeds axis ${axis} of ${showShape(data)}`);
  }
  const shape = data.map((own, at) => (at === axis ? k : own));
  return [tensor(type, shape), tensor('int64', shape)];
};

/** NonZero: [rank, n], n decided by the data. */
export const nonZero: InferRule = (context) => {
  const rank = context.shape(0)?.length ?? null;
  return [tensor('int64', [rank, dataDependent(context, 0)])];
};

/** Compress: along `axis`, or of the flattened input; the size is decided by the data. */
export const compress: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  if (!context.node.attributes.has('axis')) return [tensor(type, [dataDependent(context, 0)])];
  if (data === undefined) return [tensor(type, undefined)];
  const axis = context.axis(context.node.int('axis', 0), data.length);
  const size = dataDependent(context, 0);
  return [
    tensor(
      type,
      data.map((own, at) => (at === axis ? size : own)),
    ),
  ];
};

/** Unique: values, first indices, inverse indices, counts. */
export const unique: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  const size = dataDependent(context, 0);
  if (!context.node.attributes.has('axis')) {
    const total = data === undefined ? null : context.symbols.product(data);
    return [tensor(type, [size]), tensor('int64', [size]), tensor('int64', [total]), tensor('int64', [size])];
  }
  if (data === undefined) {
    return [tensor(type, undefined), tensor('int64', [size]), tensor('int64', [null]), tensor('int64', [size])];
  }
  const axis = context.axis(context.node.int('axis', 0), data.length);
  return [
    tensor(
      type,
      data.map((own, at) => (at === axis ? size : own)),
    ),
    tensor('int64', [size]),
    tensor('int64', [data[axis] ?? null]),
    tensor('int64', [size]),
  ];
};

/** NonMaxSuppression: [selected, 3]. */
export const nonMaxSuppression: InferRule = (context) => [tensor('int64', [dataDependent(context, 0), 3])];

/** A new symbol for a size that the data decides, named after the node's output. */
export function dataDependent(context: RuleContext, outputIndex: number): string {
  return context.symbols.fresh(`${context.node.outputs[outputIndex] ?? context.node.opType}_size`);
}

/** RoiAlign, MaxRoiPool: [rois, C, pooled height, pooled width]. */
export const roiAlign: InferRule = (context) => {
  const { node } = context;
  const pooled = node.ints('pooled_shape') ?? [node.int('output_height', 1), node.int('output_width', 1)];
  const data = context.shape(0);
  return [tensor(context.elementType(0), [context.shape(1)?.[0] ?? null, data?.[1] ?? null, ...pooled])];
};

/** GridSample: [N, C, grid's spatial sizes]. */
export const gridSample: InferRule = (context) => {
  const [data, grid] = [context.shape(0), context.shape(1)];
  if (data === undefined && grid === undefined) return [tensor(context.elementType(0), undefined)];
  const rank = data?.length ?? grid?.length ?? 4;
  return [
    tensor(context.elementType(0), [
      data?.[0] ?? null,
      data?.[1] ?? null,
      ...(grid?.slice(1, -1) ?? unknownDims(rank - 2)),
    ]),
  ];
};
