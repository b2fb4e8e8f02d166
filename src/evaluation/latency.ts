import type { Model } from '../onnx/model.ts';
import type { FeedBatch, FeedSource } from '../passes/pass.ts';
import type { Feeds, Runtime, Session } from '../runtime/session.ts';
import type { Latency, LatencyComparison } from '../schemas/report.ts';
import { throwIfAborted } from './accuracy.ts';
import { bootstrapMedianInterval, coefficientOfVariation, median, quantile } from './statistics.ts';

export interface LatencyOptions {
  readonly threads: number;
  /** Seed of the bootstrap. */
  readonly seed: number;
  /** Time to spend on each model, in all. Default 4 s. */
  readonly budgetMs?: number;
  /** Samples a run. Default 1; a model's fixed batch axis wins. */
  readonly batch?: number;
  /** Sizes for symbolic dimensions, by name. */
  readonly freeDimensions?: Readonly<Record<string, number>>;
  readonly signal?: AbortSignal;
  readonly progress?: (fraction: number) => void;
}

export interface LatencySubject {
  readonly model: Model | { readonly path: string };
}

const WARMUP_RUNS = 10;
/** At least this many runs of a model (one a block), even when they take longer than the budget. */
const MIN_RUNS = 8;
/** Enough for 30 runs above the 99th percentile; more would only keep the client waiting. */
const MAX_RUNS = 3000;
const BLOCKS = 16;
/** Different samples to rotate through, so that one lucky input (or branch pattern) decides nothing. */
const MAX_FEEDS = 16;
const MAX_FEED_BYTES = 64 * 2 ** 20;
/** A ratio less steady than this between blocks carries no claim of its size. */
const MAX_VARIATION = 0.1;
/** A difference below 2 % is not called one: memory placement alone makes as much. */
const SMALLEST_CLAIM = 0.02;
const HISTOGRAM_BINS = 40;

/**
 * Times models on the same inputs in alternating blocks, so that a drift of the
 * machine hits all of them alike. All sessions are alive, with spinning off: idle pool threads that spin would take
 * the cores of the one that is measured (distortions of 2-3x were seen on two cores).
 *
 * @returns one entry a model, in order. Empty samples give undefined.
 * @throws CompressionError MODEL_LOAD, MODEL_RUN from the sessions; CANCELED when the signal fires
 */
export async function measureLatencies(
  runtime: Runtime,
  subjects: readonly LatencySubject[],
  feeds: FeedSource,
  options: LatencyOptions,
): Promise<readonly MeasuredLatency[] | undefined> {
  const inputs = await firstFeeds(feeds, options.batch ?? 1);
  const firstInput = inputs[0];
  if (firstInput === undefined) return undefined;
  const runs: Run[] = [];
  try {
    for (const { model } of subjects) {
      throwIfAborted(options.signal);
      const start = performance.now();
      const session = await runtime.createSession(model, {
        threads: options.threads,
        spinning: false,
        ...(options.freeDimensions === undefined ? {} : { freeDimensions: options.freeDimensions }),
      });
      runs.push({ session, coldStartMs: 0, times: [], blockMedians: [], warmupRuns: 1, typicalMs: 0, next: 0 });
      await session.run(firstInput.feeds);
      const run = runs.at(-1);
      if (run !== undefined) run.coldStartMs = performance.now() - start;
    }
    await timeAll(runs, inputs, options);
    return runs.map((run) => measured(run, options.threads, firstInput.count));
  } finally {
    for (const { session } of runs) await session.release();
  }
}

export interface MeasuredLatency {
  readonly latency: Latency;
  /** Median time of each block, in the order they ran: block i of every model stood next to each other. */
  readonly blockMedians: readonly number[];
}

interface Run {
  readonly session: Session;
  coldStartMs: number;
  readonly times: number[];
  readonly blockMedians: number[];
  warmupRuns: number;
  /** Time of a run as the warm-up found it. */
  typicalMs: number;
  next: number;
}

/** Full batches only: a last one that is smaller would be timed as if it were not. */
async function firstFeeds(source: FeedSource, size: number): Promise<readonly FeedBatch[]> {
  const kept: FeedBatch[] = [];
  let bytes = 0;
  for await (const batch of source.batches(size)) {
    if (kept[0] !== undefined && batch.count < kept[0].count) break;
    for (const array of Object.values(batch.feeds)) bytes += array.type === 'string' ? 0 : array.data.byteLength;
    if (kept.length > 0 && bytes > MAX_FEED_BYTES) break;
    kept.push(batch);
    if (kept.length === MAX_FEEDS) break;
  }
  return kept;
}

async function timeAll(runs: readonly Run[], inputs: readonly FeedBatch[], options: LatencyOptions): Promise<void> {
  const budgetMs = options.budgetMs ?? 4000;
  // A model whose ten warm-up runs would eat the budget gets fewer.
  for (const run of runs) {
    const start = performance.now();
    let done = 0;
    while (done < 2 || (done < WARMUP_RUNS && performance.now() - start < budgetMs / 4)) {
      throwIfAborted(options.signal);
      await once(run, inputs);
      done += 1;
    }
    run.warmupRuns += done;
    run.typicalMs = (performance.now() - start) / done;
  }
  const slow = runs.some(({ typicalMs }) => typicalMs * BLOCKS > budgetMs);
  const blocks = slow ? MIN_RUNS : BLOCKS;
  const limit: BlockLimit = { ms: budgetMs / blocks, runs: Math.ceil(MAX_RUNS / blocks) };
  for (let block = 0; block < blocks; block += 1) {
    // A-B, then B-A: what drifts evenly cancels.
    for (const run of block % 2 === 0 ? runs : runs.toReversed()) await timeBlock(run, inputs, limit, options.signal);
    options.progress?.((block + 1) / blocks);
  }
}

interface BlockLimit {
  readonly ms: number;
  readonly runs: number;
}

/** One run at least, then more until the block's time or number of runs is used up. */
async function timeBlock(
  run: Run,
  inputs: readonly FeedBatch[],
  limit: BlockLimit,
  signal: AbortSignal | undefined,
): Promise<void> {
  const start = performance.now();
  // The other model's weights are in the caches now: the first runs are not measured where there are runs to spare.
  const unmeasured = run.typicalMs * 20 < limit.ms ? 2 : run.typicalMs * 2 < limit.ms ? 1 : 0;
  for (let i = 0; i < unmeasured; i += 1) await once(run, inputs);
  run.warmupRuns += unmeasured;
  const times: number[] = [];
  do {
    throwIfAborted(signal);
    times.push(await once(run, inputs));
  } while (times.length < limit.runs && performance.now() - start < limit.ms);
  for (const time of times) run.times.push(time);
  run.blockMedians.push(median(times));
}

async function once(run: Run, inputs: readonly FeedBatch[]): Promise<number> {
  const feeds: Feeds = inputs[run.next % inputs.length]?.feeds ?? {};
  run.next += 1;
  const start = performance.now();
  await run.session.run(feeds);
  return performance.now() - start;
}

function measured(run: Run, threads: number, batch: number): MeasuredLatency {
  const sorted = Float64Array.from(run.times).sort();
  let sum = 0;
  for (const time of sorted) sum += time;
  return {
    blockMedians: run.blockMedians,
    latency: {
      p50Ms: quantile(sorted, 0.5),
      p90Ms: quantile(sorted, 0.9),
      p99Ms: quantile(sorted, 0.99),
      meanMs: sum / sorted.length,
      minMs: sorted[0] ?? 0,
      runs: sorted.length,
      warmupRuns: run.warmupRuns,
      threads,
      batch,
      coldStartMs: run.coldStartMs,
      coefficientOfVariation: coefficientOfVariation(run.blockMedians),
      histogram: histogramOf(sorted),
    },
  };
}

function histogramOf(sorted: Float64Array): Latency['histogram'] {
  const fromMs = sorted[0] ?? 0;
  // A few stragglers would squeeze the rest into one bin, so they are only counted.
  const toMs = Math.max(Math.min(quantile(sorted, 0.95), 2 * quantile(sorted, 0.5)), fromMs + 1e-6);
  const counts = new Array<number>(HISTOGRAM_BINS).fill(0);
  let above = 0;
  for (const time of sorted) {
    if (time > toMs) above += 1;
    else {
      const bin = Math.min(HISTOGRAM_BINS - 1, Math.floor(((time - fromMs) / (toMs - fromMs)) * HISTOGRAM_BINS));
      counts[bin] = (counts[bin] ?? 0) + 1;
    }
  }
  return { fromMs, toMs, counts, above };
}

/**
 * What the two timings allow to be said. The interval is a seeded bootstrap over the ratios of neighbouring blocks;
 * `faster` or `slower` needs an interval that leaves out 1, a difference of 2 % or more, and a steady machine (the ratio
 * varies by at most 10 % between blocks) or, on a restless one, blocks that all say the same. Else `inconclusive`.
 */
export function compareLatencies(before: MeasuredLatency, after: MeasuredLatency, seed: number): LatencyComparison {
  const ratios: number[] = [];
  const blocks = Math.min(before.blockMedians.length, after.blockMedians.length);
  for (let i = 0; i < blocks; i += 1) {
    ratios.push((before.blockMedians[i] ?? NaN) / Math.max(after.blockMedians[i] ?? NaN, 1e-9));
  }
  const speedup = median(ratios);
  const confidenceInterval = bootstrapMedianInterval(ratios, seed);
  const variation = coefficientOfVariation(ratios);
  const base = { speedup, confidenceInterval: [...confidenceInterval] as [number, number], blocks, spinning: false };
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  if (blocks < 4) return { ...base, verdict: 'inconclusive', reason: `only ${blocks} blocks were timed` };
  const [low, high] = confidenceInterval;
  if (low <= 1 && high >= 1) {
    return { ...base, verdict: 'inconclusive', reason: 'the difference is smaller than the noise of the measurement' };
  }
  if (Math.abs(speedup - 1) < SMALLEST_CLAIM) {
    return { ...base, verdict: 'inconclusive', reason: `the difference is below ${percent(SMALLEST_CLAIM)}` };
  }
  const verdict = speedup > 1 ? 'faster' : 'slower';
  if (variation <= MAX_VARIATION) {
    return { ...base, verdict, reason: `the interval of the speed-up lies ${speedup > 1 ? 'above' : 'below'} 1` };
  }
  const noise = `the ratio varied by ${percent(variation)} between blocks, more than ${percent(MAX_VARIATION)}`;
  const unanimous = ratios.every((ratio) => ratio > 1 === speedup > 1);
  return unanimous
    ? { ...base, verdict, reason: `each of ${blocks} pairs of blocks says so, but its size is uncertain: ${noise}` }
    : { ...base, verdict: 'inconclusive', reason: `the machine was not steady: ${noise}` };
}
