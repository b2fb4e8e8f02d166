import { keyedRandom } from '../data/training/keyed-random.ts';
import { defined } from '../errors.ts';
import type { Model } from '../onnx/model.ts';
import type { FinetuneContext } from './finetune.ts';
import { asUsed, probeBatches, type GradientProbe, type ProbedBatch } from './saliency.ts';

/** A step of the central difference, as a share of the root mean square of a weight's elements. */
const STEP = 0.01;

export interface TraceProbe extends GradientProbe {
  /** Random vectors for each batch. */
  readonly probes: number;
}

/**
 * Trace of the Hessian of the loss with respect to each weight, by Hutchinson's estimator: E[vᵀ H v] over random vectors v of ones and minus
 * ones. Hv is a central difference of gradients, (g(w + h v) - g(w - h v)) / 2h, so that no gradient has to be differentiated again; all weights
 * move at once, each by a step h of its own size: what they do to each other has mean zero. Two runs forward and backward for each batch and
 * vector. Of the network as it is used: normalization by running statistics.
 *
 * @param names - initializers
 * @returns by initializer; those the loss does not depend on are absent
 * @throws CompressionError DATASET_* for data that cannot be trained on; TRAIN_NO_GRADIENT
 * @see Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1990; Dong et al., "HAWQ-V2", NeurIPS 2020, section 3.2
 */
export async function hessianTraces(
  model: Model,
  names: readonly string[],
  { training, batches, probes }: TraceProbe,
  context: FinetuneContext,
): Promise<ReadonlyMap<string, number>> {
  const weights = new Map(
    names.map((name) => [name, defined(model.graph.initializers.get(name), `weight "${name}"`).floats()]),
  );
  const sums = new Map<string, number>();
  let drawn = 0;
  await probeBatches(
    model,
    names,
    { training: asUsed(training), batches, score: { kind: 'gradient' } },
    {
      ...context,
      visit: async (batch) => {
        for (let probe = 0; probe < probes; probe += 1) {
          context.signal.throwIfAborted();
          for (const [name, product] of await quadraticForms(batch, weights, [context.seed, drawn])) {
            sums.set(name, (sums.get(name) ?? 0) + product);
          }
          drawn += 1;
        }
        for (const [name, values] of weights) batch.load(name, values);
      },
    },
  );
  return new Map([...sums].map(([name, sum]) => [name, sum / drawn]));
}

/** vᵀ H v of each weight's own block, for one random v. */
async function quadraticForms(
  batch: ProbedBatch,
  weights: ReadonlyMap<string, Float32Array>,
  key: readonly [seed: number, vector: number],
): Promise<ReadonlyMap<string, number>> {
  const moved = new Map(
    [...weights].map(([name, values], at) => {
      const random = keyedRandom(...key, at);
      const signs = Int8Array.from(values, () => (random.uint32() >= 2 ** 31 ? 1 : -1));
      const square = values.reduce((sum, value) => sum + value * value, 0) / Math.max(1, values.length);
      return [name, { values, signs, step: STEP * (Math.sqrt(square) || 1) }] as const;
    }),
  );
  const gradientsAt = async (direction: 1 | -1): Promise<ReadonlyMap<string, Float32Array>> => {
    for (const [name, { values, signs, step }] of moved) {
      batch.load(
        name,
        values.map((value, i) => value + direction * step * (signs[i] ?? 0)),
      );
    }
    await batch.run();
    return new Map([...batch.scores()].map(([name, gradient]) => [name, Float32Array.from(gradient)]));
  };
  const [above, below] = [await gradientsAt(1), await gradientsAt(-1)];
  const products = new Map<string, number>();
  for (const [name, { signs, step }] of moved) {
    const [plus, minus] = [above.get(name), below.get(name)];
    if (plus === undefined || minus === undefined) continue;
    let product = 0;
    for (let i = 0; i < signs.length; i += 1) product += (signs[i] ?? 0) * ((plus[i] ?? 0) - (minus[i] ?? 0));
    products.set(name, product / (2 * step));
  }
  return products;
}
