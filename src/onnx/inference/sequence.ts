import { dataTypeOfCode } from '../data-type.ts';
import type { ValueType } from '../value-type.ts';
import { commonType } from './control-flow.ts';
import { tensor, type Inferred, type InferRule } from './rule.ts';

export const sequenceConstruct: InferRule = (context) => {
  let element: ValueType | undefined = context.input(0)?.type;
  for (let index = 1; index < context.inputCount; index += 1) {
    const next = context.input(index)?.type;
    element = element === undefined || next === undefined ? undefined : commonType(element, next);
  }
  return [sequenceOf(element)];
};

export const sequenceEmpty: InferRule = ({ node }) => {
  const elementType = dataTypeOfCode(node.int('dtype', 1));
  return [elementType === undefined ? undefined : sequenceOf({ kind: 'tensor', elementType })];
};

export const sequenceAt: InferRule = (context) => {
  const type = context.input(0)?.type;
  return [type?.kind === 'sequence' ? { type: type.element } : undefined];
};

/** SequenceInsert: the element type that old and new elements share. */
export const sequenceInsert: InferRule = (context) => {
  const [sequence, added] = [context.input(0)?.type, context.input(1)?.type];
  if (sequence?.kind !== 'sequence' || added === undefined) return [context.input(0)];
  return [sequenceOf(commonType(sequence.element, added))];
};

/** SplitToSequence: pieces along `axis`, their size known when `split` is a scalar that divides. */
export const splitToSequence: InferRule = (context) => {
  const data = context.shape(0);
  const elementType = context.elementType(0);
  if (elementType === undefined) return [undefined];
  if (data === undefined) return [sequenceOf({ kind: 'tensor', elementType })];
  const axis = context.axis(context.node.int('axis', 0), data.length);
  const size = context.has(1) ? null : 1;
  const keep = context.has(1) || context.node.int('keepdims', 1) !== 0;
  const shape = keep ? data.map((own, at) => (at === axis ? size : own)) : data.filter((_, at) => at !== axis);
  return [sequenceOf({ kind: 'tensor', elementType, shape })];
};

/** ConcatFromSequence: the joined axis depends on the number of elements. */
export const concatFromSequence: InferRule = (context) => {
  const type = context.input(0)?.type;
  const element = type?.kind === 'sequence' ? type.element : undefined;
  if (element?.kind !== 'tensor') return [undefined];
  const { shape } = element;
  if (shape === undefined) return [tensor(element.elementType, undefined)];
  const isNew = context.node.int('new_axis', 0) === 1;
  const axis = context.axis(context.node.int('axis', 0), shape.length + (isNew ? 1 : 0));
  return [
    tensor(
      element.elementType,
      isNew
        ? [...shape.slice(0, axis), null, ...shape.slice(axis)]
        : shape.map((own, at) => (at === axis ? null : own)),
    ),
  ];
};

/** StringNormalizer: stop words shorten the last axis by a count that only the data decides. */
export const stringNormalizer: InferRule = (context) => {
  const stopWords = context.node.attributes.get('stopwords');
  const isFiltering = stopWords?.kind === 'strings' && stopWords.value.length > 0;
  const shape = context.shape(0);
  return [
    tensor('string', isFiltering ? shape?.map((size, axis) => (axis === shape.length - 1 ? null : size)) : shape),
  ];
};

/** StringSplit: one more axis for the pieces, and the number of pieces of each string. */
export const stringSplit: InferRule = (context) => {
  const shape = context.shape(0);
  return [tensor('string', shape === undefined ? undefined : [...shape, null]), tensor('int64', shape)];
};

export const scalar =
  (elementType: 'int64' | 'bool'): InferRule =>
  () => [tensor(elementType, [])];

export const optional: InferRule = (context) => {
  const attribute = context.node.attributes.get('type');
  const element = context.input(0)?.type ?? (attribute?.kind === 'type' ? attribute.value : undefined);
  return [element === undefined ? undefined : { type: { kind: 'optional', element } }];
};

export const optionalGetElement: InferRule = (context) => {
  const type = context.input(0)?.type;
  return [type === undefined ? undefined : { type: type.kind === 'optional' ? type.element : type }];
};

function sequenceOf(element: ValueType | undefined): Inferred | undefined {
  return element === undefined ? undefined : { type: { kind: 'sequence', element } };
}
