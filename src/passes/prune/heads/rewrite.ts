import { defined } from '../../../errors.ts';
import { NameScope, usesOf, type Use } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { attributeOf, Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { Mark } from './labels.ts';
import { Obstacle } from './obstacle.ts';
import { alignedAxis, sliceOf } from './rules.ts';
import { GraphFacts, type Spread } from './spread.ts';
import { take } from './take.ts';

/** One place with the units to take out of it. */
export interface Removal {
  readonly spread: Spread;
  readonly units: ReadonlySet<number>;
}

/**
 * Takes units out: columns and rows of weights, entries of constants, sizes in shapes. Values that others share are copied.
 * Whether every shape came out right is for the caller to check: a size may be computed in ways not followed here.
 *
 * @throws Obstacle half way; the model is then spoiled
 */
export function rewrite(model: Model, removal: Removal, facts: GraphFacts): void {
  new Rewriter(model, removal, facts).run();
}

/** Positions of a marked axis that stay. */
export function keptPositions({ labels }: Mark, removed: ReadonlySet<number>): number[] {
  const kept: number[] = [];
  for (const [at, label] of labels.entries()) if (!removed.has(label)) kept.push(at);
  return kept;
}

class Rewriter {
  readonly #model: Model;
  readonly #removal: Removal;
  readonly #facts: GraphFacts;
  readonly #names: NameScope;
  readonly #uses: Map<string, Use[]>;
  /** Nodes of this model by their first output: it may be a copy of the one that was planned on. */
  readonly #nodes: ReadonlyMap<string, Node>;

  constructor(model: Model, removal: Removal, facts: GraphFacts) {
    this.#model = model;
    this.#removal = removal;
    this.#facts = facts;
    this.#names = new NameScope(model.graph);
    this.#uses = usesOf(model.graph);
    this.#nodes = new Map(model.graph.nodes.map((node) => [node.outputs[0] ?? '', node]));
  }

  run(): void {
    for (const planned of this.#removal.spread.nodes) {
      const node = defined(this.#nodes.get(planned.outputs[0] ?? ''), 'node of the plan');
      this.#node(node, planned);
    }
    for (const value of this.#removal.spread.marks.keys()) this.#model.graph.valueInfos.delete(value);
  }

  #node(node: Node, planned: Node): void {
    const input = this.#mark(planned.inputs[0]);
    const output = this.#mark(planned.outputs[0]);
    switch (planned.opType) {
      case 'MatMul':
        if (this.#facts.constant(planned.inputs[1]) !== undefined) this.#product(node, planned, [0, 1]);
        return;
      case 'Gemm':
        this.#product(node, planned, node.int('transB', 0) === 0 ? [0, 1] : [1, 0]);
        return;
      case 'Reshape':
      case 'Expand':
        if (output !== undefined) this.#resize(node, 1, output);
        return;
      case 'Split':
        this.#split(node, planned);
        return;
      case 'Slice':
        if (input !== undefined) this.#slice(node, planned, input);
        return;
      case 'Concat':
      default:
        if (output !== undefined) this.#constants(node, planned, output);
    }
  }

  #mark(value: string | undefined): Mark | undefined {
    return value === undefined ? undefined : this.#removal.spread.marks.get(value);
  }

  /** Constant operands that meet the marked axis of the result. */
  #constants(node: Node, planned: Node, output: Mark): void {
    if (['Transpose', 'Flatten', 'Squeeze', 'Unsqueeze', 'Gather', 'Shape', 'Size'].includes(node.opType)) return;
    if (node.opType.startsWith('Reduce')) return;
    const rank = this.#rank(planned.outputs[0] ?? '');
    for (const [at, name] of planned.inputs.entries()) {
      const tensor = this.#facts.constant(name);
      if (tensor === undefined) continue;
      const axis = alignedAxis(tensor.dims, output.axis, rank);
      if (axis === undefined || tensor.dims[axis] !== output.labels.length) continue;
      this.#cut(node, at, axis, output);
    }
  }

  /** @param axes - of the weight: what it takes in, what it gives */
  #product(node: Node, planned: Node, [rows, columns]: readonly [number, number]): void {
    const [a, output] = [this.#mark(planned.inputs[0]), this.#mark(planned.outputs[0])];
    const rank = this.#rank(planned.outputs[0] ?? '');
    if (a?.axis === rank - 1) this.#cut(node, 1, rows, a);
    if (output?.axis !== rank - 1) return;
    this.#cut(node, 1, columns, output);
    const bias = this.#facts.constant(planned.inputs[2]);
    const axis = (bias?.dims.length ?? 0) - 1;
    if (bias?.dims[axis] === output.labels.length) this.#cut(node, 2, axis, output);
  }

  #cut(node: Node, input: number, axis: number, mark: Mark): void {
    const name = node.inputs[input] ?? '';
    const tensor = defined(this.#model.graph.initializers.get(name), `"${name}"`);
    this.#replace(node, input, take(tensor, axis, keptPositions(mark, this.#removal.units)));
  }

  /** A tensor that only this node reads keeps its name. */
  #replace(node: Node, input: number, tensor: Tensor): void {
    const { graph } = this.#model;
    const old = node.inputs[input] ?? '';
    const isShared = (this.#uses.get(old)?.length ?? 0) > 1 || graph.outputs.some((output) => output.name === old);
    const name = isShared || old === '' ? this.#names.fresh(`${old === '' ? node.name : old}_pruned`) : old;
    if (name !== old) {
      const uses = this.#uses.get(old);
      if (uses !== undefined)
        this.#uses.set(
          old,
          uses.filter((use) => use.node !== node || use.inputIndex !== input),
        );
      this.#uses.set(name, [{ node, inputIndex: input }]);
    }
    graph.initializers.set(name, tensor.renamed(name));
    graph.valueInfos.delete(name);
    while (node.inputs.length <= input) node.inputs.push('');
    node.inputs[input] = name;
  }

  /** Writes the new size of the marked axis into the shape at that input, where it is a constant there. */
  #resize(node: Node, input: number, { axis, labels }: Mark): void {
    const size = labels.reduce((count, label) => count + (this.#removal.units.has(label) ? 0 : 1), 0);
    this.#patch(node, input, axis, { from: labels.length, to: size });
  }

  #patch(node: Node, input: number, at: number, sizes: { readonly from: number; readonly to: number }): void {
    const name = node.inputs[input] ?? '';
    const tensor = this.#model.graph.initializers.get(name);
    if (tensor !== undefined) {
      const values = tensor.integers();
      if (values[at] !== sizes.from) return;
      values[at] = sizes.to;
      const data = tensor.dataType === 'int32' ? Int32Array.from(values) : BigInt64Array.from(values, BigInt);
      const type = tensor.dataType === 'int32' ? 'int32' : 'int64';
      this.#replace(node, input, Tensor.fromArray(name, { type, dims: tensor.dims, data }));
      return;
    }
    const producer = this.#model.graph.nodes.find(({ outputs }) => outputs[0] === name);
    if (
      producer === undefined ||
      !['Concat', 'Cast', 'Identity', 'Unsqueeze', 'Squeeze', 'Reshape'].includes(producer.opType)
    )
      return;
    const own = this.#private(producer, node, input);
    if (producer.opType !== 'Concat') {
      this.#patch(own, 0, at, sizes);
      return;
    }
    let offset = 0;
    for (const [index, part] of producer.inputs.entries()) {
      const length = this.#facts.constant(part)?.elementCount ?? this.#facts.types.shape(part)?.[0];
      if (length === undefined) return;
      if (at < offset + length) {
        this.#patch(own, index, at - offset, sizes);
        return;
      }
      offset += length;
    }
  }

  /** The node itself where only `reader` takes its output, else a copy for it. */
  #private(node: Node, reader: Node, input: number): Node {
    const [name = ''] = node.outputs;
    if ((this.#uses.get(name)?.length ?? 0) <= 1) return node;
    const output = this.#names.fresh(`${name}_pruned`);
    const copy = Object.assign(new Node({ opType: node.opType, inputs: [...node.inputs], outputs: [output] }), node, {
      name: this.#names.fresh(`${node.name === '' ? node.opType : node.name}_pruned`),
      inputs: [...node.inputs],
      outputs: [output],
    });
    const { nodes } = this.#model.graph;
    nodes.splice(nodes.indexOf(node) + 1, 0, copy);
    for (const [inputIndex, read] of copy.inputs.entries()) this.#uses.get(read)?.push({ node: copy, inputIndex });
    this.#uses.set(
      name,
      (this.#uses.get(name) ?? []).filter((use) => use.node !== reader || use.inputIndex !== input),
    );
    this.#uses.set(output, [{ node: reader, inputIndex: input }]);
    reader.inputs[input] = output;
    return copy;
  }

  #split(node: Node, planned: Node): void {
    const whole = this.#mark(planned.inputs[0]);
    const axis = node.int('axis', 0);
    const rank = this.#rank(planned.inputs[0] ?? '');
    if (whole?.axis !== (axis < 0 ? axis + rank : axis)) return;
    const sizes = planned.outputs.map((part) => {
      const mark = this.#mark(part);
      return mark === undefined ? this.#size(part, whole.axis) : keptPositions(mark, this.#removal.units).length;
    });
    if (node.attributes.has('split')) node.attributes.set('split', attributeOf(sizes));
    else {
      node.attributes.delete('num_outputs');
      this.#replace(node, 1, Tensor.int64(`${node.name}_split`, sizes));
    }
  }

  #slice(node: Node, planned: Node, input: Mark): void {
    const range = sliceOf(planned, { facts: this.#facts, shape: (value) => this.#shape(value) }).get(input.axis);
    if (range === undefined) return;
    const rank = this.#rank(planned.inputs[0] ?? '');
    const before = (position: number): number =>
      keptPositions({ axis: 0, labels: input.labels.slice(0, position) }, this.#removal.units).length;
    const rewriteBound = (at: number, attribute: string, bound: number): void => {
      const axes = this.#facts.constant(planned.inputs[3])?.integers() ?? node.ints('axes');
      const place =
        axes === undefined ? input.axis : axes.findIndex((axis) => (axis < 0 ? axis + rank : axis) === input.axis);
      const listed = node.ints(attribute) ?? this.#model.graph.initializers.get(node.inputs[at] ?? '')?.integers();
      if (listed === undefined) throw new Obstacle('a Slice has bounds that are not constant');
      listed[place] = bound;
      if (node.attributes.has(attribute)) node.attributes.set(attribute, attributeOf(listed));
      else this.#replace(node, at, Tensor.int64(node.inputs[at] ?? '', listed));
    };
    rewriteBound(1, 'starts', before(range[0]));
    rewriteBound(2, 'ends', before(range[1]));
  }

  #shape(value: string): readonly number[] {
    return defined(this.#facts.types.shape(value), `shape of "${value}"`);
  }

  #rank(value: string): number {
    return this.#shape(value).length;
  }

  #size(value: string, axis: number): number {
    return defined(this.#shape(value)[axis], `size of "${value}"`);
  }
}
