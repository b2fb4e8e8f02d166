import { create, toBinary } from '@bufbuild/protobuf';
import {
  AttributeProtoSchema,
  FunctionProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  StringStringEntryProtoSchema,
  TensorProto_DataLocation,
  TensorProtoSchema,
  type NodeProto,
} from 'onnx-buf';
import { CompressionError } from '../../errors.ts';
import type { Graph } from '../graph.ts';
import type { Model, ModelFunction } from '../model.ts';
import type { Attribute, Node } from '../node.ts';
import type { Tensor } from '../tensor.ts';
import * as leaf from './encode-leaf.ts';
import { MAX_PROTOBUF_BYTES } from './limits.ts';
import { Rope, chunksOf, tensorPiece } from './rope.ts';

/** Where an initializer's data goes when it does not go into the protobuf. */
export interface ExternalPlacement {
  readonly location: string;
  readonly offset: number;
}

/** Decides for each initializer, in file order. Undefined: it stays in the protobuf. */
export type PlaceTensor = (tensor: Tensor) => ExternalPlacement | undefined;

/**
 * The bytes of the model, external tensors read in. Same model, same bytes: fields in the order of their numbers,
 * names and maps in the model's own order.
 *
 * @throws CompressionError LIMIT_SIZE when they would not fit a protobuf (2^31 - 1): use `writeModel`;
 *   MODEL_EXTERNAL_DATA when an external file cannot be read
 */
export function encodeModel(model: Model): Uint8Array {
  const rope = modelRope(model);
  if (rope.byteLength > MAX_PROTOBUF_BYTES) {
    throw new CompressionError(
      'LIMIT_SIZE',
      `the model takes ${rope.byteLength} bytes, a protobuf at most ${MAX_PROTOBUF_BYTES}; write it with external data`,
    );
  }
  const bytes = new Uint8Array(rope.byteLength);
  let position = 0;
  for (const piece of rope.pieces) {
    for (const chunk of chunksOf(piece)) {
      bytes.set(chunk, position);
      position += chunk.byteLength;
    }
  }
  return bytes;
}

/** The model's protobuf as pieces. Nothing is read or copied but small parts. O(nodes + initializers). */
export function modelRope(model: Model, place: PlaceTensor = () => undefined): Rope {
  const { field } = ModelProtoSchema;
  const head = create(ModelProtoSchema, { irVersion: BigInt(model.irVersion) });
  if (model.producerName !== '') head.producerName = model.producerName;
  if (model.producerVersion !== '') head.producerVersion = model.producerVersion;
  if (model.domain !== '') head.domain = model.domain;
  if (model.modelVersion !== 0n) head.modelVersion = model.modelVersion;
  if (model.docString !== '') head.docString = model.docString;
  const tail = create(ModelProtoSchema);
  tail.opsetImport = leaf.opsetIds(model.opsetImports);
  tail.metadataProps = leaf.entries(model.metadata);
  const rope = new Rope()
    .add(toBinary(ModelProtoSchema, head))
    .addMessage(field.graph.number, graphRope(model.graph, place))
    .add(toBinary(ModelProtoSchema, tail));
  for (const info of model.trainingInfo) rope.addField(field.trainingInfo.number, info);
  for (const item of model.functions) rope.addMessage(field.functions.number, functionRope(item, place));
  return rope.add(toBinary(ModelProtoSchema, leaf.withUnknown(create(ModelProtoSchema), model.unknownFields)));
}

function graphRope(graph: Graph, place: PlaceTensor): Rope {
  const { field } = GraphProtoSchema;
  const rope = new Rope();
  for (const node of graph.nodes) rope.addMessage(field.node.number, nodeRope(node, place));
  rope.add(toBinary(GraphProtoSchema, create(GraphProtoSchema, { name: graph.name })));
  for (const tensor of graph.initializers.values()) {
    rope.addMessage(field.initializer.number, tensorRope(tensor, place(tensor)));
  }
  const middle = create(GraphProtoSchema);
  if (graph.docString !== '') middle.docString = graph.docString;
  middle.input = graph.inputs.map(leaf.valueInfo);
  middle.output = graph.outputs.map(leaf.valueInfo);
  middle.valueInfo = Array.from(graph.valueInfos.values(), leaf.valueInfo);
  rope.add(toBinary(GraphProtoSchema, middle));
  for (const item of graph.quantizationAnnotations) rope.addField(field.quantizationAnnotation.number, item);
  for (const item of graph.sparseInitializers.values()) rope.addField(field.sparseInitializer.number, item);
  const tail = create(GraphProtoSchema);
  tail.metadataProps = leaf.entries(graph.metadata);
  return rope.add(toBinary(GraphProtoSchema, leaf.withUnknown(tail, graph.unknownFields)));
}

function nodeRope(node: Node, place: PlaceTensor): Rope {
  const head = create(NodeProtoSchema, { opType: node.opType });
  head.input = node.inputs;
  head.output = node.outputs;
  if (node.name !== '') head.name = node.name;
  if (Array.from(node.attributes.values()).every(isLeaf)) {
    for (const [name, attribute] of node.attributes) {
      if (isLeaf(attribute)) head.attribute.push(leaf.attributeProto(name, attribute));
    }
    return new Rope().add(toBinary(NodeProtoSchema, addNodeTail(head, node)));
  }
  const rope = new Rope().add(toBinary(NodeProtoSchema, head));
  for (const [name, attribute] of node.attributes) {
    rope.addMessage(NodeProtoSchema.field.attribute.number, attributeRope(name, attribute, place));
  }
  return rope.add(toBinary(NodeProtoSchema, addNodeTail(create(NodeProtoSchema), node)));
}

function addNodeTail(message: NodeProto, node: Node): NodeProto {
  if (node.docString !== '') message.docString = node.docString;
  if (node.domain !== '') message.domain = node.domain;
  if (node.overload !== '') message.overload = node.overload;
  message.metadataProps = leaf.entries(node.metadata);
  return leaf.withUnknown(message, node.unknownFields);
}

/** Tensors from this size on are written from where they lie instead of being copied into their message. */
const SMALL_TENSOR_BYTES = 4096;

type RopeAttribute = Extract<Attribute, { kind: 'graph' | 'graphs' | 'tensor' | 'tensors' }>;

/** True when the attribute holds neither a graph nor a large tensor: then it is one message. */
function isLeaf(attribute: Attribute): attribute is leaf.LeafAttribute {
  return !isRope(attribute);
}

function isRope(attribute: Attribute): attribute is RopeAttribute {
  switch (attribute.kind) {
    case 'graph':
    case 'graphs':
      return true;
    case 'tensor':
      return !isSmall(attribute.value);
    case 'tensors':
      return !attribute.value.every(isSmall);
    default:
      return false;
  }
}

function isSmall(tensor: Tensor): boolean {
  return (
    tensor.storage.kind === 'strings' || (tensor.storage.kind === 'bytes' && tensor.byteLength < SMALL_TENSOR_BYTES)
  );
}

function attributeRope(name: string, attribute: Attribute, place: PlaceTensor): Rope {
  if (!isRope(attribute)) return new Rope().add(toBinary(AttributeProtoSchema, leaf.attributeProto(name, attribute)));
  const { field } = AttributeProtoSchema;
  const rope = new Rope().add(toBinary(AttributeProtoSchema, leaf.attributeHead(name)));
  switch (attribute.kind) {
    case 'tensor':
      rope.addMessage(field.t.number, tensorRope(attribute.value, undefined));
      break;
    case 'tensors':
      for (const tensor of attribute.value) rope.addMessage(field.tensors.number, tensorRope(tensor, undefined));
      break;
    case 'graph':
      rope.addMessage(field.g.number, graphRope(attribute.value, place));
      break;
    case 'graphs':
      for (const graph of attribute.value) rope.addMessage(field.graphs.number, graphRope(graph, place));
      break;
  }
  return rope.add(toBinary(AttributeProtoSchema, leaf.addAttributeTail(create(AttributeProtoSchema), attribute)));
}

function tensorRope(tensor: Tensor, placement: ExternalPlacement | undefined): Rope {
  const rope = new Rope().add(toBinary(TensorProtoSchema, leaf.tensorHead(tensor)));
  const tail = leaf.addTensorTail(create(TensorProtoSchema), tensor);
  if (placement !== undefined) {
    const entry = (key: string, value: string) => create(StringStringEntryProtoSchema, { key, value });
    tail.externalData = [
      entry('location', placement.location),
      entry('offset', String(placement.offset)),
      entry('length', String(tensor.byteLength)),
    ];
    tail.dataLocation = TensorProto_DataLocation.EXTERNAL;
  } else if (tensor.storage.kind !== 'strings') {
    rope.addField(TensorProtoSchema.field.rawData.number, tensorPiece(tensor));
  }
  return rope.add(toBinary(TensorProtoSchema, tail));
}

function functionRope(item: ModelFunction, place: PlaceTensor): Rope {
  const { field } = FunctionProtoSchema;
  const head = create(FunctionProtoSchema, { name: item.name });
  head.input = item.inputs;
  head.output = item.outputs;
  head.attribute = [...item.attributeNames];
  const rope = new Rope().add(toBinary(FunctionProtoSchema, head));
  for (const node of item.nodes) rope.addMessage(field.node.number, nodeRope(node, place));
  const middle = create(FunctionProtoSchema, { domain: item.domain });
  if (item.docString !== '') middle.docString = item.docString;
  middle.opsetImport = leaf.opsetIds(item.opsetImports);
  rope.add(toBinary(FunctionProtoSchema, middle));
  for (const [name, attribute] of item.attributes) {
    rope.addMessage(field.attributeProto.number, attributeRope(name, attribute, place));
  }
  const tail = create(FunctionProtoSchema);
  tail.valueInfo = Array.from(item.valueInfos.values(), leaf.valueInfo);
  tail.metadataProps = leaf.entries(item.metadata);
  if (item.overload !== '') tail.overload = item.overload;
  return rope.add(toBinary(FunctionProtoSchema, leaf.withUnknown(tail, item.unknownFields)));
}
