import { CompressionError } from '../../errors.ts';
import type { Graph } from '../graph.ts';
import { functionKey } from '../inference/function-call.ts';
import type { Model, OpsetImports } from '../model.ts';
import type { Node } from '../node.ts';
import { firstVersionOf, schemaOf } from '../operators/operator-schemas.ts';
import type { Arity, OperatorSchema } from '../operators/parse-schemas.ts';
import { quoteName, quoteNode } from './quote.ts';

const MAX_LISTED = 10;

/**
 * Checks each node against the operator table: known operator, number of inputs and outputs, attributes by name and kind.
 * Calls of model-local functions are checked for their arity; the bodies like any other nodes. The nesting must have been
 * checked before.
 *
 * @throws CompressionError MODEL_UNSUPPORTED_OP listing every operator that is not supported; MODEL_INVALID for a node
 *   that does not fit its operator
 */
export function verifyOperators(model: Model): void {
  const unsupported = new Map<string, string>();
  const functions = new Map(
    model.functions.map((each) => [functionKey(each.domain, each.name, each.overload), each] as const),
  );
  const visit = (nodes: readonly Node[], imports: OpsetImports, isFunction: boolean): void => {
    for (const node of nodes) {
      const definition = functions.get(functionKey(node.domain, node.opType, node.overload));
      if (definition !== undefined) verifyCall(node, definition.inputs.length, definition.outputs.length);
      else {
        const found = schemaFor(node, imports);
        if (typeof found === 'string') unsupported.set(`${node.domain}:${node.opType}`, found);
        else verifyNode(node, found, isFunction);
      }
      for (const graph of node.subgraphs() as readonly Graph[]) visit(graph.nodes, imports, isFunction);
    }
  };
  visit(model.graph.nodes, model.opsetImports, false);
  for (const definition of model.functions) visit(definition.nodes, definition.opsetImports, true);
  if (unsupported.size === 0) return;
  const listed = [...unsupported.values()].slice(0, MAX_LISTED).join('; ');
  const more = unsupported.size > MAX_LISTED ? `; and ${unsupported.size - MAX_LISTED} more` : '';
  throw new CompressionError(
    'MODEL_UNSUPPORTED_OP',
    `the model uses operators that are not supported: ${listed}${more}`,
  );
}

/** The schema, or what to say when there is none. */
function schemaFor(node: Node, imports: OpsetImports): OperatorSchema | string {
  const domain = node.domain === '' ? 'ai.onnx' : node.domain;
  const operator = quoteName(`${domain}:${node.opType}`).slice(1, -1);
  const version = imports.get(node.domain);
  const first = firstVersionOf(node.domain, node.opType);
  if (version === undefined && first !== undefined) return `${operator} (its domain is not among the opset imports)`;
  const schema = schemaOf(node.domain, node.opType, version ?? 0);
  if (schema === undefined)
    return first === undefined ? operator : `${operator} (since opset ${first}, the model imports ${version ?? 0})`;
  if (schema.isDeprecated)
    return `${operator} (removed in opset ${schema.sinceVersion}, the model imports ${version ?? 0})`;
  return schema;
}

function verifyCall(node: Node, inputs: number, outputs: number): void {
  if (node.inputs.length > inputs || node.outputs.length > outputs) {
    throw invalid(
      `${quoteNode(node)} passes ${node.inputs.length} inputs and takes ${node.outputs.length} outputs, its function has ${inputs} and ${outputs}`,
    );
  }
}

function verifyNode(node: Node, schema: OperatorSchema, isFunction: boolean): void {
  verifyArity(node, 'inputs', node.inputs, schema.inputs);
  verifyArity(node, 'outputs', node.outputs, { ...schema.outputs, optional: node.outputs.map((_, index) => index) });
  for (const [name, attribute] of node.attributes) {
    const expected = schema.attributes.get(name);
    if (expected === undefined) {
      // Names with two underscores are reserved for tools; ONNX's checker passes them too.
      if (name.startsWith('__')) continue;
      throw invalid(
        `${quoteNode(node)} has attribute ${quoteName(name)}, which ${schema.opType} of opset ${schema.sinceVersion} does not know`,
      );
    }
    if (attribute.kind === 'reference') {
      if (!isFunction)
        throw invalid(`${quoteNode(node)}: attribute ${quoteName(name)} refers to a caller outside a function`);
    } else if (attribute.kind !== expected.kind && !isEmptyList(attribute, expected.kind)) {
      throw invalid(`${quoteNode(node)}: attribute ${quoteName(name)} is ${attribute.kind}, expected ${expected.kind}`);
    }
  }
  for (const [name, { isRequired }] of schema.attributes) {
    if (isRequired && !node.attributes.has(name)) throw invalid(`${quoteNode(node)}: attribute ${name} is missing`);
  }
}

function verifyArity(node: Node, what: string, names: readonly string[], arity: Arity): void {
  if (names.length < arity.min || names.length > arity.max) {
    const range =
      arity.min === arity.max ? `${arity.min}` : `${arity.min} to ${arity.max === Infinity ? 'any number' : arity.max}`;
    throw invalid(`${quoteNode(node)} has ${names.length} ${what}, expected ${range}`);
  }
  for (let index = 0; index < arity.min; index += 1) {
    if (names[index] === '' && !arity.optional.includes(index)) {
      throw invalid(`${quoteNode(node)}: required ${what.slice(0, -1)} ${index} is empty`);
    }
  }
}

/** An empty list has no element to tell its kind; files carry it as any of the list kinds. */
function isEmptyList(attribute: { readonly kind: string; readonly value: unknown }, expected: string): boolean {
  return Array.isArray(attribute.value) && attribute.value.length === 0 && expected.endsWith('s');
}

function invalid(message: string): CompressionError {
  return new CompressionError('MODEL_INVALID', message);
}
