import { outerNames, usesOf, type Graph, type Use } from '../../../onnx/graph.ts';
import { inferTypes } from '../../../onnx/inference/infer-types.ts';
import type { TypeTable } from '../../../onnx/inference/type-table.ts';
import type { Model } from '../../../onnx/model.ts';
import { describeNode, type Node } from '../../../onnx/node.ts';
import type { Tensor } from '../../../onnx/tensor.ts';
import type { Shape } from '../../../onnx/value-type.ts';
import { fixedAxis, freezeAxis, SINGLE, type Axes, type Axis } from './axis.ts';
import { balanceChannels, type Balance } from './balance.ts';
import { ChannelAtoms } from './channel-atoms.ts';
import { RuleContext, type Rewrite, type RuleSurroundings } from './rule.ts';
import { CHANNEL_RULES } from './rules.ts';

/** Which channels of a model stand and fall together. A snapshot: it holds nodes of the model and does not follow edits. */
export interface ChannelAnalysis {
  readonly model: Model;
  readonly types: TypeTable;
  readonly atoms: ChannelAtoms;
  /** Axes of every value of the main graph that the rules came by, initializers included, in order of first use. */
  readonly axes: ReadonlyMap<string, Axes>;
  /** What else changes in the nodes when channels go. */
  readonly rewrites: readonly Rewrite[];
}

/** Elements of these types are no weights: shapes, indices, masks, or packed so that positions share bytes. */
const NOT_FOLLOWED = /^(int64|uint64|bool|string|complex\d+|u?int[24]|float4e2m1)$/;

/**
 * Follows every axis of every value through the graph, once in each direction by way of a union-find: O(nodes + positions).
 * What cannot lose positions is frozen with its reason: graph inputs and outputs, operators without a rule, values that
 * subgraphs read, axes that are computed over.
 *
 * @param frozenNodes - nodes that keep all positions of their outputs, with the reason
 */
export function analyzeChannels(model: Model, frozenNodes: ReadonlyMap<Node, string> = new Map()): ChannelAnalysis {
  return new Analysis(model).run(frozenNodes);
}

class Analysis implements RuleSurroundings {
  readonly model: Model;
  readonly atoms = new ChannelAtoms();
  readonly handled = new Set<Node>();
  readonly #graph: Graph;
  readonly #types: TypeTable;
  readonly #uses: ReadonlyMap<string, readonly Use[]>;
  readonly #outputs: ReadonlySet<string>;
  readonly #inputs: ReadonlySet<string>;
  readonly #axes = new Map<string, Axes>();
  readonly #rewrites: Rewrite[] = [];
  readonly #balances: Balance[] = [];

  constructor(model: Model) {
    this.model = model;
    this.#graph = model.graph;
    this.#types = inferTypes(model);
    this.#uses = usesOf(model.graph);
    this.#outputs = new Set(model.graph.outputs.map(({ name }) => name));
    this.#inputs = new Set(model.graph.inputs.map(({ name }) => name));
  }

  run(frozenNodes: ReadonlyMap<Node, string>): ChannelAnalysis {
    const { graph } = this.model;
    for (const { name } of graph.inputs) this.#setFixed(name, `"${name}" is an input of the graph`);
    for (const node of graph.nodes) {
      if (!this.handled.has(node)) this.#node(node);
      const reason = frozenNodes.get(node);
      if (reason !== undefined) for (const output of node.outputs) this.#freezeValue(output, reason);
    }
    for (const { name } of graph.outputs) this.#freezeValue(name, `"${name}" is an output of the graph`);
    balanceChannels(this.#balances, this.atoms);
    return { model: this.model, types: this.#types, atoms: this.atoms, axes: this.#axes, rewrites: this.#rewrites };
  }

  #node(node: Node): void {
    const obstacle = this.#apply(node);
    if (obstacle !== undefined) {
      const reason = `${describeNode(node)} ${obstacle}`;
      for (const input of node.inputs) this.#freezeValue(input, reason);
      for (const output of node.outputs) this.#setFixed(output, reason);
    }
    for (const output of node.outputs) {
      if (output !== '' && !this.#axes.has(output)) this.#setFixed(output, `${describeNode(node)} makes it`);
    }
  }

  #apply(node: Node): string | undefined {
    const captured = node.subgraphs().flatMap((subgraph) => [...outerNames(subgraph)]);
    for (const name of captured) this.#freezeValue(name, `${describeNode(node)} reads it in a subgraph`);
    if (node.subgraphs().length > 0) return 'has subgraphs';
    const rule = CHANNEL_RULES.get(`${node.domain}:${node.opType}`);
    if (rule === undefined) return 'has no pruning rule';
    return rule(new RuleContext(node, this.model.opsetImports.get(node.domain) ?? 1, this));
  }

  axesOf(value: string): Axes | undefined {
    const known = this.#axes.get(value);
    if (known !== undefined) return known;
    const tensor = this.#graph.initializers.get(value);
    if (tensor === undefined) return undefined;
    const axes = this.#initializerAxes(tensor);
    this.#axes.set(value, axes);
    return axes;
  }

  #initializerAxes(tensor: Tensor): Axes {
    if (NOT_FOLLOWED.test(tensor.dataType)) {
      return tensor.dims.map(() => fixedAxis(`"${tensor.name}" is ${tensor.dataType}`));
    }
    return tensor.dims.map((size) => (size === 1 ? SINGLE : { kind: 'channels', atoms: this.atoms.fresh(size) }));
  }

  shapeOf(value: string): Shape | undefined {
    return this.#types.shape(this.#graph, value);
  }

  constantOf(value: string): readonly number[] | undefined {
    const tensor = this.#inputs.has(value) ? undefined : this.#graph.initializers.get(value);
    if (tensor?.dataType !== 'int64' && tensor?.dataType !== 'int32') return this.#types.constant(this.#graph, value);
    // "To the end" is written as the largest int64, which is no safe integer; any size beyond all axes does as well.
    const far = Number.MAX_SAFE_INTEGER;
    const { data } = tensor.toArray();
    return Array.from(data as ArrayLike<number | bigint>, (element) => Math.min(far, Math.max(-far, Number(element))));
  }

  usesOf(value: string): readonly Use[] {
    return this.#uses.get(value) ?? [];
  }

  isGraphOutput(value: string): boolean {
    return this.#outputs.has(value);
  }

  addRewrite(rewrite: Rewrite): void {
    this.#rewrites.push(rewrite);
  }

  addBalance(balance: Balance): void {
    this.#balances.push(balance);
  }

  /** What a rule gives must fit the inferred shape; where it does not, nothing of the value may go. */
  setAxes(value: string, axes: Axes): void {
    const shape = this.shapeOf(value);
    const fits =
      shape === undefined ||
      (shape.length === axes.length &&
        axes.every((axis, at) => axis.kind === 'fixed' || axis.atoms.length === shape[at]));
    if (fits) {
      this.#axes.set(value, axes);
      return;
    }
    const reason = `the shape of "${value}" is not the one its inputs give`;
    for (const axis of axes) freezeAxis(axis, reason, this.atoms);
    this.#setFixed(value, reason);
  }

  #setFixed(value: string, reason: string): void {
    if (value === '') return;
    const shape = this.shapeOf(value);
    const axis: Axis = fixedAxis(reason);
    if (shape !== undefined)
      this.#axes.set(
        value,
        shape.map((size) => (size === 1 ? SINGLE : axis)),
      );
  }

  #freezeValue(value: string, reason: string): void {
    for (const axis of this.axesOf(value) ?? []) freezeAxis(axis, reason, this.atoms);
  }
}
