import { GraphBuilder } from '../../../onnx/graph-builder.ts';
import type { Graph } from '../../../onnx/graph.ts';
import type { Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import { packBits } from './pack-bits.ts';
import type { SignWeights } from './sign-weights.ts';

/** TensorProto.DataType of bool. */
const BOOL = 9;

/**
 * Writes weights as packed bits and the standard operators that unpack them: a byte is compared with its eight masks (BitwiseAnd),
 * and each bit chooses between two numbers (Where). ONNX Runtime does it once, when it loads the model.
 */
export class SignWriter {
  readonly #graph: Graph;
  readonly #b: GraphBuilder;
  readonly #constants = new Map<string, string>();
  readonly #unpacking: Node[] = [];

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#b = new GraphBuilder(graph);
  }

  /** The builder whose nodes go behind those of the graph. */
  get builder(): GraphBuilder {
    return this.#b;
  }

  /**
   * @param magnitudeDims - shape in which magnitudes broadcast with the weights; `[]` for one in all
   * @returns the value of the weights, and the bytes that were stored for them
   */
  write(
    name: string,
    dims: readonly number[],
    weights: SignWeights & { readonly magnitudeDims: readonly number[] },
  ): { readonly value: string; readonly bytes: number } {
    const before = this.#graph.nodes;
    this.#graph.nodes = [];
    const { positive, negative, high, low, magnitudeDims } = weights;
    const store = (part: string, values: Float32Array): string =>
      this.#b.initializer(Tensor.float(`${name}_${part}`, values, magnitudeDims));
    const isHigh = this.#unpack(`${name}_bits`, positive, dims);
    let value: string;
    let bytes = Math.ceil(positive.length / 8) + 4 * high.length;
    if (negative === undefined) {
      const signs = this.#b.op('Where', [isHigh, this.#scalar(1), this.#scalar(-1)], { name: `${name}_signs` });
      value = this.#b.op('Mul', [signs, store('scale', high)], { name: `${name}_scaled` });
    } else {
      const isLow = this.#unpack(`${name}_negative_bits`, negative, dims);
      const below = store(
        'low',
        low.map((magnitude) => -magnitude),
      );
      const rest = this.#b.op('Where', [isLow, below, this.#scalar(0)], { name: `${name}_rest` });
      value = this.#b.op('Where', [isHigh, store('high', high), rest], { name: `${name}_ternary` });
      bytes += Math.ceil(negative.length / 8) + 4 * low.length;
    }
    this.#unpacking.push(...this.#graph.nodes);
    this.#graph.nodes = before;
    return { value, bytes };
  }

  /** Puts what unpacks in front of the graph. */
  finish(): void {
    this.#graph.nodes.unshift(...this.#unpacking);
  }

  #unpack(name: string, bits: Uint8Array, dims: readonly number[]): string {
    const packed = packBits(bits);
    const stored = this.#b.array(name, { type: 'uint8', dims: [packed.length, 1], data: packed });
    const single = this.#b.op('BitwiseAnd', [stored, this.#masks()], { name: `${name}_single` });
    const flags = this.#b.op('Cast', [single], { name: `${name}_flags`, attributes: { to: BOOL } });
    if (bits.length % 8 === 0) return this.#reshape(name, flags, dims);
    const flat = this.#reshape(`${name}_flat`, flags, [-1]);
    const used = this.#b.op('Slice', [flat, this.#ints([0]), this.#ints([bits.length])], { name: `${name}_used` });
    return this.#reshape(name, used, dims);
  }

  #reshape(name: string, value: string, dims: readonly number[]): string {
    return this.#b.op('Reshape', [value, this.#ints(dims)], { name: `${name}_shaped` });
  }

  #masks(): string {
    return this.#once('bit_masks', () =>
      this.#b.array('bit_masks', { type: 'uint8', dims: [8], data: Uint8Array.of(1, 2, 4, 8, 16, 32, 64, 128) }),
    );
  }

  #scalar(value: number): string {
    return this.#once(`float ${value}`, () => this.#b.float('sign', value));
  }

  #ints(values: readonly number[]): string {
    return this.#once(`ints ${values.join()}`, () => this.#b.ints('dims', values));
  }

  #once(key: string, make: () => string): string {
    const known = this.#constants.get(key) ?? make();
    this.#constants.set(key, known);
    return known;
  }
}
