import { defined } from '../../errors.ts';
import { NameScope, type Graph } from '../../onnx/graph.ts';
import type { Model } from '../../onnx/model.ts';
import { makeNode, type Node } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { clipCodes, quantizerClips, type ActivationParams } from './activation-params.ts';
import { affineParams, quantizeValue, type QuantParams } from './affine.ts';
import type { GraphView } from './graph-view.ts';
import type { QuantPlan } from './plan.ts';
import { moveActivationsBehindPools } from './pools-ahead.ts';
import {
  QUANT_RANGE,
  allocateQuantized,
  codesTensor,
  type ActivationType,
  type QuantType,
  type WeightType,
} from './quant-type.ts';
import { dropUnread } from './scope.ts';
import type { CodesUnit, ComputeUnit } from './units.ts';
import type { PlannedWeight, WeightPlan } from './weight-plan.ts';

/** Everything the writers need, decided beforehand. */
export interface WriteJob {
  readonly model: Model;
  readonly view: GraphView;
  readonly plan: QuantPlan;
  readonly params: ReadonlyMap<string, ActivationParams>;
  readonly weights: WeightPlan;
}

/** Names of a quantizer's scale and zero point among the initializers. */
export interface ParamNames {
  readonly scale: string;
  readonly zeroPoint: string;
}

/** A constant in codes. */
export interface StoredConstant extends ParamNames {
  readonly codes: string;
  readonly axis: number | undefined;
}

/**
 * Rewrites the graph by a plan. A value made as codes keeps its name for its dequantized form, so float readers, graph
 * outputs and subgraphs find it where it was. Subclasses write the compute units in their format.
 */
export abstract class CodeWriter {
  protected readonly job: WriteJob;
  protected readonly names: NameScope;
  readonly #graph: Graph;
  readonly #nodes: Node[] = [];
  /** Codes and dequantized form of each value that has them so far. */
  readonly #codes = new Map<string, string>();
  readonly #floats = new Map<string, string>();
  readonly #zeroPoints = new Map<string, string>();
  readonly #params = new Map<string, ParamNames>();
  readonly #constants = new Map<string, StoredConstant>();
  readonly #replaced = new Set<string>();
  /** Of the values with long names, in the order in which something was put beside them. */
  readonly #numbers = new Map<string, number>();

  constructor(job: WriteJob) {
    this.job = job;
    this.#graph = job.model.graph;
    this.names = new NameScope(job.model.graph);
  }

  /** Rewrites the model's main graph. */
  write(): void {
    moveActivationsBehindPools(this.job, this.names);
    const made = new Set<string>();
    for (const node of this.#graph.nodes) {
      const unit = this.job.plan.units.get(node);
      const [inputs, outputs] = [[...node.inputs], [...node.outputs]];
      if (unit === undefined) this.push(node);
      else if (unit.kind === 'codes') this.#writeCodes(unit);
      else this.writeCompute(unit);
      if (unit === undefined) continue;
      for (const input of inputs) if (this.job.view.constantOf(input) !== undefined) this.#replaced.add(input);
      for (const output of outputs) this.#restore(output);
    }
    this.#graph.nodes = this.#nodes;
    for (const node of this.#nodes) for (const output of node.outputs) made.add(output);
    for (const name of this.#graph.valueInfos.keys()) if (!made.has(name)) this.#graph.valueInfos.delete(name);
    dropUnread(this.#graph, this.#replaced);
  }

  protected abstract writeCompute(unit: ComputeUnit): void;
  /** Whether compute units read activations dequantized (QDQ) or as codes. */
  protected abstract readonly readsFloats: boolean;

  /**
   * A name for what stands beside the codes of `base`: its scale, its form in float. A long name would be a tenth of a small
   * network's file, written again at every use, so it is the codes alone that keep it; the rest has a number for it.
   */
  protected beside(base: string, suffix: string): string {
    if (base.length <= LONG_NAME) return this.names.fresh(`${base}_${suffix}`);
    let number = this.#numbers.get(base);
    if (number === undefined) this.#numbers.set(base, (number = this.#numbers.size));
    return this.names.fresh(`v${number}_${suffix}`);
  }

  protected push(node: Node): void {
    this.#nodes.push(node);
  }

  /** The codes of a value; quantizes it at this place when a float node made it. */
  protected codesOf(value: string): string {
    const known = this.#codes.get(value);
    if (known !== undefined) return known;
    const codes = this.names.fresh(`${value}_q`);
    this.pushQuantize(value, codes, this.rootOf(value));
    this.#codes.set(value, codes);
    return codes;
  }

  /** The value as codes and back. */
  protected floatOf(value: string): string {
    const known = this.#floats.get(value);
    if (known !== undefined) return known;
    const float = this.beside(value, 'dq');
    this.#pushDequantize(this.codesOf(value), float, this.rootOf(value));
    this.#floats.set(value, float);
    return float;
  }

  /** An input of a unit as codes and back: of the value's own type, or of a narrower one behind it. */
  protected floatFor(unit: ComputeUnit, index: number): string {
    const value = unit.node.inputs[index] ?? '';
    const float = this.floatOf(value);
    const quantizer = this.job.plan.quantizerOf(unit, index);
    if (quantizer === this.rootOf(value)) return float;
    const key = `${value} as ${quantizer}`;
    const known = this.#floats.get(key);
    if (known !== undefined) return known;
    const { type } = this.paramsOf(quantizer);
    const [codes, narrow] = [this.names.fresh(`${value}_${type}_q`), this.beside(value, `${type}_dq`)];
    this.pushQuantize(float, codes, quantizer);
    this.#pushDequantize(codes, narrow, quantizer);
    this.#floats.set(key, narrow);
    return narrow;
  }

  /** Says that a node made these codes of a value itself. */
  protected setCodes(value: string, codes: string): void {
    this.#codes.set(value, codes);
  }

  /** @param quantizer - a root value, or the name of a narrower quantizer */
  protected pushQuantize(from: string, codes: string, quantizer: string): void {
    const { scale, zeroPoint } = this.storedParams(quantizer);
    this.push(makeNode('QuantizeLinear', [from, scale, zeroPoint], [codes]));
  }

  #pushDequantize(codes: string, to: string, quantizer: string): void {
    const { scale, zeroPoint } = this.storedParams(quantizer);
    this.push(makeNode('DequantizeLinear', [codes, scale, zeroPoint], [to]));
  }

  /** Scale and zero point of a quantizer, stored once for all values that share them. */
  protected storedParams(quantizer: string): ParamNames {
    const known = this.#params.get(quantizer);
    if (known !== undefined) return known;
    const params = this.paramsOf(quantizer);
    const names = this.#storeParams(quantizer, params, params.type);
    this.#params.set(quantizer, names);
    return names;
  }

  protected rootOf(value: string): string {
    return this.job.plan.roots.get(value) ?? value;
  }

  /** @param quantizer - a root value, or the name of a narrower quantizer */
  protected paramsOf(quantizer: string): ActivationParams {
    return defined(this.job.params.get(quantizer), `parameters of "${quantizer}"`);
  }

  #storeParams(base: string, { scale, zeroPoint }: QuantParams, type: QuantType): ParamNames {
    const scaleName = this.beside(base, 's');
    this.store(Tensor.float(scaleName, [scale], []));
    return { scale: scaleName, zeroPoint: this.zeroPoint(type, zeroPoint) };
  }

  /** Zero points are few numbers in many places: each is stored once. `count` above 0: one a channel. */
  protected zeroPoint(type: QuantType | 'int32', value: number, count = 0): string {
    const key = `${type} ${value} ${count}`;
    const known = this.#zeroPoints.get(key);
    if (known !== undefined) return known;
    const name = this.names.fresh(`zp_${type}_${value}${count > 0 ? `_${count}` : ''}`);
    const dims = count > 0 ? [count] : [];
    const length = Math.max(count, 1);
    if (type === 'int32') this.store(Tensor.fromArray(name, { type, dims, data: new Int32Array(length).fill(value) }));
    else this.store(codesTensor(name, type, dims, allocateQuantized(type, length).fill(value)));
    this.#zeroPoints.set(key, name);
    return name;
  }

  protected store(tensor: Tensor): string {
    this.#graph.initializers.set(tensor.name, tensor);
    return tensor.name;
  }

  /** A constant operand, quantized to the type of the unit's activations with a range of its own (that of its values). */
  protected storedConstant(unit: ComputeUnit, index: number): StoredConstant {
    const name = unit.node.inputs[index] ?? '';
    const { type } = this.paramsOf(this.job.plan.quantizerOf(unit, unit.activations[0] ?? 0));
    const key = `${type} ${name}`;
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    const tensor = defined(this.job.view.constantOf(name), `constant "${name}"`);
    const values = tensor.floats();
    const params = affineParams(
      values.reduce((a, b) => Math.min(a, b)),
      values.reduce((a, b) => Math.max(a, b)),
      QUANT_RANGE[type],
      false,
    );
    const data = allocateQuantized(type, values.length);
    values.forEach((value, index) => (data[index] = quantizeValue(value, params, QUANT_RANGE[type])));
    const codes = this.store(Tensor.fromArray(this.names.fresh(`${name}_q`), { type, dims: tensor.dims, data }));
    const stored = { ...this.#storeParams(name, params, type), codes, axis: undefined };
    this.#constants.set(key, stored);
    return stored;
  }

  /** The unit's weight in codes, stored once for all that share it. */
  protected storedWeight(unit: ComputeUnit): StoredConstant & { readonly planned: PlannedWeight } {
    const planned = this.job.weights.weightOf(unit);
    const key = JSON.stringify([planned.tensor.name, planned.axis ?? null, unit.weight?.factor]);
    let stored = this.#constants.get(key);
    if (stored === undefined) {
      const { tensor, axis, scales, zeroPoints, codes: data } = planned;
      const { type } = planned;
      const codes = this.store(codesTensor(this.names.fresh(`${tensor.name}_q`), type, tensor.dims, data));
      const scale = this.store(
        Tensor.float(this.beside(tensor.name, 's'), scales, axis === undefined ? [] : [scales.length]),
      );
      stored = { codes, scale, zeroPoint: this.#weightZeroPoint(type, zeroPoints, axis), axis };
      this.#constants.set(key, stored);
    }
    return { ...stored, planned };
  }

  #weightZeroPoint(type: WeightType, zeroPoints: Int32Array, axis: number | undefined): string {
    const [first = 0] = zeroPoints;
    if (zeroPoints.every((zeroPoint) => zeroPoint === first)) {
      return this.zeroPoint(type, first, axis === undefined ? 0 : zeroPoints.length);
    }
    const data = allocateQuantized(type, zeroPoints.length);
    data.set(zeroPoints);
    return this.store(codesTensor(this.names.fresh('zp'), type, [zeroPoints.length], data));
  }

  #writeCodes({ node, clip }: CodesUnit): void {
    const input = node.inputs[0] ?? '';
    const codes = this.codesOf(input);
    if (clip !== undefined) {
      const params = this.paramsOf(this.rootOf(input));
      const output = node.outputs[0] ?? '';
      if (quantizerClips(clip, params)) this.#codes.set(output, codes);
      else this.#writeClip(node, codes, { bounds: clipCodes(clip, params), type: params.type });
      return;
    }
    node.inputs[0] = codes;
    if (node.opType === 'Pad' && node.string('mode', 'constant') === 'constant') {
      // Real 0 is the zero point; without a value Pad would fill in code 0.
      const { zeroPoint } = this.storedParams(this.rootOf(input));
      node.inputs = [codes, node.inputs[1] ?? '', zeroPoint, ...node.inputs.slice(3)];
    }
    node.outputs = node.outputs.map((output) => {
      if (output === '') return output;
      const made = this.names.fresh(`${output}_q`);
      this.#codes.set(output, made);
      return made;
    });
    this.push(node);
  }

  #writeClip(
    node: Node,
    codes: string,
    { bounds, type }: { readonly bounds: readonly [number, number]; readonly type: ActivationType },
  ): void {
    const output = node.outputs[0] ?? '';
    const made = this.names.fresh(`${output}_q`);
    this.push(
      makeNode('Clip', [codes, ...bounds.map((bound) => this.zeroPoint(type, bound))], [made], { name: node.name }),
    );
    this.#codes.set(output, made);
  }

  /** Gives a value made as codes its float form under its own name, when anybody reads it. */
  #restore(value: string): void {
    const codes = this.#codes.get(value);
    if (codes === undefined || this.#floats.has(value)) return;
    const { view, plan } = this.job;
    const readsFloat = view.readersOf(value).some(({ node, inputIndex }) => {
      const unit = plan.units.get(node);
      if (unit === undefined || inputIndex < 0) return true;
      return unit.kind === 'compute' && this.readsFloats;
    });
    if (!readsFloat && !view.isOutput(value)) return;
    this.#pushDequantize(codes, value, this.rootOf(value));
    this.#floats.set(value, value);
  }
}

/** Characters that a name may have and still be repeated. */
const LONG_NAME = 6;
