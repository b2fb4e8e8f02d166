import { Tensor } from '../../../onnx/tensor.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import type { ParamNames, WriteJob } from '../code-writer.ts';
import { QdqWriter } from '../qdq-writer.ts';
import type { ComputeUnit, UnitWeight } from '../units.ts';
import { valuesOf, weightKey } from '../weight-plan.ts';
import type { QuantizedWeight } from '../weights.ts';

/** A layer of the simulation; its node reads its input rounded, and its weight by name. */
export interface SimulatedLayer {
  readonly unit: ComputeUnit;
  readonly weight: UnitWeight;
  readonly key: string;
  /** The values that the layer reads and makes in the model in float. */
  readonly input: string;
  readonly output: string;
  readonly node: Node;
  readonly index: number;
  /** Initializers of the simulation. `bias` is absent where the layer has none. */
  readonly weightName: string;
  readonly biasName: string | undefined;
}

/**
 * The quantized model as floats: activations go through QuantizeLinear and DequantizeLinear, weights and biases are initializers
 * with the values that their codes stand for, to be exchanged one by one while the model runs layer after layer.
 */
export interface Simulation {
  readonly model: Model;
  readonly layers: readonly SimulatedLayer[];
  /** Initializers with the scales of activations, by the quantizer's name. */
  readonly scales: ReadonlyMap<string, string>;
}

/** @param job - its model is rewritten */
export function simulate(job: WriteJob): Simulation {
  const writer = new SimulationWriter(job);
  writer.write();
  const places = new Map(job.model.graph.nodes.map((node, index) => [node, index]));
  const layers = writer.layers.map((layer) => ({ ...layer, index: places.get(layer.node) ?? 0 }));
  return { model: job.model, layers, scales: writer.scales };
}

/** Puts a layer's weight as it was in the place of its codes. */
export function setFloatWeight({ model }: Simulation, { weight, weightName }: SimulatedLayer): void {
  model.graph.initializers.set(weightName, Tensor.float(weightName, valuesOf(weight), weight.tensor.dims));
}

/** Puts other values in the place of a layer's weight: those that codes stand for. */
export function setWeight({ model }: Simulation, layer: SimulatedLayer, weight: QuantizedWeight & WeightShape): void {
  const values = dequantized(weight);
  model.graph.initializers.set(layer.weightName, Tensor.float(layer.weightName, values, layer.weight.tensor.dims));
}

export function addToBias({ model }: Simulation, { biasName }: SimulatedLayer, shift: Float64Array): void {
  const tensor = biasName === undefined ? undefined : model.graph.initializers.get(biasName);
  if (tensor === undefined || biasName === undefined) return;
  const values = tensor.floats().map((value, i) => value + (shift[i] ?? 0));
  model.graph.initializers.set(biasName, Tensor.float(biasName, values, tensor.dims));
}

interface WeightShape {
  readonly layout: { readonly outer: number; readonly channels: number; readonly inner: number };
}

/** (code - zero point) * scale. O(n). */
export function dequantized({ codes, scales, zeroPoints, layout }: QuantizedWeight & WeightShape): Float32Array {
  const { outer, channels, inner } = layout;
  const values = new Float32Array(codes.length);
  for (let o = 0; o < outer; o += 1) {
    for (let c = 0; c < channels; c += 1) {
      const scale = scales[c] ?? 1;
      const zeroPoint = zeroPoints[c] ?? 0;
      const from = (o * channels + c) * inner;
      for (let i = from; i < from + inner; i += 1) values[i] = ((codes[i] ?? 0) - zeroPoint) * scale;
    }
  }
  return values;
}

class SimulationWriter extends QdqWriter {
  readonly layers: Omit<SimulatedLayer, 'index'>[] = [];
  readonly scales = new Map<string, string>();
  readonly #weights = new Map<string, string>();

  protected override storedParams(quantizer: string): ParamNames {
    const names = super.storedParams(quantizer);
    this.scales.set(quantizer, names.scale);
    return names;
  }

  protected override weightInput(unit: ComputeUnit, weight: UnitWeight): string {
    const key = weightKey(weight);
    let name = this.#weights.get(key);
    if (name === undefined) {
      const values = dequantized(this.job.weights.weightOf(unit));
      name = this.store(Tensor.float(this.names.fresh(`${weight.tensor.name}_rounded`), values, weight.tensor.dims));
      this.#weights.set(key, name);
    }
    const { node } = unit;
    const [input = ''] = node.inputs;
    const [output = ''] = node.outputs;
    this.layers.push({ unit, weight, key, input, output, node, weightName: name, biasName: undefined });
    return name;
  }

  protected override biasOf(unit: ComputeUnit): string {
    const planned = this.job.weights.biasOf(unit);
    const layer = this.layers.at(-1);
    if (planned === undefined || layer?.unit !== unit) return '';
    const { codes, scales } = planned;
    const values = Float32Array.from(codes, (code, c) => code * (scales[scales.length === 1 ? 0 : c] ?? 1));
    const name = this.store(Tensor.float(this.names.fresh(`${unit.bias?.tensor.name ?? 'bias'}_rounded`), values));
    this.layers[this.layers.length - 1] = { ...layer, biasName: name };
    return name;
  }
}
