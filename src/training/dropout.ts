import { hashKey, STREAM } from '../data/training/keyed-random.ts';
import type { GraphBuilder } from '../onnx/graph-builder.ts';
import { elementCount, type NdArray } from '../onnx/nd-array.ts';
import { makeNode } from '../onnx/node.ts';
import type { StaticTypes } from './static-types.ts';

/** A factor that is drawn anew for each batch: 0 with probability `ratio`, else 1 / (1 - ratio). */
export interface DropoutMask {
  /** Name of the graph input. */
  readonly name: string;
  readonly shape: readonly number[];
  /** 0..1, exclusive. */
  readonly ratio: number;
}

/** Share that a node without its ratio drops (ONNX). */
const DEFAULT_RATIO = 0.5;

/**
 * Writes each Dropout node as a product with a mask that is fed, and declares the masks as inputs. The operator itself would be
 * the wrong tool: in inference form, as model files have it, it drops nothing, and in training form ONNX Runtime draws from a
 * generator that lives as long as the session, so a resumed run would see other masks.
 *
 * Left as they are: nodes whose own mask is read, whose ratio is not a constant, or drops nothing or everything.
 *
 * @see Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014
 */
export function feedDropout(b: GraphBuilder, types: StaticTypes): DropoutMask[] {
  const { graph } = b;
  const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs));
  const masks: DropoutMask[] = [];
  graph.nodes = graph.nodes.map((node) => {
    const [data = '', ratioName = ''] = node.inputs;
    const [output = '', mask = ''] = node.outputs;
    if (node.opType !== 'Dropout' || node.domain !== '' || (mask !== '' && read.has(mask))) return node;
    const given = ratioName === '' ? DEFAULT_RATIO : graph.initializers.get(ratioName)?.floats()[0];
    const ratio = given ?? types.constant(ratioName)?.[0];
    if (ratio === undefined || !(ratio > 0 && ratio < 1)) return node;
    const shape = types.shape(data);
    const name = b.input(`${output}_mask`, 'float', shape);
    masks.push({ name, shape, ratio });
    return makeNode('Mul', [data, name], [output], { name: node.name });
  });
  return masks;
}

/** The masks of a training run: the same for the same seed and batch number, whatever was drawn before. */
export class DropoutFeeds {
  readonly #masks: readonly DropoutMask[];
  readonly #seed: number;
  readonly #arrays: readonly Float32Array[];

  constructor(masks: readonly DropoutMask[], seed: number) {
    this.#masks = masks;
    this.#seed = seed;
    this.#arrays = masks.map(({ shape }) => new Float32Array(elementCount(shape)));
  }

  /**
   * The masks of one batch, by input name: views, valid until the next call.
   *
   * @param batch - batches before this one, over all epochs
   */
  of(batch: number): Readonly<Record<string, NdArray>> {
    return Object.fromEntries(
      this.#masks.map(({ name, shape, ratio }, index): [string, NdArray] => {
        const data = this.#arrays[index] ?? new Float32Array(0);
        const key = hashKey(this.#seed, STREAM.dropout, batch, index);
        fill(data, { key, ratio });
        return [name, { type: 'float', dims: shape, data }];
      }),
    );
  }
}

/** Element i is kept or not by a hash of i and the key: an order of magnitude quicker than a generator with a state. */
function fill(data: Float32Array, { key, ratio }: { readonly key: number; readonly ratio: number }): void {
  const low = key >>> 0;
  const high = Math.floor(key / 2 ** 32);
  const kept = 1 / (1 - ratio);
  const bound = ratio * 2 ** 32;
  for (let i = 0; i < data.length; i += 1) {
    // splitmix32, its two rounds keyed by the two halves.
    let mixed = (Math.imul(i, 0x9e3779b9) + low) | 0;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad) ^ high;
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    data[i] = (mixed ^ (mixed >>> 15)) >>> 0 < bound ? 0 : kept;
  }
}
