import { CompressionError, defined } from '../../../errors.ts';
import { GraphBuilder } from '../../../onnx/graph-builder.ts';
import { opsetOf, type Model } from '../../../onnx/model.ts';
import { tensorValue } from '../../../onnx/value-type.ts';
import { copyModel } from '../../../training/copy-model.ts';
import type { FeedSource, PassContext } from '../../pass.ts';
import type { Branch } from './branches.ts';

export type ScoringContext = Pick<PassContext, 'runtime' | 'threads' | 'signal'>;

/**
 * 1 - cos(x, y) of each branch, x going in and y coming out behind the sum's activation, averaged over the first axis of the
 * samples' values (cosine of what remains, flattened). Sums are taken inside the graph: memory does not grow with the samples.
 *
 * @returns one score a branch, 0 (changes nothing) to 2
 * @throws CompressionError MODEL_RUN, DATASET_EMPTY
 */
export async function cosineScores(
  model: Model,
  branches: readonly Branch[],
  feeds: FeedSource,
  context: ScoringContext,
): Promise<number[]> {
  const tapped = copyModel(model);
  const builder = new GraphBuilder(tapped.graph);
  const axesAreInput = opsetOf(model) >= 13;
  tapped.graph.outputs = [];
  // Half floats would overflow in the sums; ONNX Runtime drops casts from float to float.
  const inFloat = (value: string): string => builder.op('Cast', [value], { name: 'prune_cast', attributes: { to: 1 } });
  const product = (a: string, b: string, rank: number): string => {
    const axes = Array.from({ length: rank - 1 }, (_, axis) => axis + 1);
    const multiplied = builder.op('Mul', [inFloat(a), inFloat(b)], { name: 'prune_product' });
    const sum =
      rank < 2
        ? multiplied
        : builder.op('ReduceSum', axesAreInput ? [multiplied, builder.ints('prune_axes', axes)] : [multiplied], {
            name: 'prune_sum',
            attributes: { keepdims: 0, ...(axesAreInput ? {} : { axes }) },
          });
    tapped.graph.outputs.push(tensorValue(sum, 'float'));
    return sum;
  };
  const taps = branches.map(({ shortcut, output, rank }) => ({
    inner: product(shortcut, output, rank),
    from: product(shortcut, shortcut, rank),
    to: product(output, output, rank),
  }));
  const session = await context.runtime.createSession(tapped, { threads: context.threads });
  const totals = branches.map(() => 0);
  const counts = branches.map(() => 0);
  try {
    for await (const batch of feeds.batches()) {
      context.signal.throwIfAborted();
      const results = await session.run(batch.feeds);
      const values = (name: string): ArrayLike<unknown> => defined(results.get(name), name).data;
      for (const [at, { inner, from, to }] of taps.entries()) {
        const [xy, xx, yy] = [values(inner), values(from), values(to)];
        for (let i = 0; i < xy.length; i += 1) {
          const norm = Math.sqrt(Number(xx[i]) * Number(yy[i]));
          const same = Number(xx[i]) === 0 && Number(yy[i]) === 0;
          totals[at] = (totals[at] ?? 0) + (same ? 0 : norm === 0 ? 1 : 1 - Number(xy[i]) / norm);
        }
        counts[at] = (counts[at] ?? 0) + xy.length;
      }
    }
  } finally {
    await session.release();
  }
  if (counts.every((count) => count === 0)) {
    throw new CompressionError('DATASET_EMPTY', 'the calibration data set gave no sample; name one with samples');
  }
  return totals.map((total, at) => total / Math.max(counts[at] ?? 0, 1));
}
