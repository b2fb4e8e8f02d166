import { fromBinary } from '@bufbuild/protobuf';
import { SparseTensorProtoSchema } from 'onnx-buf';
import { dataTypeOfCode } from '../data-type.ts';
import type { Graph } from '../graph.ts';
import type { Model, ModelFunction, OpsetImports } from '../model.ts';
import type { Attribute, Node } from '../node.ts';
import type { Tensor } from '../tensor.ts';
import type { StringEntries } from '../unknown-fields.ts';
import { tensorDataText, tensorTypeText } from './print-tensor.ts';
import { typeText, valueInfoText } from './print-type.ts';
import { BoundedText, float32Text, quoteBytes, quoteName, quoteString } from './text.ts';

export interface PrintOptions {
  /** The text ends here, with a comment that says so. Default 16 Mi characters. */
  readonly limitCharacters?: number;
  /** Tensors with more elements are shortened. Default 16. */
  readonly inlineElements?: number;
}

/** Longest list of numbers or strings that an attribute prints whole. */
const MAX_LIST = 64;

/**
 * The model in ONNX's textual syntax: one node a line, small tensors inline, larger ones as element count and digest.
 * Without shortened tensors, 4-bit types, escapes other than quotes, and the comments for parts the syntax has no place
 * for, `onnx.parser` reads it back. Same model, same text: made for golden files and for people.
 *
 * @see ONNX Textual Syntax, github.com/onnx/onnx docs/Syntax.md
 */
export function printModel(model: Model, options: PrintOptions = {}): string {
  const printer = new Printer(options.limitCharacters ?? 16 * 2 ** 20, options.inlineElements ?? 16);
  printer.model(model);
  return printer.out.toString();
}

class Printer {
  readonly out: BoundedText;
  readonly #inlineElements: number;

  constructor(limitCharacters: number, inlineElements: number) {
    this.out = new BoundedText(limitCharacters);
    this.#inlineElements = inlineElements;
  }

  model(model: Model): void {
    const header = [`ir_version: ${model.irVersion}`, `opset_import: ${opsetText(model.opsetImports)}`];
    if (model.producerName !== '') header.push(`producer_name: ${quoteString(model.producerName)}`);
    if (model.producerVersion !== '') header.push(`producer_version: ${quoteString(model.producerVersion)}`);
    if (model.domain !== '') header.push(`domain: ${quoteString(model.domain)}`);
    if (model.modelVersion !== 0n) header.push(`model_version: ${model.modelVersion}`);
    if (model.docString !== '') header.push(`doc_string: ${quoteString(model.docString)}`);
    if (model.metadata.length > 0) header.push(`metadata_props: ${entriesText(model.metadata)}`);
    this.#header(header);
    this.#comment('training_info', model.trainingInfo.length);
    this.#comment('unknown fields of the model', model.unknownFields.length);
    this.graph(model.graph, '');
    this.out.add('\n');
    for (const item of model.functions) this.function(item);
  }

  graph(graph: Graph, indent: string): void {
    const { out } = this;
    out.add(`${quoteName(graph.name)} (${graph.inputs.map(valueInfoText).join(', ')})`);
    out.add(` => (${graph.outputs.map(valueInfoText).join(', ')})`);
    const constants = [
      ...Array.from(graph.initializers.values(), (tensor) => this.#initializer(tensor)),
      ...Array.from(graph.sparseInitializers, ([name, bytes]) => sparseText(name, bytes)),
      ...Array.from(graph.valueInfos.values(), valueInfoText),
    ];
    if (constants.length > 0) {
      out.add(`\n${indent}<\n`);
      constants.forEach((text, index) => out.add(`${indent}  ${text}${index < constants.length - 1 ? ',' : ''}\n`));
      out.add(`${indent}>\n${indent}`);
    }
    out.add(constants.length > 0 ? '{\n' : ' {\n');
    this.#comment('quantization_annotation', graph.quantizationAnnotations.length, `${indent}  `);
    this.#comment('unknown fields of the graph', graph.unknownFields.length, `${indent}  `);
    if (graph.metadata.length > 0) out.add(`${indent}  # metadata_props: ${entriesText(graph.metadata)}\n`);
    this.nodes(graph.nodes, `${indent}  `);
    out.add(`${indent}}`);
  }

  nodes(nodes: readonly Node[], indent: string): void {
    for (const node of nodes) {
      if (this.out.full) return;
      this.node(node, indent);
    }
  }

  node(node: Node, indent: string): void {
    const { out } = this;
    out.add(indent);
    if (node.name !== '') out.add(`[${quoteName(node.name)}] `);
    out.add(`${node.outputs.map(quoteName).join(', ')} = ${operatorText(node)}`);
    this.#attributes(node.attributes, indent);
    out.add(` (${node.inputs.map(quoteName).join(', ')})`);
    if (node.metadata.length > 0) out.add(` # metadata_props: ${entriesText(node.metadata)}`);
    if (node.unknownFields.length > 0) out.add(` # unknown fields: ${node.unknownFields.length}`);
    out.add('\n');
  }

  function(item: ModelFunction): void {
    const { out } = this;
    const header = [`domain: ${quoteString(item.domain)}`, `opset_import: ${opsetText(item.opsetImports)}`];
    if (item.overload !== '') header.push(`overload: ${quoteString(item.overload)}`);
    if (item.docString !== '') header.push(`doc_string: ${quoteString(item.docString)}`);
    this.#header(header);
    out.add(quoteName(item.name));
    const names = item.attributeNames.map(quoteName).join(', ');
    if (names !== '' && item.attributes.size === 0) out.add(` <${names}>`);
    else if (item.attributes.size > 0) this.#attributes(item.attributes, '', names);
    out.add(` (${item.inputs.map(quoteName).join(', ')}) => (${item.outputs.map(quoteName).join(', ')}) `);
    if (item.valueInfos.size > 0) out.add(`<${Array.from(item.valueInfos.values(), valueInfoText).join(', ')}> `);
    out.add('{\n');
    this.nodes(item.nodes, '  ');
    out.add('}\n');
  }

  #attributes(attributes: ReadonlyMap<string, Attribute>, indent: string, before = ''): void {
    if (attributes.size === 0) return;
    this.out.add(` <${before}`);
    let separator = before === '' ? '' : ', ';
    for (const [name, attribute] of attributes) {
      this.out.add(`${separator}${quoteName(name)}: `);
      this.#attribute(attribute, indent);
      separator = ', ';
    }
    this.out.add('>');
  }

  #attribute(attribute: Attribute, indent: string): void {
    const { out } = this;
    switch (attribute.kind) {
      case 'graph':
        out.add('graph = ');
        this.graph(attribute.value, indent);
        return;
      case 'graphs':
        out.add('graphs = [');
        attribute.value.forEach((graph, index) => {
          if (index > 0) out.add(', ');
          this.graph(graph, indent);
        });
        out.add(']');
        return;
      default:
        out.add(this.#plainAttribute(attribute));
    }
  }

  #plainAttribute(attribute: Exclude<Attribute, { kind: 'graph' | 'graphs' }>): string {
    switch (attribute.kind) {
      case 'float':
        return `float = ${float32Text(attribute.value)}`;
      case 'int':
        return `int = ${attribute.value}`;
      case 'string':
        return `string = ${quoteBytes(attribute.value)}`;
      case 'tensor':
        return `tensor = ${this.#constant(attribute.value)}`;
      case 'type':
        return `type_proto = ${typeText(attribute.value)}`;
      case 'floats':
        return `floats = ${listText(attribute.value, float32Text)}`;
      case 'ints':
        return `ints = ${listText(attribute.value, String)}`;
      case 'strings':
        return `strings = ${listText(attribute.value, quoteBytes)}`;
      case 'tensors':
        return `tensors = ${listText(attribute.value, (tensor) => this.#constant(tensor))}`;
      case 'types':
        return `type_protos = ${listText(attribute.value, typeText)}`;
      case 'sparse-tensor':
        return `sparse_tensor = ${sparseText('', attribute.value)}`;
      case 'sparse-tensors':
        return `sparse_tensors = ${listText(attribute.value, (bytes) => sparseText('', bytes))}`;
      case 'reference':
        return `${ATTRIBUTE_TYPE_NAMES[attribute.type] ?? 'undefined'} = @${quoteName(attribute.refAttrName)}`;
    }
  }

  #initializer(tensor: Tensor): string {
    const data = tensorDataText(tensor, this.#inlineElements);
    return `${tensorTypeText(tensor)} ${quoteName(tensor.name)} = ${data}`;
  }

  #constant(tensor: Tensor): string {
    const name = tensor.name === '' ? '' : ` ${quoteName(tensor.name)}`;
    return `${tensorTypeText(tensor)}${name} ${tensorDataText(tensor, this.#inlineElements)}`;
  }

  #header(lines: readonly string[]): void {
    this.out.add(`<\n${lines.map((line) => `  ${line}`).join(',\n')}\n>\n`);
  }

  #comment(what: string, count: number, indent = ''): void {
    if (count > 0) this.out.add(`${indent}# ${what}: ${count}\n`);
  }
}

/** AttributeProto.AttributeType, by code. */
const ATTRIBUTE_TYPE_NAMES: readonly string[] = [
  'undefined',
  'float',
  'int',
  'string',
  'tensor',
  'graph',
  'floats',
  'ints',
  'strings',
  'tensors',
  'graphs',
  'sparse_tensor',
  'sparse_tensors',
  'type_proto',
  'type_protos',
];

function listText<T>(values: readonly T[], text: (value: T) => string): string {
  const shown = values.slice(0, MAX_LIST).map(text);
  if (values.length > MAX_LIST) shown.push(`...${values.length} values`);
  return `[${shown.join(', ')}]`;
}

function operatorText(node: Node): string {
  const overload = node.overload === '' ? '' : `:${node.overload}`;
  const parts = node.domain === '' ? [node.opType] : [...node.domain.split('.'), node.opType];
  return parts.map(quoteName).join('.') + overload;
}

/** `sparse_tensor(float[10,10]) w = {...5 values}`: the dense shape and how many values are stored. */
function sparseText(name: string, bytes: Uint8Array): string {
  const { values, dims } = fromBinary(SparseTensorProtoSchema, bytes);
  const type = dataTypeOfCode(values?.dataType ?? 0) ?? 'undefined';
  const stored = values === undefined ? 0 : values.dims.reduce((product, dim) => product * dim, 1n);
  const label = name === '' ? '' : ` ${quoteName(name)} =`;
  return `sparse_tensor(${type}[${dims.join(',')}])${label} {...${stored} values}`;
}

function opsetText(imports: OpsetImports): string {
  return `[${Array.from(imports, ([domain, version]) => `${quoteString(domain)} : ${version}`).join(', ')}]`;
}

function entriesText(entries: StringEntries): string {
  return `[${entries.map(({ key, value }) => `${quoteString(key)}: ${quoteString(value)}`).join(', ')}]`;
}
