import { CompressionError } from '../errors.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import type { Model } from '../onnx/model.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import { Tensor } from '../onnx/tensor.ts';
import { tensorValue } from '../onnx/value-type.ts';
import type { Runtime } from '../runtime/session.ts';
import { inTrainingMode } from './batch-normalization.ts';
import { copyModel } from './copy-model.ts';
import { pruneGraph } from './prune-graph.ts';

export interface RecalibrationRun {
  readonly runtime: Runtime;
  readonly threads: number;
  readonly signal: AbortSignal;
  /** Of one size each. */
  readonly batches: readonly Readonly<Record<string, NdArray>>[];
}

interface Site {
  readonly mean: string;
  readonly variance: string;
  readonly batchMean: string;
  readonly batchVariance: string;
  readonly channels: number;
}

/**
 * Measures the running statistics of every BatchNormalization anew: forward passes in training form, means and variances
 * averaged over the batches, what their means differ by among the variance. Changes the model.
 *
 * @returns how many normalizations have new statistics
 * @throws CompressionError DATASET_EMPTY without a batch; MODEL_RUN; the signal's reason
 * @see Cai et al., "Once-for-All", ICLR 2020: a network taken out of a larger one needs statistics of its own
 */
export async function recalibrateNormalization(model: Model, run: RecalibrationRun): Promise<number> {
  const { probe, sites } = probeOf(model);
  if (sites.length === 0) return 0;
  const count = run.batches.length;
  if (count === 0)
    throw new CompressionError('DATASET_EMPTY', 'statistics are measured on training data, and there was no batch');
  const sums = sites.map(({ channels }) => ({
    mean: new Float64Array(channels),
    square: new Float64Array(channels),
    variance: new Float64Array(channels),
  }));
  const session = await run.runtime.createSession(probe, { threads: run.threads });
  try {
    const outputs = sites.flatMap(({ batchMean, batchVariance }) => [batchMean, batchVariance]);
    for (const feeds of run.batches) {
      run.signal.throwIfAborted();
      const results = await session.run(feeds, outputs);
      for (const [place, { batchMean, batchVariance }] of sites.entries()) {
        const [means, variances] = [results.get(batchMean)?.data, results.get(batchVariance)?.data];
        const sum = sums[place];
        if (sum === undefined) continue;
        for (let c = 0; c < sum.mean.length; c += 1) {
          const mean = Number(means?.[c]);
          sum.mean[c] = (sum.mean[c] ?? 0) + mean / count;
          sum.square[c] = (sum.square[c] ?? 0) + (mean * mean) / count;
          sum.variance[c] = (sum.variance[c] ?? 0) + Number(variances?.[c]) / count;
        }
      }
    }
  } finally {
    await session.release();
  }
  for (const [place, { mean, variance }] of sites.entries()) {
    const sum = sums[place];
    if (sum === undefined) continue;
    const spread = sum.variance.map((value, c) => value + Math.max(0, (sum.square[c] ?? 0) - (sum.mean[c] ?? 0) ** 2));
    model.graph.initializers.set(mean, Tensor.float(mean, sum.mean));
    model.graph.initializers.set(variance, Tensor.float(variance, spread));
  }
  return sites.length;
}

/** A copy in training form whose outputs are the batch's statistics. */
function probeOf(model: Model): { readonly probe: Model; readonly sites: readonly Site[] } {
  const probe = copyModel(model);
  const { graph } = probe;
  const b = new GraphBuilder(graph);
  const sites: Site[] = [];
  graph.nodes = graph.nodes.map((node) => {
    const [, , , mean = '', variance = ''] = node.inputs;
    const channels = graph.initializers.get(mean)?.elementCount;
    if (node.opType !== 'BatchNormalization' || node.domain !== '' || channels === undefined) return node;
    const training = inTrainingMode(b, node, channels, sites.length);
    sites.push({ mean, variance, channels, batchMean: training.batchMean, batchVariance: training.batchVariance });
    return training.node;
  });
  graph.outputs = sites.flatMap(({ batchMean, batchVariance, channels }) =>
    [batchMean, batchVariance].map((name) => tensorValue(name, 'float', [channels])),
  );
  pruneGraph(graph);
  return { probe, sites };
}
