import { NameScope, producersOf } from '../../onnx/graph.ts';
import { opsetOf, type Model } from '../../onnx/model.ts';
import { describeNode, makeNode, type Node } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { upgradeOpset } from '../../onnx/upgrade/upgrade-opset.ts';
import { copyModel, copyNode } from '../../training/copy-model.ts';
import { counterpartsIn, isWeighted, type LayerPair, type QuantizedValue } from '../layer-match.ts';

/** Nodes that make a layer's output in another way, beside the node that makes it in float; they read the float model's values. */
export interface Side {
  readonly nodes: readonly Node[];
  readonly output: string;
}

/** Where a walk back through the result may end: a value that the float model has, too. */
interface Stop {
  readonly value: string;
  /** Index of the node that makes it in the float model; -1 for inputs. */
  readonly place: number;
  /** What the result rounds it by on the way. */
  readonly quantized?: QuantizedValue;
}

/** A layer of more nodes than this is not one layer. */
const MAX_NODES = 200;

/**
 * Writes single layers of a quantized model beside the float model they come from, so that each can be run on float inputs, alone or
 * with others. `model` is a copy of the float model, on the result's opset; what the layers store is put among its initializers.
 */
export class Beside {
  readonly model: Model;
  readonly #result: Model;
  readonly #names: NameScope;
  readonly #producers: ReadonlyMap<string, Node>;
  readonly #floatProducers: ReadonlyMap<string, Node>;
  readonly #places: ReadonlyMap<Node | undefined, number>;
  readonly #stops = new Map<string, Stop>();
  readonly #stored = new Map<Tensor, string>();
  readonly #roundings = new Map<string, QuantizedValue>();
  /** What the result rounds by a range that it finds while running. */
  readonly #dynamic: ReadonlySet<string>;

  /**
   * @param pairs - as matched between the two models
   * @returns undefined where the float model cannot be brought to the result's opset
   */
  static of(float: Model, result: Model, pairs: readonly LayerPair[]): Beside | undefined {
    const model = copyModel(float);
    if (opsetOf(model) < opsetOf(result) && upgradeOpset(model, opsetOf(result)).to < opsetOf(result)) return undefined;
    for (const [domain, opset] of result.opsetImports) {
      model.opsetImports.set(domain, Math.max(opset, model.opsetImports.get(domain) ?? 0));
    }
    model.irVersion = Math.max(model.irVersion, result.irVersion);
    return new Beside(model, result, pairs);
  }

  private constructor(model: Model, result: Model, pairs: readonly LayerPair[]) {
    this.model = model;
    this.#result = result;
    this.#names = new NameScope(model.graph);
    this.#producers = producersOf(result.graph);
    this.#floatProducers = producersOf(model.graph);
    this.#dynamic = new Set(
      result.graph.nodes
        .filter(({ opType }) => opType === 'DynamicQuantizeLinear')
        .map(({ inputs }) => inputs[0] ?? ''),
    );
    this.#places = new Map(model.graph.nodes.map((node, index) => [node, index]));
    const find = counterpartsIn(result.graph);
    const values = [...model.graph.inputs.map(({ name }) => name), ...this.#floatProducers.keys()];
    for (const value of values) {
      const place = this.placeOf(value);
      const quantized = find(value)?.quantized;
      const rounded = find(value)?.name ?? value;
      if (quantized !== undefined) this.#roundings.set(value, quantized);
      if (rounded !== value && !this.#stops.has(value)) this.#stops.set(value, { value, place });
      this.#stops.set(rounded, { value, place, ...(quantized === undefined ? {} : { quantized }) });
    }
    for (const { output, counterpart } of pairs) {
      if (counterpart === undefined) continue;
      const { name, quantized } = counterpart;
      if (quantized !== undefined) this.#roundings.set(output, quantized);
      this.#stops.set(name, {
        value: output,
        place: this.placeOf(output),
        ...(quantized === undefined ? {} : { quantized }),
      });
    }
  }

  /** Index of the node that makes a value of the float model; -1 for its inputs. */
  placeOf(value: string): number {
    return this.#places.get(this.#floatProducers.get(value)) ?? -1;
  }

  fresh(base: string): string {
    return this.#names.fresh(base);
  }

  /** What the result rounds a value of the float model by. */
  roundingOf(value: string): QuantizedValue | undefined {
    return this.#roundings.get(value);
  }

  /**
   * The layer as the result has it: its inputs rounded, its weights in codes, its output rounded.
   *
   * @param read - the name under which a value of the float model is to be read
   * @returns why there is none, in words
   */
  layer(pair: LayerPair, read: (value: string) => string = (value) => value): Side | string {
    const { counterpart, output } = pair;
    if (counterpart === undefined) return 'the result has no value to compare it with';
    const place = this.#nodePlace(pair);
    const target = counterpart.name;
    const nodes: Node[] = [];
    const made = new Map<string, string>();
    const walk: { weighted: number; obstacle?: string } = { weighted: 0 };
    const take = (name: string): string => {
      if (name === '' || walk.obstacle !== undefined) return '';
      const known = made.get(name);
      if (known !== undefined) return known;
      const tensor = this.#result.graph.initializers.get(name);
      if (tensor !== undefined) return this.#store(tensor);
      const stop = this.#stops.get(name);
      if (name !== target && stop !== undefined && stop.place < place) {
        const value =
          stop.quantized === undefined ? read(stop.value) : this.#round(read(stop.value), stop.quantized, nodes);
        made.set(name, value);
        return value;
      }
      const node = this.#producers.get(name);
      if (node === undefined) walk.obstacle = `it reads "${name}", which the float model does not have`;
      else if (node.subgraphs().length > 0) walk.obstacle = `it reads what ${describeNode(node)} makes`;
      else if (nodes.length >= MAX_NODES) walk.obstacle = 'its inputs could not be found in the float model';
      if (node === undefined || walk.obstacle !== undefined) return '';
      if (isWeighted(node)) walk.weighted += 1;
      if (walk.weighted > 1) walk.obstacle = 'its inputs have no counterpart in the float model';
      const inputs = node.inputs.map(take);
      const outputs = node.outputs.map((value) => (value === '' ? '' : this.fresh(`${value}_side`)));
      node.outputs.forEach((value, index) => made.set(value, outputs[index] ?? ''));
      nodes.push(this.#rewired(node, inputs, outputs));
      return made.get(name) ?? '';
    };
    let own = take(target);
    if (walk.obstacle !== undefined) return walk.obstacle;
    if (counterpart.quantized?.stored === true) own = this.#dequantize(own, counterpart.quantized, nodes);
    return nodes.length === 0 ? `the result has it as "${output}" was` : { nodes, output: own };
  }

  /** The float layer with the numbers that the result's weights stand for; undefined where they cannot be put in its place. */
  withWeights(pair: LayerPair, values: ArrayLike<number>): Side | undefined {
    const { node, weight } = pair;
    const index = node.inputs.indexOf(weight?.tensor.name ?? '');
    if (index < 0 || weight?.tensor.dataType !== 'float' || values.length !== weight.tensor.elementCount)
      return undefined;
    const name = this.fresh(`${weight.tensor.name}_side`);
    this.model.graph.initializers.set(name, Tensor.float(name, Float32Array.from(values), weight.tensor.dims));
    return this.#chain(pair, node.inputs.with(index, name), []);
  }

  /** The float layer on its inputs as the result rounds them; undefined where it rounds none. */
  withRoundedInputs(pair: LayerPair): Side | undefined {
    const nodes: Node[] = [];
    const inputs = pair.node.inputs.map((input) => {
      if (this.model.graph.initializers.has(input)) return input;
      if (this.#dynamic.has(input)) return this.#roundDynamically(input, nodes);
      const quantized = this.roundingOf(input);
      if (quantized === undefined) return input;
      const codes = this.#quantize(input, quantized, nodes);
      return this.#dequantize(codes, quantized, nodes);
    });
    return nodes.length === 0 ? undefined : this.#chain(pair, inputs, nodes);
  }

  /** Copies the float layer, with other inputs, and what follows it up to the value that is compared. */
  #chain(pair: LayerPair, inputs: readonly string[], before: readonly Node[]): Side | undefined {
    const place = this.#nodePlace(pair);
    const nodes = [...before];
    const layer = this.model.graph.nodes[place];
    const take = (name: string): string => {
      const node = this.#floatProducers.get(name);
      if (node === undefined || this.placeOf(name) < place) return name;
      const outputs = node.outputs.map((value) => (value === '' ? '' : this.fresh(`${value}_side`)));
      const own = node === layer ? [...inputs] : node.inputs.map(take);
      nodes.push(this.#rewired(node, own, outputs));
      return outputs[node.outputs.indexOf(name)] ?? '';
    };
    const output = take(pair.output);
    return nodes.length > before.length + MAX_NODES ? undefined : { nodes, output };
  }

  #rewired(node: Node, inputs: string[], outputs: string[]): Node {
    return Object.assign(copyNode(node), { name: this.fresh(`${node.name}_side`), inputs, outputs });
  }

  #nodePlace({ node }: LayerPair): number {
    return this.placeOf(node.outputs[0] ?? '');
  }

  #round(value: string, quantized: QuantizedValue, nodes: Node[]): string {
    const codes = this.#quantize(value, quantized, nodes);
    return quantized.stored ? codes : this.#dequantize(codes, quantized, nodes);
  }

  #quantize(value: string, { parameters }: QuantizedValue, nodes: Node[]): string {
    const codes = this.fresh(`${value}_side_q`);
    nodes.push(makeNode('QuantizeLinear', [value, ...this.#parameters(parameters)], [codes], { name: codes }));
    return codes;
  }

  #dequantize(codes: string, { parameters }: QuantizedValue, nodes: Node[]): string {
    const real = this.fresh(`${codes}_side`);
    nodes.push(makeNode('DequantizeLinear', [codes, ...this.#parameters(parameters)], [real], { name: real }));
    return real;
  }

  #roundDynamically(value: string, nodes: Node[]): string {
    const made = ['q', 's', 'z'].map((suffix) => this.fresh(`${value}_side_${suffix}`));
    const real = this.fresh(`${value}_side`);
    nodes.push(makeNode('DynamicQuantizeLinear', [value], made, { name: made[0] ?? '' }));
    nodes.push(makeNode('DequantizeLinear', made, [real], { name: real }));
    return real;
  }

  #parameters({ scale, zeroPoint }: QuantizedValue['parameters']): string[] {
    return [scale, zeroPoint].flatMap((tensor) => (tensor === undefined ? [] : [this.#store(tensor)]));
  }

  #store(tensor: Tensor): string {
    const known = this.#stored.get(tensor);
    if (known !== undefined) return known;
    const name = this.fresh(`${tensor.name}_side`);
    this.model.graph.initializers.set(name, tensor.renamed(name));
    this.#stored.set(tensor, name);
    return name;
  }
}
