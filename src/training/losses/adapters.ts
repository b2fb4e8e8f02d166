import { SeededRandom } from '../../data/seeded-random.ts';
import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { flatten, type StaticTensor } from './loss.ts';

/** Small trained maps between a student's and a teacher's features; they exist in the training graph only. */
export class AdapterWeights {
  readonly parameters: string[] = [];
  readonly #b: GraphBuilder;
  readonly #random: SeededRandom;

  constructor(b: GraphBuilder, seed: number) {
    this.#b = b;
    this.#random = new SeededRandom(seed);
  }

  /** He normal over fan-in, for the ReLU that may follow. */
  weight(name: string, dims: readonly number[]): string {
    const deviation = Math.sqrt(2 / elementCount(dims.slice(1)));
    const values = Float32Array.from({ length: elementCount(dims) }, () => deviation * this.#random.normal());
    return this.#add(Tensor.float(name, values, dims));
  }

  constant(name: string, value: number, dims: readonly number[]): string {
    return this.#add(Tensor.float(name, new Float32Array(elementCount(dims)).fill(value), dims));
  }

  /** Each sample laid flat, times a matrix, plus a bias: [batch, size]. */
  linear(name: string, tensor: StaticTensor, size: number): StaticTensor {
    const rows = flatten(this.#b, tensor);
    const [batch = 1, features = 1] = rows.shape;
    const inputs = [
      rows.value,
      this.weight(`${name}.weight`, [size, features]),
      this.constant(`${name}.bias`, 0, [size]),
    ];
    return { value: this.#b.op('Gemm', inputs, { attributes: { transB: 1 }, name }), shape: [batch, size] };
  }

  /** 1x1 convolution without bias. */
  pointwise(name: string, tensor: StaticTensor, channels: number): StaticTensor {
    const [batch = 1, width = 1, ...spatial] = tensor.shape;
    const weight = this.weight(`${name}.weight`, [channels, width, ...spatial.map(() => 1)]);
    return { value: this.#b.op('Conv', [tensor.value, weight], { name }), shape: [batch, channels, ...spatial] };
  }

  #add(tensor: Tensor): string {
    const name = this.#b.initializer(tensor);
    this.parameters.push(name);
    return name;
  }
}
