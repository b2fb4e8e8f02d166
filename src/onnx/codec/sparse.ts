import { clearField, clone } from '@bufbuild/protobuf';
import {
  SparseTensorProtoSchema,
  TensorProtoSchema,
  type GraphProto,
  type NodeProto,
  type SparseTensorProto,
  type TensorProto,
} from 'onnx-buf';
import type { TrainingInfoProto } from 'onnx-buf';
import { isExternal } from './messages.ts';
import { decodeTensor, tensorDims, type ExternalResolver } from './decode-tensor.ts';

/**
 * The IR keeps a sparse tensor as its message bytes, so nothing in it may point to a file: external values are read in.
 * Also checks both parts and the dense dims. @throws CompressionError as `decodeTensor`
 */
export function inlineSparse(
  proto: SparseTensorProto,
  where: string,
  external: ExternalResolver | undefined,
): SparseTensorProto {
  tensorDims(proto.dims, where);
  const values = proto.values && decodeTensor(proto.values, `${where} values`, external);
  const indices = proto.indices && decodeTensor(proto.indices, `${where} indices`, external);
  if (values?.storage.kind !== 'external' && indices?.storage.kind !== 'external') return proto;
  const inline = clone(SparseTensorProtoSchema, proto);
  for (const [part, tensor] of [
    [inline.values, values],
    [inline.indices, indices],
  ] as const) {
    if (part === undefined || tensor?.storage.kind !== 'external') continue;
    part.rawData = new Uint8Array(tensor.bytes());
    part.externalData = [];
    clearField(part, TensorProtoSchema.field.dataLocation);
  }
  return inline;
}

/** Whether any tensor of a training info is stored outside the file. */
export function hasExternalData(info: TrainingInfoProto): boolean {
  for (const graph of [info.initialization, info.algorithm]) {
    if (graph === undefined) continue;
    for (const tensor of tensorsOfGraph(graph)) if (isExternal(tensor)) return true;
  }
  return false;
}

/** Every TensorProto of a graph: initializers, sparse parts, attributes, and those of its subgraphs. */
function* tensorsOfGraph(graph: GraphProto): Generator<TensorProto> {
  yield* graph.initializer;
  for (const sparse of graph.sparseInitializer) yield* tensorsOfSparse(sparse);
  yield* tensorsOfNodes(graph.node);
}

function* tensorsOfNodes(nodes: readonly NodeProto[]): Generator<TensorProto> {
  for (const node of nodes) {
    for (const attribute of node.attribute) {
      if (attribute.t !== undefined) yield attribute.t;
      yield* attribute.tensors;
      if (attribute.sparseTensor !== undefined) yield* tensorsOfSparse(attribute.sparseTensor);
      for (const sparse of attribute.sparseTensors) yield* tensorsOfSparse(sparse);
      if (attribute.g !== undefined) yield* tensorsOfGraph(attribute.g);
      for (const graph of attribute.graphs) yield* tensorsOfGraph(graph);
    }
  }
}

function* tensorsOfSparse(sparse: SparseTensorProto): Generator<TensorProto> {
  if (sparse.values !== undefined) yield sparse.values;
  if (sparse.indices !== undefined) yield sparse.indices;
}
