import { fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  ModelProtoSchema,
  SparseTensorProtoSchema,
  TensorAnnotationSchema,
  TrainingInfoProtoSchema,
  type AttributeProto,
  type FunctionProto,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type OperatorSetIdProto,
  type SparseTensorProto,
  type ValueInfoProto,
} from 'onnx-buf';
import { CompressionError, messageOf } from '../../errors.ts';
import { Graph } from '../graph.ts';
import { Model, type ModelFunction, type OpsetImports } from '../model.ts';
import { Node, normalDomain, type Attribute } from '../node.ts';
import { toSafeInteger, type Tensor } from '../tensor.ts';
import type { ValueInfo } from '../value-type.ts';
import { decodeAttribute } from './decode-attribute.ts';
import { decodeTensor, type ExternalResolver } from './decode-tensor.ts';
import { decodeValueInfo } from './decode-type.ts';
import { keepConfigurations, keepNodeConfigurations } from './device-configuration.ts';
import { fileKind } from './file-kind.ts';
import { DEFAULT_DECODE_LIMITS, type DecodeLimits } from './limits.ts';
import { entriesOf, unknownFieldsOf } from './messages.ts';
import { messageDepthLimit, prescan } from './prescan.ts';
import { hasExternalData, inlineSparse } from './sparse.ts';

export interface DecodeOptions {
  /** Gives the file of an `external_data` location; without it a model with external data is refused. */
  readonly external?: ExternalResolver;
  readonly limits?: Partial<DecodeLimits>;
}

/**
 * Decodes an ONNX model. Tensors are views into `bytes`, which must not change afterwards. The graph is not verified
 * here: names, types and operators may still be wrong.
 *
 * @throws CompressionError MODEL_PARSE (no ONNX file; the message names what it looks like), LIMIT_SIZE, MODEL_LIMIT,
 *   MODEL_INVALID (tensors, types, duplicate names), MODEL_UNSUPPORTED, MODEL_EXTERNAL_DATA
 */
export function decodeModel(bytes: Uint8Array, options: DecodeOptions = {}): Model {
  const proto = parseModel(bytes, options.limits);
  if (proto.graph === undefined) throw notOnnx(bytes, 'it has no graph');
  return new ModelDecoder(options.external).model(proto, proto.graph);
}

/** The checked protobuf message. @throws CompressionError MODEL_PARSE, LIMIT_SIZE, MODEL_LIMIT */
function parseModel(bytes: Uint8Array, someLimits: Partial<DecodeLimits> = {}): ModelProto {
  const limits = { ...DEFAULT_DECODE_LIMITS, ...someLimits };
  if (bytes.byteLength > limits.bytes) {
    throw new CompressionError(
      'LIMIT_SIZE',
      `the model file has ${bytes.byteLength} bytes, the limit is ${limits.bytes}; move its weights to external data`,
    );
  }
  // A plain Uint8Array, so that the tensors' views are plain ones too (Buffer's slice() does not copy).
  const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (plain.byteLength === 0) throw notOnnx(plain, 'the file is empty (0 bytes)');
  try {
    prescan(plain, limits);
    return fromBinary(ModelProtoSchema, plain, { recursionLimit: messageDepthLimit(limits) });
  } catch (error) {
    if (error instanceof CompressionError && error.code !== 'MODEL_PARSE') throw error;
    throw notOnnx(plain, messageOf(error), error);
  }
}

function notOnnx(bytes: Uint8Array, detail: string, cause?: unknown): CompressionError {
  const kind = fileKind(bytes);
  const guess = kind === undefined ? 'the file is cut off, damaged, or of another format' : `it looks like ${kind}`;
  const message = `not an ONNX model (${bytes.byteLength} bytes): ${guess}; ${detail}`;
  return new CompressionError('MODEL_PARSE', message, { cause });
}

class ModelDecoder {
  readonly #external: ExternalResolver | undefined;

  constructor(external: ExternalResolver | undefined) {
    this.#external = external;
  }

  model(proto: ModelProto, graph: GraphProto): Model {
    for (const info of proto.trainingInfo) {
      if (hasExternalData(info)) {
        throw new CompressionError('MODEL_UNSUPPORTED', 'training_info with external data is not supported; remove it');
      }
    }
    return new Model({
      irVersion: safe(proto.irVersion, 'ir_version'),
      opsetImports: opsets(proto.opsetImport, 'the model'),
      graph: this.graph(graph, 'graph'),
      producerName: proto.producerName,
      producerVersion: proto.producerVersion,
      domain: proto.domain,
      modelVersion: proto.modelVersion,
      docString: proto.docString,
      metadata: entriesOf(proto.metadataProps),
      functions: proto.functions.map((item) => this.function(item)),
      trainingInfo: proto.trainingInfo.map((info) => toBinary(TrainingInfoProtoSchema, info)),
      unknownFields: [...keepConfigurations(proto.configuration), ...unknownFieldsOf(proto)],
    });
  }

  graph(proto: GraphProto, kind: string): Graph {
    const where = `${kind} "${proto.name}"`;
    const initializers = new Map<string, Tensor>();
    for (const tensor of proto.initializer) {
      addUnique(initializers, tensor.name, decodeTensor(tensor, 'initializer', this.#external), `${where} initializer`);
    }
    const sparse = new Map<string, Uint8Array>();
    for (const tensor of proto.sparseInitializer) {
      const name = tensor.values?.name ?? '';
      addUnique(sparse, name, this.sparse(tensor, `sparse initializer "${name}"`), `${where} sparse initializer`);
    }
    return new Graph({
      name: proto.name,
      nodes: proto.node.map((node) => this.node(node)),
      inputs: proto.input.map((info) => decodeValueInfo(info, 'input')),
      outputs: proto.output.map((info) => decodeValueInfo(info, 'output')),
      initializers,
      valueInfos: valueInfos(proto.valueInfo),
      sparseInitializers: sparse,
      quantizationAnnotations: proto.quantizationAnnotation.map((item) => toBinary(TensorAnnotationSchema, item)),
      docString: proto.docString,
      metadata: entriesOf(proto.metadataProps),
      unknownFields: unknownFieldsOf(proto),
    });
  }

  sparse(proto: SparseTensorProto, where: string): Uint8Array {
    return toBinary(SparseTensorProtoSchema, inlineSparse(proto, where, this.#external));
  }

  node(proto: NodeProto): Node {
    const where = `node ${proto.opType} "${proto.name}"`;
    return new Node({
      opType: proto.opType,
      inputs: proto.input,
      outputs: proto.output,
      name: proto.name,
      domain: proto.domain,
      overload: proto.overload,
      attributes: this.attributes(proto.attribute, where),
      docString: proto.docString,
      metadata: entriesOf(proto.metadataProps),
      unknownFields: [...keepNodeConfigurations(proto.deviceConfigurations), ...unknownFieldsOf(proto)],
    });
  }

  attributes(protos: readonly AttributeProto[], where: string): Map<string, Attribute> {
    const attributes = new Map<string, Attribute>();
    for (const proto of protos) {
      const label = `${where} attribute "${proto.name}"`;
      const attribute = decodeAttribute(proto, label, {
        tensor: (tensor) => decodeTensor(tensor, label, this.#external),
        graph: (graph) => this.graph(graph, 'subgraph'),
        sparse: (tensor) => this.sparse(tensor, label),
      });
      addUnique(attributes, proto.name, attribute, `${where} attribute`);
    }
    return attributes;
  }

  function(proto: FunctionProto): ModelFunction {
    const where = `function ${proto.domain}:${proto.name}`;
    return {
      name: proto.name,
      domain: normalDomain(proto.domain),
      overload: proto.overload,
      inputs: proto.input,
      outputs: proto.output,
      attributeNames: proto.attribute,
      attributes: this.attributes(proto.attributeProto, where),
      nodes: proto.node.map((node) => this.node(node)),
      opsetImports: opsets(proto.opsetImport, where),
      valueInfos: valueInfos(proto.valueInfo),
      docString: proto.docString,
      metadata: entriesOf(proto.metadataProps),
      unknownFields: unknownFieldsOf(proto),
    };
  }
}

/** A later entry replaces an earlier one of the same name, as in ONNX Runtime. */
function valueInfos(protos: readonly ValueInfoProto[]): Map<string, ValueInfo> {
  return new Map(protos.map((proto) => [proto.name, decodeValueInfo(proto, 'value')]));
}

function opsets(protos: readonly OperatorSetIdProto[], where: string): OpsetImports {
  const imports: OpsetImports = new Map();
  for (const proto of protos) {
    const domain = normalDomain(proto.domain);
    const version = safe(proto.version, `opset of domain "${domain}"`);
    const before = imports.get(domain);
    if (before !== undefined && before !== version) {
      throw new CompressionError(
        'MODEL_INVALID',
        `${where} imports domain "${domain}" as opset ${before} and ${version}`,
      );
    }
    imports.set(domain, version);
  }
  return imports;
}

function addUnique<T>(map: Map<string, T>, name: string, value: T, what: string): void {
  if (map.has(name))
    throw new CompressionError('MODEL_INVALID', `${what} "${name}" occurs twice; names must be unique`);
  map.set(name, value);
}

function safe(value: bigint, where: string): number {
  try {
    return toSafeInteger(value, where);
  } catch (error) {
    throw new CompressionError('MODEL_INVALID', messageOf(error), { cause: error });
  }
}
