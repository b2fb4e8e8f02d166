import { SeededRandom } from '../../../../src/data/seeded-random.ts';
import { GraphBuilder } from '../../../../src/onnx/graph-builder.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { elementCount, type NdArray } from '../../../../src/onnx/nd-array.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { removeChannels } from '../../../../src/passes/prune/channels/remove-channels.ts';
import { analyzeChannels } from '../../../../src/passes/prune/groups/analyze-channels.ts';
import { keptPositions } from '../../../../src/passes/prune/recovery/kept-positions.ts';
import type { PrunedFrom, RecoveryContext } from '../../../../src/passes/prune/recovery/reconstruct-layers.ts';
import type { FeedSource } from '../../../../src/passes/pass.ts';
import { createRuntime } from '../../../../src/runtime/onnxruntime.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';

export const runtime = createRuntime('/nonexistent');

export function contextWith(signal = new AbortController().signal): RecoveryContext {
  return { runtime, threads: 1, seed: 3, signal, progress: () => undefined };
}

export class Weights {
  readonly #random = new SeededRandom(5);

  noise(dims: readonly number[], scale = 1): Float32Array {
    return Float32Array.from({ length: elementCount(dims) }, () => scale * this.#random.normal());
  }

  tensor(name: string, dims: readonly number[], scale = 1): Tensor {
    return Tensor.float(name, this.noise(dims, scale), dims);
  }
}

/** `channels` filters of noise, the second half of which repeats the first, times `factor`. */
export function repeatedFilters(weights: Weights, name: string, dims: readonly number[], factor = 1): Tensor {
  const values = weights.noise(dims);
  const half = values.length / 2;
  for (let i = 0; i < half; i += 1) values[half + i] = factor * (values[i] ?? 0);
  return Tensor.float(name, values, dims);
}

/** Noise for the only input, in batches; the last one filled up to `fixed` where that is given. */
export function noiseSource(
  model: Model,
  samples: number,
  options: { batch?: number; fixed?: number } = {},
): FeedSource {
  const [input] = model.graph.inputs;
  const shape = input?.type?.kind === 'tensor' ? (input.type.shape ?? []) : [];
  const sizes = shape.slice(1).map(Number);
  const perSample = elementCount(sizes);
  const data = new Weights().noise([samples, perSample]);
  const batch = options.fixed ?? options.batch ?? 8;
  return {
    samples,
    async *batches() {
      await Promise.resolve();
      for (let from = 0; from < samples; from += batch) {
        const count = Math.min(batch, samples - from);
        const rows = options.fixed ?? count;
        const own = new Float32Array(rows * perSample);
        for (let row = 0; row < rows; row += 1) {
          const source = from + Math.min(row, count - 1);
          own.set(data.subarray(source * perSample, (source + 1) * perSample), row * perSample);
        }
        const array: NdArray = { type: 'float', dims: [rows, ...sizes], data: own };
        yield { feeds: { [input?.name ?? '']: array }, count };
      }
    },
  };
}

/** Takes the channels `gone` of axis 1 of `value` out of a copy. */
export function withoutChannels(
  original: Model,
  value: string,
  gone: readonly number[],
): { pruned: Model } & PrunedFrom {
  const pruned = copyModel(original);
  const analysis = analyzeChannels(pruned);
  const removed = new Uint8Array(analysis.atoms.count);
  const axis = analysis.axes.get(value)?.[1];
  if (axis?.kind !== 'channels') throw new Error(`"${value}" has no channels: ${axis?.reason ?? 'it is unknown'}`);
  for (const channel of gone) {
    const atom = axis.atoms[channel] ?? -1;
    if (analysis.atoms.frozenReason(atom) !== undefined) throw new Error(analysis.atoms.frozenReason(atom));
    removed[analysis.atoms.root(atom)] = 1;
  }
  if (removeChannels(analysis, removed) === 0) throw new Error('nothing was cut');
  return { pruned, original, kept: keptPositions(analysis, removed) };
}

/** The values asked for over all samples, sample after sample. */
export async function valuesOf(model: Model, feeds: FeedSource, value?: string): Promise<Float32Array> {
  const tapped = copyModel(model);
  if (value !== undefined) {
    tapped.graph.outputs = [{ name: value, type: { kind: 'tensor', elementType: 'float' } }];
  }
  const session = await runtime.createSession(tapped, { threads: 1, optimization: 'disabled' });
  const all: number[] = [];
  try {
    for await (const batch of feeds.batches()) {
      const [array] = (await session.run(batch.feeds)).values();
      if (!(array?.data instanceof Float32Array)) throw new Error('no values');
      all.push(...array.data.subarray(0, (array.data.length / (array.dims[0] ?? 1)) * batch.count));
    }
  } finally {
    await session.release();
  }
  return Float32Array.from(all);
}

/** Largest difference over the largest magnitude. */
export function relative(expected: Float32Array, got: Float32Array): number {
  let [difference, scale] = [expected.length === got.length ? 0 : Infinity, 0];
  expected.forEach((value, i) => {
    difference = Math.max(difference, Math.abs(value - (got[i] ?? NaN)));
    scale = Math.max(scale, Math.abs(value));
  });
  return difference / scale;
}

/** input [b, 3, 6, 6] -> Conv of 8 filters, the second half a multiple of the first -> Relu -> `rest`. */
export function repeatingNet(rest: (b: GraphBuilder, weights: Weights, channels: string) => string): Model {
  const b = new GraphBuilder('repeating');
  const weights = new Weights();
  const x = b.input('x', 'float', ['batch', 3, 6, 6]);
  const w = b.initializer(repeatedFilters(weights, 'w1', [8, 3, 3, 3], 2));
  const bias = b.initializer(repeatedFilters(weights, 'b1', [8], 2));
  const y = b.op('Conv', [x, w, bias], { attributes: { pads: [1, 1, 1, 1] }, name: 'first' });
  const out = rest(b, weights, b.op('Relu', [y], { name: 'channels' }));
  b.output(out, 'y', 'float', ['batch', null, null, null]);
  return b.model(17);
}
