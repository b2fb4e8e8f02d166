import { CompressionError, defined } from '../../../errors.ts';
import { realValues } from '../../../data/real-values.ts';
import { keyedRandom } from '../../../data/training/keyed-random.ts';
import type { Model } from '../../../onnx/model.ts';
import type { NdArray } from '../../../onnx/nd-array.ts';
import type { Tensor } from '../../../onnx/tensor.ts';
import { GraphBuilder } from '../../../onnx/graph-builder.ts';
import { tensorValue } from '../../../onnx/value-type.ts';
import { copyModel } from '../../../training/copy-model.ts';
import type { FeedSource, PassContext } from '../../pass.ts';
import type { Site, WeightUse } from './sites.ts';
import type { GraphFacts } from './spread.ts';

export type Importance = 'activation' | 'l2' | 'random';

/** Rows of a layer's input that are enough to rank its units by; more samples are thinned to about as many. */
const MAX_ROWS = 4096;

/** Scores of the units of one site, higher is kept longer. */
export function weightScores(facts: GraphFacts, site: Site): Float64Array {
  const sums = new Float64Array(site.units);
  for (const { node, side, mark, axis } of site.weights) {
    addSquares(sums, valuesOf(facts, node.inputs[1]), axis, mark.labels);
    const bias = facts.constant(node.inputs[2]);
    if (side === 'makes' && bias?.dims.at(-1) === mark.labels.length) {
      addSquares(sums, bias, bias.dims.length - 1, mark.labels);
    }
  }
  return sums.map(Math.sqrt);
}

/** A different draw for each site; the same for the same seed. */
export function randomScores({ units }: Site, seed: number, index: number): Float64Array {
  const random = keyedRandom(seed, index);
  return Float64Array.from({ length: units }, () => random.uniform());
}

/**
 * Root mean square, over positions and samples of the calibration data, of what each unit adds to the outputs of the layers
 * that take it in: E ||x_u W_u||^2 = sum of E[x_u x_u^T] times W_u W_u^T. All sites in one run over the data.
 *
 * @returns for each site one score a unit
 * @throws CompressionError MODEL_RUN, DATASET_EMPTY
 */
export async function activationScores(
  model: Model,
  facts: GraphFacts,
  sites: readonly Site[],
  { feeds, context }: { readonly feeds: FeedSource; readonly context: PassContext },
): Promise<Float64Array[]> {
  const takers = sites.map(({ units, weights }) =>
    weights.filter(({ side }) => side === 'takes').map((use) => new Contribution(facts, use, units)),
  );
  const contributions = takers.flat();
  const taps = [...new Set(contributions.map(({ value }) => value))];
  const tapped = copyModel(model);
  const builder = new GraphBuilder(tapped.graph);
  // Half floats and doubles come as floats; ONNX Runtime drops casts from float to float.
  const casts = taps.map((value) => builder.op('Cast', [value], { name: 'heads_cast', attributes: { to: 1 } }));
  tapped.graph.outputs = casts.map((value) => tensorValue(value, 'float'));
  const session = await context.runtime.createSession(tapped, { threads: context.threads });
  let samples = 0;
  try {
    for await (const batch of feeds.batches()) {
      context.signal.throwIfAborted();
      const results = await session.run(batch.feeds, casts);
      for (const contribution of contributions) {
        const cast = casts[taps.indexOf(contribution.value)] ?? '';
        const array = defined(results.get(cast), contribution.value);
        contribution.add(array, { count: batch.count, of: feeds.samples });
      }
      samples += batch.count;
      context.progress(0.9 * Math.min(samples / Math.max(feeds.samples, 1), 1), 'measuring contributions');
    }
  } finally {
    await session.release();
  }
  if (samples === 0) {
    throw new CompressionError('DATASET_EMPTY', 'the calibration data set gave no sample; name one with samples');
  }
  return sites.map(({ units }, at) => {
    const sums = new Float64Array(units);
    for (const contribution of takers[at] ?? []) contribution.addTo(sums);
    return sums.map(Math.sqrt);
  });
}

/** Second moments of each unit's part of the input of one layer, rows in float64. */
class Contribution {
  readonly value: string;
  /** Positions of each unit in the input. */
  readonly #positions: readonly (readonly number[])[];
  /** For each unit, [positions, positions] row-major. */
  readonly #moments: readonly Float64Array[];
  readonly #weight: Tensor;
  readonly #axis: number;
  #rows = 0;

  constructor(facts: GraphFacts, { node, mark, axis }: WeightUse, units: number) {
    this.value = node.inputs[0] ?? '';
    const positions = Array.from({ length: units }, (): number[] => []);
    for (const [at, label] of mark.labels.entries()) positions[label]?.push(at);
    this.#positions = positions;
    this.#moments = positions.map(({ length }) => new Float64Array(length * length));
    this.#weight = valuesOf(facts, node.inputs[1]);
    this.#axis = axis;
  }

  /** O(rows * sum of squares of the units' sizes). */
  add({ dims, data }: NdArray, samples: { readonly count: number; readonly of: number }): void {
    const width = dims.at(-1) ?? 1;
    const rows = data.length / width;
    const expected = (rows / Math.max(samples.count, 1)) * samples.of;
    const stride = Math.max(1, Math.floor(expected / MAX_ROWS));
    const values = data as ArrayLike<number>;
    for (let row = 0; row < rows; row += stride) {
      const start = row * width;
      for (const [unit, positions] of this.#positions.entries()) {
        const moments = this.#moments[unit];
        if (moments === undefined) continue;
        const size = positions.length;
        for (let i = 0; i < size; i += 1) {
          const x = values[start + (positions[i] ?? 0)] ?? 0;
          for (let j = 0; j < size; j += 1) {
            const at = i * size + j;
            moments[at] = (moments[at] ?? 0) + x * (values[start + (positions[j] ?? 0)] ?? 0);
          }
        }
      }
      this.#rows += 1;
    }
  }

  addTo(sums: Float64Array): void {
    const weight = realValues(this.#weight);
    const [rows = 0, columns = 0] = this.#weight.dims;
    const outputs = this.#axis === 0 ? columns : rows;
    const at = (input: number, output: number): number =>
      weight[this.#axis === 0 ? input * columns + output : output * columns + input] ?? 0;
    for (const [unit, positions] of this.#positions.entries()) {
      const size = positions.length;
      let sum = 0;
      for (let i = 0; i < size; i += 1) {
        for (let j = 0; j < size; j += 1) {
          let product = 0;
          for (let o = 0; o < outputs; o += 1) product += at(positions[i] ?? 0, o) * at(positions[j] ?? 0, o);
          sum += product * (this.#moments[unit]?.[i * size + j] ?? 0);
        }
      }
      sums[unit] = (sums[unit] ?? 0) + Math.max(0, sum) / Math.max(this.#rows, 1);
    }
  }
}

function valuesOf(facts: GraphFacts, name: string | undefined): Tensor {
  return defined(facts.constant(name), `weight "${name ?? ''}"`);
}

function addSquares(sums: Float64Array, tensor: Tensor, axis: number, labels: Int32Array): void {
  const values = realValues(tensor);
  const inner = tensor.dims.slice(axis + 1).reduce((product, size) => product * size, 1);
  for (let i = 0; i < values.length; i += 1) {
    const unit = labels[Math.floor(i / inner) % labels.length] ?? -1;
    if (unit >= 0) sums[unit] = (sums[unit] ?? 0) + (values[i] ?? 0) ** 2;
  }
}
