import type { Graph } from '../graph.ts';
import { functionKey } from '../inference/function-call.ts';
import type { TypeTable, UnknownNode } from '../inference/type-table.ts';
import type { Model } from '../model.ts';
import type { Node } from '../node.ts';
import type { Shape } from '../value-type.ts';
import { macRuleOf, UNCOUNTED } from './mac-rules.ts';
import { OperandBits } from './operand-bits.ts';
import { typesAtBatchOne } from './types-for-cost.ts';

export interface NodeMacs {
  readonly node: Node;
  readonly graph: Graph;
  readonly macs: number;
  /** Bits in which the operands are multiplied; undefined when the type of one is unknown. */
  readonly activationBits: number | undefined;
  readonly weightBits: number | undefined;
}

export interface MacCount {
  /** Multiply-accumulates of one run; a lower bound when `unknown` is not empty. */
  readonly total: number;
  /** Sum of macs * activationBits * weightBits; operands of unknown type count as 32 bits. */
  readonly bitOperations: number;
  /** Every node that multiplies and accumulates, in graph order, nodes of subgraphs included. */
  readonly nodes: readonly NodeMacs[];
  /** Nodes that could not be counted, with the reason. */
  readonly unknown: readonly UnknownNode[];
}

/**
 * Counts multiply-accumulates of convolutions, matrix products, recurrent layers and attention. Convention: one per
 * product that is accumulated; biases, normalizations, activations and pooling are not counted; zero padding is; batch 1
 * where the batch is symbolic. Of an If, the costlier branch counts; a Loop or Scan body counts as often as it runs
 * where that is fixed, else once, and it is reported.
 *
 * @param types - made by `typesAtBatchOne` when absent; a table with open symbols leaves the nodes behind them unknown
 */
export function macsOf(model: Model, types: TypeTable = typesAtBatchOne(model)): MacCount {
  return new MacCounter(model, types).count();
}

interface Sum {
  readonly macs: number;
  readonly bitOperations: number;
}

class MacCounter {
  readonly #model: Model;
  readonly #types: TypeTable;
  readonly #functions: ReadonlySet<string>;
  readonly #nodes: NodeMacs[] = [];
  readonly #unknown: UnknownNode[] = [];

  constructor(model: Model, types: TypeTable) {
    this.#model = model;
    this.#types = types;
    this.#functions = new Set(model.functions.map(({ domain, name, overload }) => functionKey(domain, name, overload)));
  }

  count(): MacCount {
    const { macs, bitOperations } = this.#graph(this.#model.graph);
    return { total: macs, bitOperations, nodes: this.#nodes, unknown: this.#unknown };
  }

  #graph(graph: Graph): Sum {
    const bits = new OperandBits(graph, this.#types);
    let macs = 0;
    let bitOperations = 0;
    for (const node of graph.nodes) {
      const cost = this.#node(node, graph, bits);
      macs += cost.macs;
      bitOperations += cost.bitOperations;
    }
    return { macs, bitOperations };
  }

  #node(node: Node, graph: Graph, bits: OperandBits): Sum {
    const subgraphs = node.subgraphs();
    if (subgraphs.length > 0) return this.#controlFlow(node, graph, subgraphs);
    const rule = macRuleOf(node);
    if (rule === undefined) {
      if (this.#functions.has(functionKey(node.domain, node.opType, node.overload))) {
        this.#unknown.push({ node, reason: 'the inside of a model-local function is not counted' });
      } else if (UNCOUNTED.has(`${node.domain}:${node.opType}`)) {
        this.#unknown.push({ node, reason: 'no rule for this operator' });
      }
      return { macs: 0, bitOperations: 0 };
    }
    const shapeOf = (name: string | undefined): Shape | undefined => this.#types.shape(graph, name ?? '');
    const macs = rule.macs({
      node,
      input: (index) => shapeOf(node.inputs[index]),
      output: (index) => shapeOf(node.outputs[index]),
    });
    if (macs === undefined) {
      this.#unknown.push({ node, reason: 'a size is not known; give sizes for the symbols of the inputs' });
      return { macs: 0, bitOperations: 0 };
    }
    const activationBits = rule.activationBits ?? bits.of(node.inputs[rule.activation] ?? '');
    const weightBits = rule.weightBits?.(node) ?? bits.of(node.inputs[rule.weight] ?? '');
    this.#nodes.push({ node, graph, macs, activationBits, weightBits });
    return { macs, bitOperations: macs * (activationBits ?? 32) * (weightBits ?? 32) };
  }

  #controlFlow(node: Node, graph: Graph, subgraphs: readonly Graph[]): Sum {
    const costs = subgraphs.map((subgraph) => this.#graph(subgraph));
    const costliest = costs.reduce((best, cost) => (cost.macs > best.macs ? cost : best));
    if (node.opType === 'If' || costliest.macs === 0) return costliest;
    const trips = this.#trips(node, graph);
    if (trips === undefined) {
      this.#unknown.push({ node, reason: 'the number of rounds is not known; the body is counted once' });
      return costliest;
    }
    return { macs: costliest.macs * trips, bitOperations: costliest.bitOperations * trips };
  }

  #trips(node: Node, graph: Graph): number | undefined {
    if (node.opType === 'Loop') {
      // A condition may end the loop earlier.
      if ((node.inputs[1] ?? '') !== '') return undefined;
      return this.#types.constant(graph, node.inputs[0] ?? '')?.[0];
    }
    const scanned = node.inputs.at(-node.int('num_scan_inputs', 1));
    const length = this.#types.shape(graph, scanned ?? '')?.[node.ints('scan_input_axes')?.[0] ?? 0];
    return typeof length === 'number' ? length : undefined;
  }
}
