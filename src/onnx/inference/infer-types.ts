import { messageOf } from '../../errors.ts';
import type { Graph } from '../graph.ts';
import type { Model, ModelFunction, OpsetImports } from '../model.ts';
import type { Node } from '../node.ts';
import type { Shape, ValueInfo, ValueType } from '../value-type.ts';
import { quoteName, quoteNode, safeText } from '../verify/quote.ts';
import { isTopologicallySorted, topologicalOrder } from '../verify/topological-order.ts';
import { mergeDeclared } from './declared-type.ts';
import { bodyFor, functionKey } from './function-call.ts';
import { InferenceConflict, RuleContext, type Inferred, type InferredOutputs } from './rule.ts';
import { INFER_RULES } from './rules.ts';
import { SymbolTable } from './symbol-table.ts';
import { inferredTensor } from './tensor-values.ts';
import { Scope, TypeTable, type TypeConflict } from './type-table.ts';

export interface InferOptions {
  /** Shapes to use for graph inputs instead of the declared ones, by input name. */
  readonly inputShapes?: Readonly<Record<string, Shape>>;
  /** Sizes for symbols (`dim_param`), by name. */
  readonly symbols?: Readonly<Record<string, number>>;
}

/** Nodes looked at before inference gives up on further calls and loop rounds: functions and loops can multiply work. */
const MAX_NODE_VISITS = 1_000_000;
const MAX_DEPTH = 64;

/**
 * Finds the type of every value: shapes with symbols, and the elements of small integer tensors as far as they follow
 * from shapes and constants. The model is not changed. Control flow is entered, functions are followed call by call.
 *
 * What an operator gives wins over what the file declares; the declaration fills what stays unknown. With `inputShapes`
 * or `symbols`, declared shapes of inner values are not used, because they were made for other sizes. Never throws on a
 * contradictory model: see `conflicts` and `unknown` of the table (`verifyModel` makes errors of them).
 */
export function inferTypes(model: Model, options: InferOptions = {}): TypeTable {
  return new Inference(model, options).run();
}

/** What the nodes of one graph or function body share. */
interface Surroundings {
  readonly scope: Scope;
  readonly opsets: OpsetImports;
  readonly depth: number;
  readonly declared: (name: string) => ValueInfo | undefined;
  /** The outermost call node while inside a function: findings are reported there. */
  readonly call: Node | undefined;
  readonly isConditional: boolean;
}

class Inference {
  readonly #model: Model;
  readonly #options: InferOptions;
  readonly #symbols = new SymbolTable();
  readonly #scopes = new Map<Graph, Scope>();
  readonly #functions = new Map<string, ModelFunction>();
  readonly #unknown = new Map<Node, string>();
  readonly #conflicts = new Map<string, TypeConflict>();
  readonly #isOverridden: boolean;
  #visits = 0;

  constructor(model: Model, options: InferOptions) {
    this.#model = model;
    this.#options = options;
    this.#isOverridden = options.inputShapes !== undefined || options.symbols !== undefined;
    for (const definition of model.functions) {
      this.#functions.set(functionKey(definition.domain, definition.name, definition.overload), definition);
    }
    for (const info of [...model.graph.inputs, ...model.graph.outputs, ...model.graph.valueInfos.values()]) {
      if (info.type?.kind !== 'tensor') continue;
      for (const size of info.type.shape ?? []) if (typeof size === 'string') this.#symbols.reserve(size);
    }
  }

  run(): TypeTable {
    const { graph, opsetImports } = this.#model;
    this.#inferGraph(graph, undefined, {
      opsets: opsetImports,
      depth: 0,
      call: undefined,
      isConditional: false,
      parent: undefined,
    });
    const unknown = [...this.#unknown].map(([node, reason]) => ({ node, reason }));
    return new TypeTable(this.#scopes, { unknown, conflicts: [...this.#conflicts.values()] });
  }

  /** `inputs` undefined: the declared types of the graph's inputs (the main graph). */
  #inferGraph(
    graph: Graph,
    inputs: InferredOutputs | undefined,
    around: Omit<Surroundings, 'scope' | 'declared'> & { readonly parent: Scope | undefined },
  ): InferredOutputs {
    const scope = new Scope(graph, around.parent);
    if (around.call === undefined) this.#scopes.set(graph, scope);
    const outputs = new Map(graph.outputs.map((info) => [info.name, info]));
    const declared = (name: string): ValueInfo | undefined => graph.valueInfos.get(name) ?? outputs.get(name);
    const { opsets, depth, call, isConditional } = around;
    const surroundings = { scope, declared, opsets, depth, call, isConditional };
    for (const [index, info] of graph.inputs.entries()) {
      const given = inputs?.[index];
      const type = inputs === undefined ? this.#inputType(info) : info.type;
      const value =
        given === undefined ? (type === undefined ? undefined : { type }) : this.#merge(given, info, surroundings);
      if (value !== undefined) scope.set(info.name, value);
    }
    this.#addInitializers(graph, scope, surroundings);
    for (const node of orderOf(graph)) this.#inferNode(node, surroundings);
    return graph.outputs.map((info) => scope.get(info.name));
  }

  #addInitializers(graph: Graph, scope: Scope, around: Surroundings): void {
    this.#visits += graph.initializers.size;
    const inputNames = new Set(graph.inputs.map((input) => input.name));
    for (const [name, tensor] of graph.initializers) {
      const isDefault = inputNames.has(name) && this.#model.irVersion >= 4;
      let value: Inferred;
      try {
        value = inferredTensor(tensor);
      } catch (error) {
        // Bytes that do not fit the dims: the verifier's finding, not inference's.
        value = { type: { kind: 'tensor', elementType: tensor.dataType, shape: tensor.dims } };
        this.#conflict(around, undefined, 'node', `initializer ${quoteName(name)}: ${messageOf(error)}`);
      }
      // A default that the caller may override is no constant (ONNX IR, since version 4).
      if (!isDefault) scope.set(name, value);
      else if (scope.own(name) === undefined) scope.set(name, { type: value.type });
    }
  }

  #inferNode(node: Node, around: Surroundings): void {
    this.#visits += 1;
    const inputs = node.inputs.map((name) => (name === '' ? undefined : around.scope.get(name)));
    let outputs: InferredOutputs = [];
    let reason: string | undefined;
    try {
      if (this.#visits > MAX_NODE_VISITS) reason = `more than ${MAX_NODE_VISITS} nodes after expansion`;
      else if (around.depth > MAX_DEPTH) reason = `nested deeper than ${MAX_DEPTH}`;
      else outputs = this.#outputsOf(node, inputs, around) ?? [];
    } catch (error) {
      // Node accessors throw TypeError and RangeError on attributes of the wrong kind or beyond 2^53.
      const isFinding = error instanceof InferenceConflict || error instanceof TypeError || error instanceof RangeError;
      if (!isFinding) throw error;
      reason = safeText(error.message);
      this.#conflict(around, node, 'node', `${quoteNode(node)}: ${error.message}`);
    }
    for (const [index, name] of node.outputs.entries()) {
      if (name === '') continue;
      const inferred = outputs[index];
      const value = this.#merge(inferred, around.declared(name), around, node);
      if (value !== undefined) around.scope.set(name, value);
      if (inferred === undefined) reason ??= this.#whyUnknown(node, inputs);
    }
    const place = around.call ?? node;
    if (reason === undefined) {
      if (around.call === undefined) this.#unknown.delete(node);
    } else this.#unknown.set(place, around.call === undefined ? reason : `${quoteNode(node)}: ${reason}`);
  }

  #outputsOf(node: Node, inputs: readonly (Inferred | undefined)[], around: Surroundings): InferredOutputs | undefined {
    const definition = this.#functions.get(functionKey(node.domain, node.opType, node.overload));
    if (definition !== undefined) return this.#inferCall(definition, node, inputs, around);
    const rule = INFER_RULES.get(`${node.domain}:${node.opType}`);
    return rule?.(
      new RuleContext({
        node,
        opset: around.opsets.get(node.domain) ?? this.#model.opsetImports.get(node.domain) ?? 1,
        symbols: this.#symbols,
        inputs,
        inferSubgraph: (graph, types) =>
          this.#inferGraph(graph, types, {
            opsets: around.opsets,
            depth: around.depth + 1,
            call: around.call,
            isConditional: around.isConditional || node.opType === 'If',
            parent: around.scope,
          }),
      }),
    );
  }

  #inferCall(
    definition: ModelFunction,
    call: Node,
    inputs: readonly (Inferred | undefined)[],
    around: Surroundings,
  ): InferredOutputs {
    const scope = new Scope(undefined, undefined);
    definition.inputs.forEach((name, index) => {
      const value = inputs[index];
      if (value !== undefined) scope.set(name, value);
    });
    const inner: Surroundings = {
      scope,
      opsets: definition.opsetImports,
      depth: around.depth + 1,
      declared: () => undefined,
      call: around.call ?? call,
      isConditional: around.isConditional,
    };
    for (const node of bodyFor(definition, call)) this.#inferNode(node, inner);
    return definition.outputs.map((name) => scope.get(name));
  }

  #inputType(info: ValueInfo): ValueType | undefined {
    const shape = this.#options.inputShapes?.[info.name];
    if (info.type?.kind !== 'tensor') return info.type;
    return shape === undefined ? this.#substituted(info.type) : { ...info.type, shape };
  }

  /** The type with the given sizes in the place of their symbols. */
  #substituted(type: ValueType): ValueType {
    const { symbols } = this.#options;
    if (symbols === undefined || type.kind !== 'tensor' || type.shape === undefined) return type;
    const shape = type.shape.map((size) =>
      typeof size === 'string' && Object.hasOwn(symbols, size) ? (symbols[size] ?? size) : size,
    );
    return { ...type, shape };
  }

  #merge(
    inferred: Inferred | undefined,
    info: ValueInfo | undefined,
    around: Surroundings,
    node?: Node,
  ): Inferred | undefined {
    if (info?.type === undefined) return inferred;
    const declared = this.#substituted(info.type);
    return mergeDeclared(inferred, declared, {
      useShape: !this.#isOverridden,
      isDataDependent: (symbol) => this.#symbols.isFresh(symbol),
      conflict: (kind, message) => {
        this.#conflict(around, node, kind, `${quoteName(info.name)} ${message}`);
      },
    });
  }

  #conflict(around: Surroundings, node: Node | undefined, kind: TypeConflict['kind'], text: string): void {
    const message = safeText(text);
    this.#conflicts.set(`${kind} ${message}`, {
      graph: around.scope.graph,
      node,
      kind,
      message,
      isConditional: around.isConditional,
    });
  }

  #whyUnknown(node: Node, inputs: readonly (Inferred | undefined)[]): string {
    const operator = node.domain === '' ? node.opType : `${node.domain}:${node.opType}`;
    if (!INFER_RULES.has(`${node.domain}:${node.opType}`)) return `no inference rule for ${quoteName(operator)}`;
    const missing = node.inputs.find((name, index) => name !== '' && inputs[index] === undefined);
    return missing === undefined
      ? 'its rule cannot tell all output types'
      : `the type of input ${quoteName(missing)} is unknown`;
  }
}

/** File order where it is topological; sorted otherwise; file order again where there is a cycle. */
function orderOf(graph: Graph): readonly Node[] {
  if (isTopologicallySorted(graph)) return graph.nodes;
  try {
    return topologicalOrder(graph);
  } catch (error) {
    if (error instanceof Error && error.name === 'CompressionError') return graph.nodes;
    throw error;
  }
}
