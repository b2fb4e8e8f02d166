import { toBinary } from '@bufbuild/protobuf';
import { TypeProtoSchema, type TensorShapeProto, type TypeProto, type ValueInfoProto } from 'onnx-buf';
import { CompressionError } from '../../errors.ts';
import { dataTypeOfCode, type DataType } from '../data-type.ts';
import type { Dimension, TypeNotes, ValueInfo, ValueType } from '../value-type.ts';
import { entriesOf, unknownFieldsOf } from './messages.ts';

export function decodeValueInfo(proto: ValueInfoProto, where: string): ValueInfo {
  const metadata = entriesOf(proto.metadataProps);
  const unknownFields = unknownFieldsOf(proto);
  return {
    name: proto.name,
    ...(proto.type === undefined ? {} : { type: decodeType(proto.type, `${where} "${proto.name}"`) }),
    ...(proto.docString === '' ? {} : { docString: proto.docString }),
    ...(metadata.length === 0 ? {} : { metadata }),
    ...(unknownFields.length === 0 ? {} : { unknownFields }),
  };
}

/** @throws CompressionError MODEL_INVALID for an element type that ONNX does not have, or a size past 2^53 */
export function decodeType(proto: TypeProto, where: string): ValueType {
  const denotation = proto.denotation === '' ? {} : { denotation: proto.denotation };
  const { value } = proto;
  switch (value.case) {
    case 'tensorType':
    case 'sparseTensorType': {
      // UNDEFINED: some exporters write it for values inside the graph. Nothing to interpret, so it stays as it is.
      if (value.value.elemType === 0) return opaque(proto);
      const kind = value.case === 'tensorType' ? 'tensor' : 'sparse-tensor';
      const elementType = elementTypeOf(value.value.elemType, where);
      return { kind, elementType, ...shapeOf(value.value.shape, where), ...denotation };
    }
    case 'sequenceType':
    case 'optionalType': {
      if (value.value.elemType === undefined) return opaque(proto);
      const kind = value.case === 'sequenceType' ? 'sequence' : 'optional';
      return { kind, element: decodeType(value.value.elemType, where), ...denotation };
    }
    case 'mapType': {
      if (value.value.valueType === undefined || value.value.keyType === 0) return opaque(proto);
      const keyType = elementTypeOf(value.value.keyType, where);
      return { kind: 'map', keyType, value: decodeType(value.value.valueType, where), ...denotation };
    }
    case undefined:
      return opaque(proto);
  }
}

function opaque(proto: TypeProto): ValueType {
  return { kind: 'opaque', bytes: toBinary(TypeProtoSchema, proto) };
}

function elementTypeOf(code: number, where: string): DataType {
  const type = dataTypeOfCode(code);
  if (type === undefined) {
    throw new CompressionError('MODEL_INVALID', `${where}: element type ${code} is none of ONNX's (1 to 26)`);
  }
  return type;
}

function shapeOf(proto: TensorShapeProto | undefined, where: string): { shape?: Dimension[] } & TypeNotes {
  if (proto === undefined) return {};
  const shape = proto.dim.map(({ value }): Dimension => {
    switch (value.case) {
      case 'dimValue':
        if (value.value > BigInt(Number.MAX_SAFE_INTEGER)) {
          throw new CompressionError('MODEL_INVALID', `${where}: dimension ${value.value} is too large for any tensor`);
        }
        // Old exporters write -1 for an unknown size; ONNX Runtime reads any negative size so.
        return value.value < 0n ? null : Number(value.value);
      case 'dimParam':
        return value.value === '' ? null : value.value;
      case undefined:
        return null;
    }
  });
  const notes = proto.dim.map((dim) => dim.denotation);
  return { shape, ...(notes.some((note) => note !== '') ? { dimensionDenotations: notes } : {}) };
}
