import type { Graph } from './graph.ts';
import { normalDomain, type Attribute, type Node } from './node.ts';
import type { StringEntries, UnknownFields } from './unknown-fields.ts';
import type { ValueInfo } from './value-type.ts';

/** Opset version by domain; the default domain is the empty string. */
export type OpsetImports = Map<string, number>;

/** FunctionProto: a model-local operator. */
export interface ModelFunction {
  name: string;
  domain: string;
  overload: string;
  inputs: string[];
  outputs: string[];
  /** Attributes without a default, by name. */
  attributeNames: readonly string[];
  /** Attributes with their defaults. */
  attributes: ReadonlyMap<string, Attribute>;
  nodes: Node[];
  opsetImports: OpsetImports;
  valueInfos: Map<string, ValueInfo>;
  docString: string;
  metadata: StringEntries;
  unknownFields: UnknownFields;
}

/** ModelProto. */
export class Model {
  irVersion: number;
  opsetImports: OpsetImports;
  graph: Graph;
  producerName: string;
  producerVersion: string;
  domain: string;
  modelVersion: bigint;
  docString: string;
  metadata: StringEntries;
  functions: ModelFunction[];
  /** TrainingInfoProto messages as their bytes. */
  trainingInfo: readonly Uint8Array[];
  unknownFields: UnknownFields;

  constructor(fields: Partial<Model> & { graph: Graph; opsetImports: OpsetImports }) {
    this.irVersion = fields.irVersion ?? 10;
    this.opsetImports = fields.opsetImports;
    this.graph = fields.graph;
    this.producerName = fields.producerName ?? '';
    this.producerVersion = fields.producerVersion ?? '';
    this.domain = fields.domain ?? '';
    this.modelVersion = fields.modelVersion ?? 0n;
    this.docString = fields.docString ?? '';
    this.metadata = fields.metadata ?? [];
    this.functions = fields.functions ?? [];
    this.trainingInfo = fields.trainingInfo ?? [];
    this.unknownFields = fields.unknownFields ?? [];
  }
}

/** The imported opset of a domain (`''` or `ai.onnx` for the default one); 0 when it is not imported. */
export function opsetOf(model: Model, domain = ''): number {
  return model.opsetImports.get(normalDomain(domain)) ?? 0;
}
