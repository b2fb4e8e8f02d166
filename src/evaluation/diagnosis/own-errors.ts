import { defined } from '../../errors.ts';
import { inferTypes } from '../../onnx/inference/infer-types.ts';
import type { Model } from '../../onnx/model.ts';
import type { NdArray } from '../../onnx/nd-array.ts';
import type { FeedSource } from '../../passes/pass.ts';
import type { Runtime, Session } from '../../runtime/session.ts';
import type { DiagnosedLayer } from '../../schemas/diagnosis.ts';
import { throwIfAborted } from '../accuracy.ts';
import { Difference } from '../fidelity.ts';
import type { LayerPair } from '../layer-match.ts';
import { asNumbers } from '../numbers.ts';
import { dequantized } from '../stored-weights.ts';
import { groupsOf, valueBytes, withOutputs } from '../value-groups.ts';
import type { Beside, Side } from './beside.ts';
import { ChannelShift } from './channel-shift.ts';
import { partModel } from './part-model.ts';
import { decibels } from './ratios.ts';
import { ValueStatistics } from './value-statistics.ts';

export interface OwnErrorOptions {
  readonly threads: number;
  readonly maxSamples: number;
  /** Time to stop after, at least one sample each group of values. */
  readonly budgetMs: number;
  readonly groupBytes: number;
  readonly signal?: AbortSignal;
  readonly progress?: (fraction: number) => void;
}

/** A layer beside its float form, with what was found of it. */
export interface OwnError {
  readonly pair: LayerPair;
  /** The layer as the result has it; words where it cannot be run alone. */
  readonly side: Side | string;
  readonly report: Pick<
    DiagnosedLayer,
    'accumulatedSqnrDb' | 'ownSqnrDb' | 'parts' | 'meanShiftShare' | 'input' | 'outputValue'
  >;
}

/**
 * Runs each layer of the result on the float model's values, whole and in parts, and beside it the result itself: the error that a
 * layer makes, and the error it hands on. Values are fetched in groups of bounded size, one sample at a time.
 *
 * @returns in the order of the pairs, and the least number of samples that a layer was run on
 * @throws CompressionError MODEL_LOAD, MODEL_RUN; CANCELED
 */
export async function ownErrors(
  runtime: Runtime,
  { beside, result, feeds }: { readonly beside: Beside; readonly result: Model; readonly feeds: FeedSource },
  pairs: readonly LayerPair[],
  options: OwnErrorOptions,
): Promise<{ readonly layers: readonly OwnError[]; readonly samples: number }> {
  const states = pairs.map((pair) => new OwnErrorState(pair, beside));
  const types = inferTypes(beside.model);
  const groups = groupsOf(
    states,
    ({ names }) => names.length * valueBytes(types.of(beside.model.graph, names[0] ?? '')),
    options.groupBytes,
  );
  let samples = Infinity;
  for (const [index, group] of groups.entries()) {
    const budgetMs = options.budgetMs / groups.length;
    samples = Math.min(samples, await runGroup(runtime, { beside, result, feeds }, group, { ...options, budgetMs }));
    options.progress?.((index + 1) / groups.length);
  }
  return { layers: states.map((state) => state.finish()), samples };
}

async function runGroup(
  runtime: Runtime,
  { beside, result, feeds }: { readonly beside: Beside; readonly result: Model; readonly feeds: FeedSource },
  group: readonly OwnErrorState[],
  options: OwnErrorOptions,
): Promise<number> {
  const names = [...new Set(group.flatMap((state) => state.names))];
  const resultNames = [
    ...new Set(group.flatMap(({ pair }) => (pair.counterpart === undefined ? [] : [pair.counterpart.name]))),
  ];
  const nodes = [...beside.model.graph.nodes, ...group.flatMap((state) => state.nodes)];
  const sessionOptions = { threads: options.threads, optimization: 'disabled' } as const;
  const sessions: Session[] = [];
  try {
    const outputs = names.map((name) => ({ name }));
    sessions.push(await runtime.createSession(partModel(beside.model, nodes, outputs), sessionOptions));
    sessions.push(await runtime.createSession(withOutputs(result, resultNames), sessionOptions));
    const [float, quantized] = sessions;
    const start = performance.now();
    let samples = 0;
    for await (const batch of feeds.batches(1)) {
      throwIfAborted(options.signal);
      const values = await defined(float, 'session').run(batch.feeds, names);
      const after = await defined(quantized, 'session').run(batch.feeds, resultNames);
      for (const state of group) state.add(values, after);
      samples += batch.count;
      if (samples >= options.maxSamples || performance.now() - start > options.budgetMs) break;
    }
    return samples;
  } finally {
    for (const session of sessions) await session.release();
  }
}

interface Part {
  readonly side: Side;
  readonly difference: Difference;
}
/** The layer with only its weights in codes, and with only its inputs rounded. */
type Parts = Readonly<Partial<Record<'weights' | 'input', Part>>>;

class OwnErrorState {
  readonly pair: LayerPair;
  /** Everything that is fetched from the float side; the layer's output first. */
  readonly names: readonly string[];
  readonly nodes: Side['nodes'];
  readonly #side: Side | string;
  readonly #parts: Parts;
  readonly #own = new Difference();
  readonly #shift: ChannelShift;
  readonly #accumulated = new Difference();
  /** By value: inputs that the result rounds, and the output. */
  readonly #values = new Map<string, ValueStatistics>();

  constructor(pair: LayerPair, beside: Beside) {
    this.pair = pair;
    const axis = pair.node.opType.includes('Conv') ? 1 : -1;
    this.#shift = new ChannelShift(axis);
    this.#side = pair.counterpart === undefined ? 'the result has merged, replaced or removed it' : beside.layer(pair);
    this.#parts = typeof this.#side === 'string' ? {} : partsOf(pair, beside);
    const sides = [this.#side, ...Object.values(this.#parts).map(({ side }) => side)].filter(
      (side) => typeof side !== 'string',
    );
    this.nodes = sides.flatMap((side) => side.nodes);
    for (const value of [...pair.node.inputs, pair.output]) {
      const quantized = beside.model.graph.initializers.has(value) ? undefined : beside.roundingOf(value);
      if (quantized !== undefined) this.#values.set(value, new ValueStatistics(quantized, axis));
    }
    this.names = [...new Set([pair.output, ...sides.map(({ output }) => output), ...this.#values.keys()])];
  }

  add(values: ReadonlyMap<string, NdArray>, after: ReadonlyMap<string, NdArray>): void {
    const { output, counterpart } = this.pair;
    const x = floats(values.get(output));
    if (x === undefined) return;
    const own = typeof this.#side === 'string' ? undefined : floats(values.get(this.#side.output));
    if (own !== undefined) {
      this.#own.add(x.data, own.data);
      this.#shift.add(x, own.data);
    }
    for (const { side, difference } of Object.values(this.#parts)) {
      const part = floats(values.get(side.output));
      if (part !== undefined) difference.add(x.data, part.data);
    }
    for (const [name, statistics] of this.#values) {
      const value = floats(values.get(name));
      if (value !== undefined) statistics.add(value.data, value.dims);
    }
    const y = after.get(counterpart?.name ?? '');
    const numbers = y === undefined ? undefined : asNumbers(y);
    if (numbers?.length !== x.data.length) return;
    const quantized = counterpart?.quantized;
    if (quantized?.stored !== true) this.#accumulated.add(x.data, numbers);
    else {
      const { scale, zeroPoint } = quantized;
      this.#accumulated.add(
        x.data,
        Float32Array.from(numbers, (code) => (code - zeroPoint) * scale),
      );
    }
  }

  finish(): OwnError {
    const inputs = this.pair.node.inputs.flatMap((name) => this.#values.get(name) ?? []);
    const [worst] = inputs.toSorted((a, b) => b.noise - a.noise);
    const input = worst?.result();
    const output = this.#values.get(this.pair.output);
    const outputValue = output?.result();
    const { weights, input: rounded } = this.#parts;
    const measured = this.#own.elements > 0;
    return {
      pair: this.pair,
      side: this.#side,
      report: {
        ...(this.#accumulated.elements === 0 ? {} : { accumulatedSqnrDb: this.#accumulated.sqnrDb }),
        ...(measured ? { ownSqnrDb: this.#own.sqnrDb, meanShiftShare: this.#shift.share } : {}),
        parts: {
          ...(weights === undefined ? {} : { weightsSqnrDb: weights.difference.sqnrDb }),
          ...(rounded === undefined ? {} : { inputSqnrDb: rounded.difference.sqnrDb }),
          ...(output === undefined || !measured ? {} : { outputSqnrDb: decibels(output.noise) }),
        },
        ...(input === undefined ? {} : { input }),
        ...(outputValue === undefined ? {} : { outputValue }),
      },
    };
  }
}

function partsOf(pair: LayerPair, beside: Beside): Parts {
  const { sameWeights, channelFactors, resultWeight } = pair;
  const values =
    sameWeights && channelFactors === undefined && resultWeight?.quantization !== undefined
      ? dequantized(resultWeight)
      : undefined;
  const weights = values === undefined ? undefined : beside.withWeights(pair, values);
  const input = beside.withRoundedInputs(pair);
  return {
    ...(weights === undefined ? {} : { weights: { side: weights, difference: new Difference() } }),
    ...(input === undefined ? {} : { input: { side: input, difference: new Difference() } }),
  };
}

function floats(
  array: NdArray | undefined,
): { readonly data: Float32Array; readonly dims: readonly number[] } | undefined {
  return array?.data instanceof Float32Array ? { data: array.data, dims: array.dims } : undefined;
}
