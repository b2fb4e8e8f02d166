import { isFieldSet } from '@bufbuild/protobuf';
import {
  AttributeProto_AttributeType as AttributeType,
  AttributeProtoSchema,
  type AttributeProto,
  type GraphProto,
  type SparseTensorProto,
  type TensorProto,
} from 'onnx-buf';
import { CompressionError } from '../../errors.ts';
import type { Graph } from '../graph.ts';
import type { Attribute, AttributeValue } from '../node.ts';
import type { Tensor } from '../tensor.ts';
import { decodeType } from './decode-type.ts';
import { unknownFieldsOf } from './messages.ts';

/** AttributeProto.AttributeType by our kind. */
export const ATTRIBUTE_TYPES = {
  float: AttributeType.FLOAT,
  int: AttributeType.INT,
  string: AttributeType.STRING,
  tensor: AttributeType.TENSOR,
  graph: AttributeType.GRAPH,
  floats: AttributeType.FLOATS,
  ints: AttributeType.INTS,
  strings: AttributeType.STRINGS,
  tensors: AttributeType.TENSORS,
  graphs: AttributeType.GRAPHS,
  'sparse-tensor': AttributeType.SPARSE_TENSOR,
  'sparse-tensors': AttributeType.SPARSE_TENSORS,
  type: AttributeType.TYPE_PROTO,
  types: AttributeType.TYPE_PROTOS,
} as const satisfies Record<Exclude<AttributeValue['kind'], 'reference'>, AttributeType>;

interface Parts {
  tensor(proto: TensorProto): Tensor;
  graph(proto: GraphProto): Graph;
  sparse(proto: SparseTensorProto): Uint8Array;
}

/** @throws CompressionError MODEL_INVALID when type and value do not belong together */
export function decodeAttribute(proto: AttributeProto, where: string, parts: Parts): Attribute {
  const unknownFields = unknownFieldsOf(proto);
  return {
    ...attributeValue(proto, where, parts),
    ...(proto.docString === '' ? {} : { docString: proto.docString }),
    ...(unknownFields.length === 0 ? {} : { unknownFields }),
  };
}

function attributeValue(proto: AttributeProto, where: string, parts: Parts): AttributeValue {
  if (proto.refAttrName !== '') return { kind: 'reference', refAttrName: proto.refAttrName, type: proto.type };
  switch (proto.type === AttributeType.UNDEFINED ? guessType(proto, where) : proto.type) {
    case ATTRIBUTE_TYPES.float:
      return { kind: 'float', value: proto.f };
    case ATTRIBUTE_TYPES.int:
      return { kind: 'int', value: proto.i };
    case ATTRIBUTE_TYPES.string:
      return { kind: 'string', value: proto.s };
    case ATTRIBUTE_TYPES.tensor:
      return { kind: 'tensor', value: parts.tensor(present(proto.t, where)) };
    case ATTRIBUTE_TYPES.graph:
      return { kind: 'graph', value: parts.graph(present(proto.g, where)) };
    case ATTRIBUTE_TYPES['sparse-tensor']:
      return { kind: 'sparse-tensor', value: parts.sparse(present(proto.sparseTensor, where)) };
    case ATTRIBUTE_TYPES.type:
      return { kind: 'type', value: decodeType(present(proto.tp, where), where) };
    case ATTRIBUTE_TYPES.floats:
      return { kind: 'floats', value: proto.floats };
    case ATTRIBUTE_TYPES.ints:
      return { kind: 'ints', value: proto.ints };
    case ATTRIBUTE_TYPES.strings:
      return { kind: 'strings', value: proto.strings };
    case ATTRIBUTE_TYPES.tensors:
      return { kind: 'tensors', value: proto.tensors.map((tensor) => parts.tensor(tensor)) };
    case ATTRIBUTE_TYPES.graphs:
      return { kind: 'graphs', value: proto.graphs.map((graph) => parts.graph(graph)) };
    case ATTRIBUTE_TYPES['sparse-tensors']:
      return { kind: 'sparse-tensors', value: proto.sparseTensors.map((tensor) => parts.sparse(tensor)) };
    case ATTRIBUTE_TYPES.types:
      return { kind: 'types', value: proto.typeProtos.map((type) => decodeType(type, where)) };
    default:
      throw new CompressionError('MODEL_INVALID', `${where}: attribute type ${proto.type} is none of ONNX's (1 to 14)`);
  }
}

/** Files of IR 1 have no type field: the one that is set decides. */
function guessType(proto: AttributeProto, where: string): AttributeType {
  const { field } = AttributeProtoSchema;
  if (isFieldSet(proto, field.f)) return ATTRIBUTE_TYPES.float;
  if (isFieldSet(proto, field.i)) return ATTRIBUTE_TYPES.int;
  if (isFieldSet(proto, field.s)) return ATTRIBUTE_TYPES.string;
  if (proto.t !== undefined) return ATTRIBUTE_TYPES.tensor;
  if (proto.g !== undefined) return ATTRIBUTE_TYPES.graph;
  if (proto.floats.length > 0) return ATTRIBUTE_TYPES.floats;
  if (proto.ints.length > 0) return ATTRIBUTE_TYPES.ints;
  if (proto.strings.length > 0) return ATTRIBUTE_TYPES.strings;
  if (proto.tensors.length > 0) return ATTRIBUTE_TYPES.tensors;
  if (proto.graphs.length > 0) return ATTRIBUTE_TYPES.graphs;
  throw new CompressionError('MODEL_INVALID', `${where} has neither a type nor a value`);
}

function present<T>(value: T | undefined, where: string): T {
  if (value === undefined) throw new CompressionError('MODEL_INVALID', `${where}: the value its type names is missing`);
  return value;
}
