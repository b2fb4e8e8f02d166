import { producersOf, usesOf, type Graph, type Use } from '../../../onnx/graph.ts';
import { opsetOf, type Model } from '../../../onnx/model.ts';
import { describeNode, type Node } from '../../../onnx/node.ts';
import type { Tensor } from '../../../onnx/tensor.ts';
import { concreteTypes, type ConcreteTypes, type Sizes } from '../removal/concrete-types.ts';
import { Merged, reshapeMark, unite, type Mark } from './labels.ts';
import { Obstacle } from './obstacle.ts';
import { RULES } from './rules.ts';

/** What planning asks of the graph, computed once. A snapshot. */
export class GraphFacts {
  readonly graph: Graph;
  readonly opset: number;
  readonly types: ConcreteTypes;
  readonly #producers: ReadonlyMap<string, Node>;
  readonly #uses: ReadonlyMap<string, readonly Use[]>;
  readonly #inputs: ReadonlySet<string>;
  readonly #outputs: ReadonlySet<string>;

  constructor(model: Model) {
    this.graph = model.graph;
    this.opset = opsetOf(model);
    this.types = concreteTypes(model);
    this.#producers = producersOf(model.graph);
    this.#uses = usesOf(model.graph);
    this.#inputs = new Set(model.graph.inputs.map(({ name }) => name));
    this.#outputs = new Set(model.graph.outputs.map(({ name }) => name));
  }

  producer(value: string): Node | undefined {
    return this.#producers.get(value);
  }

  uses(value: string): readonly Use[] {
    return this.#uses.get(value) ?? [];
  }

  /** The initializer a name stands for, unless callers may override it. */
  constant(value: string | undefined): Tensor | undefined {
    return value === undefined || this.#inputs.has(value) ? undefined : this.graph.initializers.get(value);
  }

  isInput(value: string): boolean {
    return this.#inputs.has(value);
  }

  isOutput(value: string): boolean {
    return this.#outputs.has(value);
  }
}

/** What carries the units: every value that has positions of theirs, and every node that reads or makes one. */
export interface Spread {
  readonly marks: ReadonlyMap<string, Mark>;
  readonly nodes: ReadonlySet<Node>;
}

/**
 * Follows units from one value through the graph, forwards and backwards, up to the layers with weights that make them and
 * the ones that take them in. Changes nothing.
 *
 * @returns the merged units when the graph does not tell all of them apart: start again with those
 * @throws Obstacle when something on the way cannot lose them
 */
export function spread(facts: GraphFacts, start: string, mark: Mark): Spread | Merged {
  const spreading = new Spreading(facts);
  spreading.set(start, mark.axis, mark.labels);
  return spreading.run();
}

/** The state of one walk; rules read and set marks through it. */
export class Spreading {
  readonly facts: GraphFacts;
  readonly #marks = new Map<string, Mark>();
  readonly #nodes = new Set<Node>();
  readonly #open = new Set<Node>();
  #merged: Merged | undefined;

  constructor(facts: GraphFacts) {
    this.facts = facts;
  }

  run(): Spread | Merged {
    for (const node of this.#open) {
      this.#open.delete(node);
      this.#nodes.add(node);
      const rule = RULES.get(`${node.domain}:${node.opType}`);
      if (rule === undefined) throw new Obstacle(`${describeNode(node)} is not followed`);
      rule(node, this);
      if (this.#merged !== undefined) return this.#merged;
    }
    return { marks: this.#marks, nodes: this.#nodes };
  }

  mark(value: string | undefined): Mark | undefined {
    return value === undefined ? undefined : this.#marks.get(value);
  }

  /** @throws Obstacle when a size is not known */
  shape(value: string): Sizes {
    const shape = this.facts.types.shape(value);
    if (shape === undefined) throw new Obstacle(`the shape of "${value}" is not known`);
    return shape;
  }

  /** Says that a value has these units along the axis. Constants are left to the rewriting of the nodes that read them. */
  set(value: string, axis: number, labels: Int32Array): void {
    if (value === '' || this.facts.constant(value) !== undefined || labels.every((label) => label < 0)) return;
    const known = this.#marks.get(value);
    const together = known === undefined ? labels : known.axis === axis ? unite(known.labels, labels) : undefined;
    if (together === undefined) throw new Obstacle(`"${value}" would lose other positions by two ways`);
    if (known?.labels.every((label, at) => label === together[at]) === true) return;
    if (this.facts.isInput(value)) throw new Obstacle(`"${value}" is an input of the model, which keeps its shape`);
    if (this.facts.isOutput(value)) throw new Obstacle(`"${value}" is an output of the model, which keeps its shape`);
    this.#marks.set(value, { axis, labels: together });
    const producer = this.facts.producer(value);
    if (producer !== undefined) this.#open.add(producer);
    for (const { node, inputIndex } of this.facts.uses(value)) {
      if (inputIndex < 0) throw new Obstacle(`a nested graph of ${describeNode(node)} reads "${value}"`);
      this.#open.add(node);
    }
  }

  /** Carries a mark over to a value of the same elements in another shape. */
  reshape(from: string, to: string): void {
    const mark = this.mark(from);
    if (mark === undefined) return;
    const moved = reshapeMark(this.shape(from), mark, this.shape(to));
    if (moved === undefined) throw new Obstacle(`the units cannot be told apart in "${to}"`);
    if (moved instanceof Merged) this.#merged = moved;
    else this.set(to, moved.axis, moved.labels);
  }
}
