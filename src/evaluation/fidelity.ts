import { isFloatType, type DataType } from '../onnx/data-type.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import type { FeedSource } from '../passes/pass.ts';
import type { Session } from '../runtime/session.ts';
import type { OutputComparison } from '../schemas/report.ts';
import { throwIfAborted } from './accuracy.ts';
import { asNumbers } from './numbers.ts';

export interface FidelityOptions {
  /** Stop after so many samples. Default 512. */
  readonly maxSamples?: number;
  readonly signal?: AbortSignal;
  readonly progress?: (samples: number) => void;
}

/** Below this the reference counts as all zero. */
const EPSILON = 1e-30;

/**
 * Running sums of a reference x against an approximation y: cosine, SQNR and largest difference without keeping either.
 * Elements that are not finite on a side are counted and left out of the sums.
 */
export class Difference {
  #elements = 0;
  #equal = 0;
  #signal = 0;
  #approximation = 0;
  #noise = 0;
  #dot = 0;
  #maxAbs = 0;
  #finite = 0;
  #nonFiniteX = 0;
  #nonFiniteY = 0;
  #mismatched = 0;

  /** Adds x[from..from+count) against y of the same range. O(count). */
  add(x: ArrayLike<number>, y: ArrayLike<number>, count = x.length): void {
    this.#elements += count;
    for (let i = 0; i < count; i += 1) {
      const a = x[i] ?? NaN;
      const b = y[i] ?? NaN;
      if (a === b) this.#equal += 1;
      const finiteA = Number.isFinite(a);
      const finiteB = Number.isFinite(b);
      if (!finiteA) this.#nonFiniteX += 1;
      if (!finiteB) this.#nonFiniteY += 1;
      if (!finiteA || !finiteB) {
        // The same infinity on both sides is a mask, not an error; NaN on both sides is not a result to be proud of.
        if (a !== b) this.#mismatched += 1;
        continue;
      }
      const difference = a - b;
      this.#finite += 1;
      this.#signal += a * a;
      this.#approximation += b * b;
      this.#dot += a * b;
      this.#noise += difference * difference;
      if (Math.abs(difference) > this.#maxAbs) this.#maxAbs = Math.abs(difference);
    }
  }

  get elements(): number {
    return this.#elements;
  }

  get equalShare(): number {
    return this.#elements === 0 ? 1 : this.#equal / this.#elements;
  }

  get nonFinite(): { baseline: number; result: number } {
    return { baseline: this.#nonFiniteX, result: this.#nonFiniteY };
  }

  get maxAbs(): number | null {
    return this.#finite === 0 ? null : this.#maxAbs;
  }

  /** x.y / (|x| |y|); null when a side is all zero or non-finite elements do not match. */
  get cosine(): number | null {
    if (this.#mismatched > 0 || this.#signal < EPSILON || this.#approximation < EPSILON) return null;
    return Math.max(-1, Math.min(1, this.#dot / Math.sqrt(this.#signal) / Math.sqrt(this.#approximation)));
  }

  /** 20 log10(|x| / |x - y|); null where that is not a finite number, see `note`. */
  get sqnrDb(): number | null {
    if (this.#mismatched > 0 || this.#signal < EPSILON || this.#noise === 0) return null;
    return 10 * Math.log10(this.#signal / this.#noise);
  }

  /** Why there is no SQNR, when there is none. */
  get note(): string | undefined {
    if (this.#elements === 0) return 'no elements were compared';
    if (this.#mismatched > 0) {
      return `${this.#mismatched} of ${this.#elements} elements are NaN or infinite on one side or differ there`;
    }
    if (this.#noise === 0) return 'identical';
    return this.#signal < EPSILON ? 'the reference is all zero' : undefined;
  }
}

interface OutputState {
  readonly name: string;
  type: DataType;
  readonly difference: Difference;
  equalTexts: number;
  texts: number;
  samples: number;
  problem: string | undefined;
}

/**
 * Runs both models on the same samples and compares every output they share. Streams: holds one batch of outputs.
 *
 * @returns one entry an output of the input model, in its order; empty when it has none
 */
export async function compareOutputs(
  baseline: Session,
  result: Session,
  feeds: FeedSource,
  options: FidelityOptions = {},
): Promise<OutputComparison[]> {
  const states: OutputState[] = baseline.outputs.map(({ name, type }) => ({
    name,
    type,
    difference: new Difference(),
    equalTexts: 0,
    texts: 0,
    samples: 0,
    problem: undefined,
  }));
  if (states.length === 0) return [];
  let done = 0;
  for await (const batch of feeds.batches()) {
    throwIfAborted(options.signal);
    const [before, after] = [await baseline.run(batch.feeds), await result.run(batch.feeds)];
    for (const state of states) {
      const [x, y] = [before.get(state.name), after.get(state.name)];
      if (x === undefined || y === undefined)
        state.problem = `the ${x === undefined ? 'input model' : 'result'} does not give it`;
      else compareBatch(state, x, y, batch.count);
    }
    done += batch.count;
    options.progress?.(done);
    if (done >= (options.maxSamples ?? 512)) break;
  }
  return states.map(finish);
}

function compareBatch(state: OutputState, x: NdArray, y: NdArray, count: number): void {
  if (x.dims.join() !== y.dims.join()) {
    state.problem = `dims differ: [${x.dims.join(', ')}] and [${y.dims.join(', ')}]`;
    return;
  }
  if (x.type !== y.type) state.problem = `type changed from ${x.type} to ${y.type}`;
  state.samples += count;
  if (x.type === 'string' || y.type === 'string') {
    state.texts += x.data.length;
    for (let i = 0; i < x.data.length; i += 1) if (x.data[i] === y.data[i]) state.equalTexts += 1;
    return;
  }
  const [a, b] = [asNumbers(x), asNumbers(y)];
  if (a === undefined || b === undefined) state.problem = `${x.type} values are not compared`;
  else state.difference.add(a, b);
}

function finish(state: OutputState): OutputComparison {
  const { difference } = state;
  const base = { name: state.name, type: state.type, samples: state.samples };
  if (state.problem !== undefined || state.type === 'string') {
    return {
      ...base,
      cosine: null,
      sqnrDb: null,
      maxAbsDifference: null,
      equalShare: state.texts === 0 ? difference.equalShare : state.equalTexts / state.texts,
      nonFiniteElements: difference.nonFinite,
      note: state.problem ?? 'text: only equality is compared',
    };
  }
  // Class indices and masks have no direction or power; only how many are equal means something.
  const isNumber = isFloatType(state.type);
  const note = isNumber ? difference.note : 'integers: only equality and the largest difference are compared';
  return {
    ...base,
    cosine: isNumber ? difference.cosine : null,
    sqnrDb: isNumber ? difference.sqnrDb : null,
    maxAbsDifference: difference.maxAbs,
    equalShare: difference.equalShare,
    nonFiniteElements: difference.nonFinite,
    ...(note === undefined ? {} : { note }),
  };
}
