import { create, fromBinary } from '@bufbuild/protobuf';
import {
  AttributeProto_AttributeType as AttributeType,
  AttributeProtoSchema,
  OperatorSetIdProtoSchema,
  SparseTensorProtoSchema,
  StringStringEntryProtoSchema,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_MapSchema,
  TypeProto_OptionalSchema,
  TypeProto_SequenceSchema,
  TypeProto_SparseTensorSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  ValueInfoProtoSchema,
  type AttributeProto,
  type OperatorSetIdProto,
  type SparseTensorProto,
  type StringStringEntryProto,
  type TensorProto,
  type TensorShapeProto,
  type TypeProto,
  type ValueInfoProto,
} from 'onnx-buf';
import { assertNever } from '../../errors.ts';
import { DATA_TYPES } from '../data-type.ts';
import type { OpsetImports } from '../model.ts';
import type { Attribute } from '../node.ts';
import type { Tensor } from '../tensor.ts';
import type { StringEntries, UnknownFields } from '../unknown-fields.ts';
import type { Dimension, ValueInfo, ValueType } from '../value-type.ts';
import { ATTRIBUTE_TYPES } from './decode-attribute.ts';

/** IR objects to protobuf messages, for the parts that hold no large tensor and no graph. */

export function entries(list: StringEntries): StringStringEntryProto[] {
  return list.map(({ key, value }) => create(StringStringEntryProtoSchema, { key, value }));
}

export function opsetIds(imports: OpsetImports): OperatorSetIdProto[] {
  return Array.from(imports, ([domain, version]) =>
    create(OperatorSetIdProtoSchema, { version: BigInt(version), ...(domain === '' ? {} : { domain }) }),
  );
}

/** Puts the kept unknown fields on a message; `toBinary` writes them after the known ones. */
export function withUnknown<T extends { $unknown?: { no: number; wireType: number; data: Uint8Array }[] | undefined }>(
  message: T,
  fields: UnknownFields | undefined,
): T {
  if (fields !== undefined && fields.length > 0) message.$unknown = [...fields];
  return message;
}

/** protobuf-es types `bytes` as views of an ArrayBuffer; a SharedArrayBuffer never gets here. */
export function plain(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>;
}

export function valueInfo(info: ValueInfo): ValueInfoProto {
  const message = create(ValueInfoProtoSchema, { name: info.name });
  if (info.type !== undefined) message.type = typeProto(info.type);
  if (info.docString !== undefined) message.docString = info.docString;
  message.metadataProps = entries(info.metadata ?? []);
  return withUnknown(message, info.unknownFields);
}

export function typeProto(type: ValueType): TypeProto {
  if (type.kind === 'opaque') return fromBinary(TypeProtoSchema, type.bytes);
  const message = create(TypeProtoSchema);
  message.value = typeValue(type);
  if (type.denotation !== undefined) message.denotation = type.denotation;
  return message;
}

function typeValue(type: Exclude<ValueType, { kind: 'opaque' }>): TypeProto['value'] {
  switch (type.kind) {
    case 'tensor': {
      const value = create(TypeProto_TensorSchema, { elemType: DATA_TYPES[type.elementType].code });
      if (type.shape !== undefined) value.shape = shapeProto(type.shape, type.dimensionDenotations);
      return { case: 'tensorType', value };
    }
    case 'sparse-tensor': {
      const value = create(TypeProto_SparseTensorSchema, { elemType: DATA_TYPES[type.elementType].code });
      if (type.shape !== undefined) value.shape = shapeProto(type.shape, type.dimensionDenotations);
      return { case: 'sparseTensorType', value };
    }
    case 'sequence':
      return { case: 'sequenceType', value: create(TypeProto_SequenceSchema, { elemType: typeProto(type.element) }) };
    case 'optional':
      return { case: 'optionalType', value: create(TypeProto_OptionalSchema, { elemType: typeProto(type.element) }) };
    case 'map': {
      const keyType = DATA_TYPES[type.keyType].code;
      return { case: 'mapType', value: create(TypeProto_MapSchema, { keyType, valueType: typeProto(type.value) }) };
    }
    default:
      return assertNever(type, 'value type');
  }
}

function shapeProto(shape: readonly Dimension[], denotations: readonly string[] | undefined): TensorShapeProto {
  const dim = shape.map((size, axis) => {
    const message = create(TensorShapeProto_DimensionSchema);
    if (typeof size === 'number') message.value = { case: 'dimValue', value: BigInt(size) };
    else if (size !== null) message.value = { case: 'dimParam', value: size };
    const denotation = denotations?.[axis] ?? '';
    if (denotation !== '') message.denotation = denotation;
    return message;
  });
  return create(TensorShapeProtoSchema, { dim });
}

/** The fields of a tensor before its data: dims, type, name, and strings, which are never large. */
export function tensorHead(tensor: Tensor): TensorProto {
  const message = create(TensorProtoSchema, { dataType: DATA_TYPES[tensor.dataType].code });
  message.dims = tensor.dims.map(BigInt);
  if (tensor.name !== '') message.name = tensor.name;
  if (tensor.storage.kind === 'strings') message.stringData = tensor.storage.values.map(plain);
  return message;
}

/** The fields of a tensor after its data. */
export function addTensorTail(message: TensorProto, tensor: Tensor): TensorProto {
  if (tensor.docString !== '') message.docString = tensor.docString;
  message.metadataProps = entries(tensor.metadata);
  return withUnknown(message, tensor.unknownFields);
}

/** A whole tensor in one message. */
export function tensorProto(tensor: Tensor): TensorProto {
  const message = addTensorTail(tensorHead(tensor), tensor);
  if (tensor.storage.kind !== 'strings') message.rawData = plain(tensor.bytes());
  return message;
}

export function sparseProto(bytes: Uint8Array): SparseTensorProto {
  return fromBinary(SparseTensorProtoSchema, bytes);
}

export function attributeHead(name: string): AttributeProto {
  return create(AttributeProtoSchema, { name });
}

export function addAttributeTail(message: AttributeProto, attribute: Attribute): AttributeProto {
  if (attribute.docString !== undefined) message.docString = attribute.docString;
  message.type = attributeType(attribute);
  return withUnknown(message, attribute.unknownFields);
}

function attributeType(attribute: Attribute): AttributeType {
  if (attribute.kind !== 'reference') return ATTRIBUTE_TYPES[attribute.kind];
  return Object.values(ATTRIBUTE_TYPES).find((type: number) => type === attribute.type) ?? AttributeType.UNDEFINED;
}

export type LeafAttribute = Exclude<Attribute, { kind: 'graph' | 'graphs' }>;

/** A whole attribute in one message. */
export function attributeProto(name: string, attribute: LeafAttribute): AttributeProto {
  const message = addAttributeTail(attributeHead(name), attribute);
  switch (attribute.kind) {
    case 'reference':
      message.refAttrName = attribute.refAttrName;
      return message;
    case 'float':
      message.f = attribute.value;
      return message;
    case 'int':
      message.i = attribute.value;
      return message;
    case 'string':
      message.s = plain(attribute.value);
      return message;
    case 'tensor':
      message.t = tensorProto(attribute.value);
      return message;
    case 'type':
      message.tp = typeProto(attribute.value);
      return message;
    case 'floats':
      message.floats = [...attribute.value];
      return message;
    case 'ints':
      message.ints = [...attribute.value];
      return message;
    case 'strings':
      message.strings = attribute.value.map(plain);
      return message;
    case 'tensors':
      message.tensors = attribute.value.map(tensorProto);
      return message;
    case 'types':
      message.typeProtos = attribute.value.map(typeProto);
      return message;
    case 'sparse-tensor':
      message.sparseTensor = sparseProto(attribute.value);
      return message;
    case 'sparse-tensors':
      message.sparseTensors = attribute.value.map(sparseProto);
      return message;
    default:
      return assertNever(attribute, 'attribute');
  }
}
