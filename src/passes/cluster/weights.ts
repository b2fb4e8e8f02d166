import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import { entropyOf } from '../../numerics/range-coder.ts';
import { kMeans, type Clusters } from '../../numerics/k-means.ts';
import { encodeModel } from '../../onnx/codec/encode.ts';
import { opsetOf, type Model } from '../../onnx/model.ts';
import { TrainingField } from '../../schemas/training.ts';
import { layersWithWeights } from '../layers-with-weights.ts';
import { definePass, type PassArtifact, type Skipped } from '../pass.ts';
import { filterNodes } from '../quantize/node-filter.ts';
import { codebookBytes, CodebookWriter, type WrittenCodebook } from './codebook-writer.ts';
import { finetuneCentroids } from './finetune-centroids.ts';
import { findWeights, type ClusterableWeight } from './find-weights.ts';
import { encodeSidecar } from './sidecar.ts';

const globs = z.array(z.string().min(1).max(256)).max(256);
const width = z.number().int().min(1).max(8);
const Options = z.strictObject({
  bits: z
    .union([width, z.strictObject({ conv: width.default(8), dense: width.default(5) })])
    .default({ conv: 8, dense: 5 })
    .describe('2^bits centroids a tensor: one number, or one for convolutions and one for products'),
  init: z
    .enum(['linear', 'density', 'random'])
    .default('linear')
    .describe('Where k-means starts: evenly over the range (keeps large weights), by density, or drawn from the seed'),
  finetune: z
    .boolean()
    .default(false)
    .describe('Trains the centroids on labelled data, each by the sum of the gradients of its weights'),
  training: TrainingField.prefault({ epochs: 2, optimizer: 'adam' }).describe(
    'How finetune trains; the learning rate is 0.0001 where none is given',
  ),
  entropyCode: z
    .boolean()
    .default(false)
    .describe('Adds an artifact with the indices entropy-coded, from which the client restores the model file'),
  include: globs.min(1).optional().describe('Only these node names or operator types; * and ? are wildcards'),
  exclude: globs.default([]).describe('Node names or operator types to leave as they are; * and ? are wildcards'),
});
type Options = z.output<typeof Options>;

/** Name of the artifact that `entropyCode` adds. */
export const SIDECAR_NAME = 'clustered.tersorc';

/** Weights as indices into a few shared values. */
export const clusterWeights = definePass({
  name: 'cluster.weights',
  stage: 'quantize',
  description: 'Stores each weight tensor as 4- or 8-bit indices into a codebook of shared values (k-means)',
  papers: [
    {
      title:
        'Han et al., Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and Huffman Coding, ICLR 2016',
      url: 'https://arxiv.org/abs/1510.00149',
    },
  ],
  options: Options,
  example: { bits: 4, init: 'linear' },
  needs({ finetune, training }) {
    if (!finetune) return [];
    return 'role' in training.validation ? ['training', training.validation.role] : ['training'];
  },
  layers: (model, options) => layersWithWeights(model, options),
  requires: (model, { finetune }) =>
    finetune && findWeights(model, new Set(model.graph.nodes)).weights.length === 0
      ? 'the model has no float weights of convolutions or products whose centroids could be trained'
      : undefined,
  async run(model, options, context) {
    const kept = filterNodes(model.graph.nodes, { include: options.include, exclude: options.exclude });
    const { weights, skipped: unfit } = findWeights(model, kept);
    const skipped: Skipped[] = [...unfit];
    const writer = new CodebookWriter(model, opsetOf(model));
    const written: {
      readonly weight: ClusterableWeight;
      readonly clusters: Clusters;
      readonly book: WrittenCodebook;
    }[] = [];
    for (const [index, weight] of weights.entries()) {
      // Between tensors the event loop runs, so that a cancel arrives.
      await setImmediate();
      context.signal.throwIfAborted();
      context.progress((index / weights.length) * (options.finetune ? 0.1 : 1), `clustering ${weight.tensor.name}`);
      const clusters = clustersOf(weight, options, context.seed);
      const { elementCount, byteLength } = weight.tensor;
      const bytes = codebookBytes(elementCount, clusters.centroids.length, opsetOf(model));
      if (bytes < byteLength) written.push({ weight, clusters, book: writer.write(weight.tensor, clusters) });
      else {
        const reason = `its codebook would take ${bytes} bytes, the weight takes ${byteLength}`;
        skipped.push({ node: weight.nodes[0] ?? weight.tensor.name, reason });
      }
    }
    writer.finish();
    const books = written.map(({ book }) => book);
    const trained =
      options.finetune && books.length > 0
        ? await finetuneCentroids(model, books, options.training, context)
        : undefined;
    const sidecar = options.entropyCode && books.length > 0 ? sidecarOf(model, written) : undefined;
    const layers = written.map(({ weight, clusters, book }) => describe(weight, clusters, book));
    context.progress(1);
    return {
      changes: written.length,
      skipped,
      warnings: trained?.warnings ?? [],
      ...(trained === undefined ? {} : { training: [trained.training] }),
      ...(sidecar === undefined ? {} : { artifacts: [sidecar.artifact] }),
      details: {
        layers,
        entropyBits: layers.reduce((sum, { entropyBits }) => sum + entropyBits, 0),
        ...(sidecar === undefined ? {} : { sidecar: sidecar.details }),
      },
    };
  },
  ensures: () => undefined,
});

function clustersOf({ tensor, kind }: ClusterableWeight, { bits, init }: Options, seed: number): Clusters {
  const clusters = 2 ** (typeof bits === 'number' ? bits : bits[kind]);
  const values = tensor.floats();
  const zeros = values.reduce((count, value) => count + (value === 0 ? 1 : 0), 0);
  // Sparse: more zeros than one centroid's fair share.
  const pinZero = zeros > 0 && zeros >= values.length / clusters;
  return kMeans(values, { clusters, init, seed, pinZero });
}

function describe({ tensor, nodes }: ClusterableWeight, { centroids, indices }: Clusters, { bits }: WrittenCodebook) {
  const values = tensor.floats();
  let [error, energy] = [0, 0];
  for (let i = 0; i < values.length; i += 1) {
    const value = values[i] ?? 0;
    error += (value - (centroids[indices[i] ?? 0] ?? 0)) ** 2;
    energy += value ** 2;
  }
  const entropy = entropyOf(indices);
  return {
    weight: tensor.name,
    nodes,
    centroids: centroids.length,
    storedBits: bits,
    hasPinnedZero: centroids.includes(0),
    /** Squared error as a share of the squared weights, before the centroids were trained. */
    error: energy > 0 ? error / energy : 0,
    entropyBitsPerWeight: entropy,
    entropyBits: entropy * indices.length,
    bytes: { before: tensor.byteLength, after: Math.ceil((indices.length * bits) / 8) + 4 * centroids.length },
  };
}

function sidecarOf(
  model: Model,
  written: readonly { readonly clusters: Clusters; readonly book: WrittenCodebook }[],
): { readonly artifact: PassArtifact; readonly details: Readonly<Record<string, number>> } {
  const file = encodeModel(model);
  const tensors = written.map(({ clusters, book }) => ({
    packed: book.packed,
    indices: book.indices,
    bits: book.bits,
    centroids: clusters.centroids.length,
  }));
  const { bytes, codedBytes } = encodeSidecar(file, tensors);
  return {
    artifact: { name: SIDECAR_NAME, contentType: 'application/octet-stream', bytes },
    details: { bytes: bytes.length, codedIndexBytes: codedBytes, modelBytes: file.length },
  };
}
