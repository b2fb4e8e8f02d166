import { CompressionError } from '../errors.ts';
import { isFloatType, type DataType } from '../onnx/data-type.ts';
import type { Graph } from '../onnx/graph.ts';
import { inferTypes, type InferOptions } from '../onnx/inference/infer-types.ts';
import { RuleContext, type Inferred } from '../onnx/inference/rule.ts';
import { INFER_RULES } from '../onnx/inference/rules.ts';
import { SymbolTable } from '../onnx/inference/symbol-table.ts';
import { inferredTensor } from '../onnx/inference/tensor-values.ts';
import type { TypeTable } from '../onnx/inference/type-table.ts';
import type { Model, OpsetImports } from '../onnx/model.ts';
import type { Node } from '../onnx/node.ts';

/**
 * Types of the values of a graph that is still being written: every size fixed. What was there at the start is inferred
 * once; nodes that are appended later are followed when somebody asks. A training graph is built for one batch size.
 */
export class StaticTypes {
  readonly #graph: Graph;
  readonly #opsets: OpsetImports;
  readonly #table: TypeTable;
  readonly #symbols = new SymbolTable();
  readonly #appended = new Map<string, Inferred>();
  #followed: number;

  /** @param options - sizes for symbolic dimensions, the batch say, where the model does not fix them itself */
  constructor(model: Model, options: InferOptions = {}) {
    this.#graph = model.graph;
    this.#opsets = model.opsetImports;
    this.#table = inferTypes(model, options);
    this.#followed = model.graph.nodes.length;
  }

  /** @throws CompressionError MODEL_UNSUPPORTED when a size is not known */
  shape(name: string): readonly number[] {
    const known = this.knownShape(name);
    if (known === undefined) {
      const type = this.#find(name)?.type;
      const shape = type?.kind === 'tensor' ? type.shape : undefined;
      const got = shape === undefined ? 'of unknown rank' : `[${shape.map((size) => size ?? '?').join(', ')}]`;
      throw new CompressionError(
        'MODEL_UNSUPPORTED',
        `value "${name}" is ${got}; training needs every size fixed: give the batch size and input shapes, or export the model with static shapes`,
      );
    }
    return known;
  }

  /** Undefined where a size is not known. */
  knownShape(name: string): readonly number[] | undefined {
    const type = this.#find(name)?.type;
    const shape = type?.kind === 'tensor' ? type.shape : undefined;
    return shape?.every((size) => typeof size === 'number') === true ? shape : undefined;
  }

  /** Undefined for what is no tensor, or not known. */
  elementType(name: string): DataType | undefined {
    const type = this.#find(name)?.type;
    return type?.kind === 'tensor' ? type.elementType : undefined;
  }

  isFloat(name: string): boolean {
    const type = this.elementType(name);
    return type !== undefined && isFloatType(type);
  }

  /** The elements of a small tensor in row-major order, when each is known. */
  constant(name: string): readonly number[] | undefined {
    const values = this.#find(name)?.values;
    return values?.every((value) => typeof value === 'number') === true ? values : undefined;
  }

  /** Tells the type of a value that a node of the start was made to give later: an optional output. */
  declare(name: string, elementType: DataType, shape: readonly number[]): void {
    this.#appended.set(name, { type: { kind: 'tensor', elementType, shape } });
  }

  #find(name: string): Inferred | undefined {
    const known = this.#known(name);
    if (known !== undefined || this.#followed === this.#graph.nodes.length) return known;
    for (; this.#followed < this.#graph.nodes.length; this.#followed += 1) {
      const node = this.#graph.nodes[this.#followed];
      if (node !== undefined) this.#follow(node);
    }
    return this.#known(name);
  }

  #follow(node: Node): void {
    const outputs = INFER_RULES.get(`${node.domain}:${node.opType}`)?.(
      new RuleContext({
        node,
        opset: this.#opsets.get(node.domain) ?? 1,
        symbols: this.#symbols,
        // Types of earlier nodes are in `#appended` already: nodes are appended in order of use.
        inputs: node.inputs.map((name) => (name === '' ? undefined : this.#known(name))),
        inferSubgraph: () => [],
      }),
    );
    outputs?.forEach((value, index) => {
      const name = node.outputs[index];
      if (name !== undefined && name !== '' && value !== undefined) this.#appended.set(name, value);
    });
  }

  #known(name: string): Inferred | undefined {
    const value = this.#appended.get(name);
    if (value !== undefined) return value;
    const type = this.#table.of(this.#graph, name);
    if (type !== undefined) return { type, values: this.#table.constant(this.#graph, name) };
    const tensor = this.#graph.initializers.get(name);
    if (tensor !== undefined) return inferredTensor(tensor);
    const declared = this.#graph.inputs.find((input) => input.name === name)?.type;
    return declared === undefined ? undefined : { type: declared };
  }
}
