import type { NdArray } from '../../onnx/nd-array.ts';
import type { FeedBatch, FeedSource } from '../../passes/pass.ts';
import type { Runtime, Session } from '../../runtime/session.ts';
import { throwIfAborted } from '../accuracy.ts';
import type { SwitchedModel } from './switches.ts';

export interface OutputNoiseOptions {
  readonly threads: number;
  readonly maxSamples: number;
  /** Time the runs may take together; fewer samples are taken where all would take longer, at least one batch. */
  readonly budgetMs: number;
  /** How many of the worst layers are left in float one after the other. */
  readonly inFloat: number;
  readonly signal?: AbortSignal;
  readonly progress?: (fraction: number) => void;
}

/** Noise at the model's outputs: squared error by squared values, the mean over its outputs. */
export interface OutputNoise {
  readonly samples: number;
  /** With every layer quantized. */
  readonly all: number;
  /** With one layer quantized, by its index; absent where it has no switch. */
  readonly alone: ReadonlyMap<number, number>;
  /** With the worst 1, 2 … layers left in float. */
  readonly without: readonly { readonly layers: readonly number[]; readonly noise: number }[];
}

const BATCH = 4;

/**
 * Runs the model with one layer quantized at a time, with all, and with all but the worst ones.
 *
 * @throws CompressionError MODEL_LOAD, MODEL_RUN; CANCELED
 */
export async function outputNoise(
  runtime: Runtime,
  switchedModel: SwitchedModel,
  feeds: FeedSource,
  options: OutputNoiseOptions,
): Promise<OutputNoise> {
  const session = await runtime.createSession(switchedModel.model, { threads: options.threads, optimization: 'basic' });
  try {
    const runs = new Runs(session, switchedModel);
    const layers = switchedModel.switches.flatMap((name, index) => (name === undefined ? [] : [index]));
    // A range found while running spans the batch: samples go one by one then.
    const isDynamic = switchedModel.model.graph.nodes.some((node) =>
      node.subgraphs().some(({ nodes }) => nodes.some(({ opType }) => opType === 'DynamicQuantizeLinear')),
    );
    const batches = await fewBatches(feeds, isDynamic ? 1 : BATCH, options.maxSamples);
    const [first] = batches;
    if (first === undefined) return { samples: 0, all: 0, alone: new Map(), without: [] };
    const count = layers.length + 2 + options.inFloat;
    await runs.outputs(first, new Set(layers));
    const started = performance.now();
    await runs.outputs(first, new Set());
    const affordable = Math.floor(options.budgetMs / Math.max(0.01, count * (performance.now() - started)));
    const taken = batches.slice(0, Math.max(1, affordable));
    const total = new Noise();
    const alone = new Map(layers.map((index) => [index, new Noise()]));
    const floats: (readonly NdArray[])[] = [];
    for (const [number, batch] of taken.entries()) {
      const float = await runs.outputs(batch, new Set());
      floats.push(float);
      total.add(float, await runs.outputs(batch, new Set(layers)));
      for (const [index, noise] of alone) {
        throwIfAborted(options.signal);
        noise.add(float, await runs.outputs(batch, new Set([index])));
      }
      options.progress?.((number + 1) / taken.length);
    }
    const worst = layers.toSorted((a, b) => (alone.get(b)?.value ?? 0) - (alone.get(a)?.value ?? 0));
    const without: { layers: readonly number[]; noise: number }[] = [];
    for (let left = 1; left <= Math.min(options.inFloat, worst.length); left += 1) {
      const noise = new Noise();
      for (const [number, batch] of taken.entries()) {
        throwIfAborted(options.signal);
        noise.add(floats[number] ?? [], await runs.outputs(batch, new Set(worst.slice(left))));
      }
      without.push({ layers: worst.slice(0, left), noise: noise.value });
    }
    const samples = taken.reduce((sum, batch) => sum + batch.count, 0);
    return {
      samples,
      all: total.value,
      alone: new Map([...alone].map(([index, noise]) => [index, noise.value])),
      without,
    };
  } finally {
    await session.release();
  }
}

async function fewBatches(feeds: FeedSource, size: number, maxSamples: number): Promise<FeedBatch[]> {
  const batches: FeedBatch[] = [];
  let samples = 0;
  for await (const batch of feeds.batches(size)) {
    batches.push(batch);
    samples += batch.count;
    if (samples >= maxSamples) break;
  }
  return batches;
}

class Runs {
  readonly #session: Session;
  readonly #model: SwitchedModel;

  constructor(session: Session, model: SwitchedModel) {
    this.#session = session;
    this.#model = model;
  }

  async outputs({ feeds }: FeedBatch, on: ReadonlySet<number>): Promise<NdArray[]> {
    const positions = this.#model.switches.flatMap((name, index): [string, NdArray][] =>
      name === undefined ? [] : [[name, { type: 'bool', dims: [], data: Uint8Array.of(on.has(index) ? 1 : 0) }]],
    );
    const results = await this.#session.run({ ...feeds, ...Object.fromEntries(positions) }, this.#model.outputs);
    return this.#model.outputs.flatMap((name) => results.get(name) ?? []);
  }
}

/** Sums over batches, output by output. */
class Noise {
  readonly #signal: number[] = [];
  readonly #noise: number[] = [];

  /** O(values). What is not finite on either side is left out. */
  add(x: readonly NdArray[], y: readonly NdArray[]): void {
    for (const [index, { data }] of x.entries()) {
      const other = y[index]?.data;
      if (!(data instanceof Float32Array) || !(other instanceof Float32Array)) continue;
      let [signal, noise] = [0, 0];
      for (let i = 0; i < data.length; i += 1) {
        const [a, b] = [data[i] ?? 0, other[i] ?? 0];
        if (!Number.isFinite(a) || !Number.isFinite(b)) continue;
        signal += a * a;
        noise += (a - b) * (a - b);
      }
      this.#signal[index] = (this.#signal[index] ?? 0) + signal;
      this.#noise[index] = (this.#noise[index] ?? 0) + noise;
    }
  }

  get value(): number {
    const shares = this.#signal.map((signal, index) => (signal > 0 ? (this.#noise[index] ?? 0) / signal : 0));
    return shares.reduce((sum, share) => sum + share, 0) / Math.max(1, shares.length);
  }
}
