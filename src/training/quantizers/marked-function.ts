import { GraphBuilder } from '../../onnx/graph-builder.ts';
import type { Model, ModelFunction } from '../../onnx/model.ts';
import type { AttributeInit } from '../../onnx/node.ts';

/** Domain of functions that stand for a few operators and have a gradient rule of their own. */
export const TERSOR = 'ai.tersor';
const VERSION = 1;
const OPSET = 21;

/** Writes one node of a function's body: its output's name. */
export type WriteNode = (
  opType: string,
  inputs: readonly string[],
  attributes?: Readonly<Record<string, AttributeInit>>,
) => string;

/** Standard operators under one name, so that a gradient rule can recognize them; runtimes read the body. */
export function markedFunction(
  name: string,
  parts: { readonly inputs: readonly string[]; readonly attributes?: readonly string[] },
  write: (op: WriteNode, inputs: readonly string[]) => string,
): ModelFunction {
  const body = new GraphBuilder(name);
  const inputs = parts.inputs.map((input) => body.fresh(input));
  const output = write((opType, given, attributes = {}) => body.op(opType, given, { attributes }), inputs);
  return {
    name,
    domain: TERSOR,
    overload: '',
    inputs,
    outputs: [output],
    attributeNames: parts.attributes ?? [],
    attributes: new Map(),
    nodes: body.graph.nodes,
    opsetImports: new Map([['', OPSET]]),
    valueInfos: new Map(),
    docString: '',
    metadata: [],
    unknownFields: [],
  };
}

/** Gives the model the functions, once each. */
export function declareFunctions(model: Model, functions: readonly ModelFunction[]): void {
  const has = (name: string): boolean =>
    model.functions.some((given) => given.domain === TERSOR && given.name === name);
  model.functions = [...model.functions, ...functions.filter(({ name }) => !has(name))];
  model.opsetImports.set(TERSOR, VERSION);
}
