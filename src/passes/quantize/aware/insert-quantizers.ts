import { defined } from '../../../errors.ts';
import { producersOf } from '../../../onnx/graph.ts';
import type { GraphBuilder } from '../../../onnx/graph-builder.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import type { Bounds, ForwardRewrite, OwnParameter } from '../../../training/forward-rewrite.ts';
import { FAKE_QUANTIZE, SCALE_GRADIENT, fakeQuantizeFunction } from '../../../training/quantizers/fake-quantize.ts';
import { TERSOR, declareFunctions } from '../../../training/quantizers/marked-function.ts';
import { elementsPerScale, writeQuantizer, type Quantizer } from '../../../training/quantizers/quantizer.ts';
import { StaticTypes } from '../../../training/static-types.ts';
import { isMadeAsCodes, type AwarePlan } from './aware-plan.ts';
import { edgeKey, type StartQuantizers } from './start-quantizers.ts';

/** Puts the plan's quantizers into a graph of the plan's model, normalizations folded or not. Every size is fixed. */
export function insertQuantizers(
  b: GraphBuilder,
  model: Model,
  awarePlan: AwarePlan,
  quantizers: StartQuantizers,
): ForwardRewrite {
  return new Insertion(b, model, awarePlan).insert(quantizers);
}

class Insertion {
  readonly #b: GraphBuilder;
  readonly #model: Model;
  readonly #aware: AwarePlan;
  readonly #types: StaticTypes;
  readonly #producers: ReadonlyMap<string, Node>;
  readonly #parameters: OwnParameter[] = [];
  readonly #bounds = new Map<string, Bounds>();
  readonly #replaced = new Map<string, string>();
  /** By the quantizer's name. */
  readonly #scales = new Map<string, string>();

  constructor(b: GraphBuilder, model: Model, aware: AwarePlan) {
    this.#b = b;
    this.#model = model;
    this.#aware = aware;
    this.#types = new StaticTypes(model);
    this.#producers = producersOf(model.graph);
  }

  insert(quantizers: StartQuantizers): ForwardRewrite {
    declareFunctions(this.#model, [fakeQuantizeFunction]);
    this.#insertWeights(quantizers);
    this.#insertRoots(quantizers);
    this.#insertEdges(quantizers);
    this.#insertBiases(quantizers);
    return { parameters: this.#parameters, bounds: this.#bounds, replaced: this.#replaced };
  }

  /** The node that makes the value in this graph; with `weighted`, the layer behind whose normalization it stands. */
  #nodeOf(key: string, weighted: boolean): Node {
    const node = defined(this.#producers.get(key), `the node that makes "${key}"`);
    if (!weighted || node.opType !== 'BatchNormalization') return node;
    return defined(this.#producers.get(node.inputs[0] ?? ''), `the layer before "${key}"`);
  }

  #insertWeights({ weights }: StartQuantizers): void {
    const done = new Map<string, string>();
    for (const { key, unit } of this.#aware.layers) {
      const quantizer = defined(weights.get(key), `quantizer of the weights of "${key}"`);
      const node = this.#nodeOf(key, true);
      const index = unit.weight?.index ?? 1;
      const weight = node.inputs[index] ?? '';
      const quantized = done.get(quantizer.name) ?? this.#quantize(weight, quantizer);
      done.set(quantizer.name, quantized);
      node.inputs[index] = quantized;
    }
  }

  /** What a unit makes all its readers get quantized; of what a float node makes, only those that read codes. */
  #insertRoots({ roots }: StartQuantizers): void {
    const { plan, view } = this.#aware;
    for (const [root, quantizer] of roots) {
      const readers = [...this.#model.graph.nodes];
      const quantized = this.#quantize(root, quantizer);
      if (isMadeAsCodes(root, view, plan)) {
        for (const node of readers) node.inputs = node.inputs.map((input) => (input === root ? quantized : input));
        this.#replaced.set(root, quantized);
      } else this.#feedUnits(root, quantized);
      this.#requantizeClips(root, quantizer);
    }
  }

  /** Gives a value in codes to the units that read it so. */
  #feedUnits(root: string, quantized: string): void {
    for (const unit of this.#aware.plan.units.values()) {
      const node = this.#nodeOf(unit.node.outputs[0] ?? '', unit.kind === 'compute' && unit.weight !== undefined);
      const indices = unit.kind === 'compute' ? unit.activations : [0];
      for (const index of indices) if (node.inputs[index] === root) node.inputs[index] = quantized;
    }
  }

  /** The edge of a clip is a code too: rounded to the grid of the value, as the codes that are clipped are. */
  #requantizeClips(root: string, quantizer: Quantizer): void {
    const { plan } = this.#aware;
    for (const unit of plan.units.values()) {
      const output = unit.node.outputs[0] ?? '';
      if (unit.kind !== 'codes' || unit.clip === undefined || plan.roots.get(output) !== root) continue;
      if (unit.node.opType === 'Relu') continue;
      const readers = [...this.#model.graph.nodes];
      const scale = defined(this.#scales.get(quantizer.name), `scale of "${root}"`);
      const rounded = this.#b.op('Round', [this.#b.op('Div', [output, scale])]);
      const onGrid = this.#b.op('Mul', [rounded, scale]);
      for (const node of readers) node.inputs = node.inputs.map((input) => (input === output ? onGrid : input));
      this.#replaced.set(output, onGrid);
    }
  }

  #insertEdges({ edges }: StartQuantizers): void {
    const done = new Map<string, string>();
    for (const edge of this.#aware.edges) {
      const node = this.#nodeOf(edge.key, true);
      const key = edgeKey(edge);
      const quantizer = defined(edges.get(key), `quantizer in front of "${edge.key}"`);
      const read = node.inputs[edge.inputIndex] ?? '';
      const quantized = done.get(key) ?? this.#quantize(read, quantizer);
      done.set(key, quantized);
      node.inputs[edge.inputIndex] = quantized;
    }
  }

  /**
   * Biases of int8 kernels are stored in steps of the products. That of a normalization in training is not known before it ends.
   */
  #insertBiases({ roots, edges, weights }: StartQuantizers): void {
    const { layers, plan, edges: placed } = this.#aware;
    for (const { key, unit, storedAs } of layers) {
      const node = this.#nodeOf(key, true);
      const bias = node.inputs[unit.bias?.index ?? -1] ?? '';
      if (storedAs !== 'int8' || bias === '' || node.outputs[0] !== key) continue;
      const [inputIndex = 0] = unit.activations;
      const read = unit.node.inputs[inputIndex] ?? '';
      const edge = placed.find((one) => one.key === key && one.inputIndex === inputIndex);
      const input = edge === undefined ? roots.get(plan.roots.get(read) ?? read) : edges.get(edgeKey(edge));
      const ofWeights = weights.get(key);
      const [x, w] = [input, ofWeights].map((quantizer) => this.#scales.get(quantizer?.name ?? ''));
      const scale = defined(w, `scale of the weights of "${key}"`);
      // With an offset a byte holds the codes at half their scale.
      const stored = (ofWeights?.offset ?? 0) === 0 ? scale : this.#b.op('Mul', [scale, this.#b.float('half', 0.5)]);
      const vector = this.#b.op('Reshape', [stored, this.#b.ints('vector', [-1])]);
      const step = this.#b.op('Mul', [vector, defined(x, `scale of what "${key}" reads`)], {
        name: `${key}.bias_step`,
      });
      const bounds = [-INT32_MAX, INT32_MAX].map((bound) => this.#b.float('int32', bound));
      node.inputs[unit.bias?.index ?? 2] = this.#b.op(FAKE_QUANTIZE, [bias, step, ...bounds], {
        domain: TERSOR,
        name: `${key}.bias.quantize`,
        attributes: { [SCALE_GRADIENT]: 'none' },
      });
    }
  }

  #quantize(value: string, quantizer: Quantizer): string {
    const shape = this.#types.shape(value);
    const written = writeQuantizer(this.#b, value, quantizer, elementsPerScale(shape, quantizer));
    this.#types.declare(written.value, 'float', shape);
    this.#parameters.push(...written.parameters);
    for (const [name, bounds] of written.bounds) this.#bounds.set(name, bounds);
    this.#scales.set(quantizer.name, written.scale);
    return written.value;
  }
}

const INT32_MAX = 2 ** 31 - 1;
