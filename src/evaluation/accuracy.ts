import { CompressionError } from '../errors.ts';
import { isFloatType, type DataType } from '../onnx/data-type.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import type { FeedBatch, FeedSource } from '../passes/pass.ts';
import type { Results, Session } from '../runtime/session.ts';
import { asNumbers } from './numbers.ts';
import type { ClassificationOutcome, Outcome, RegressionOutcome } from './outcome.ts';

/** What accuracy means: `none` measures nothing; undefined chooses by the labels (integers: top1, else rmse). */
export type Metric = 'top1' | 'top5' | 'rmse' | 'none';

export interface AccuracyOptions {
  /** Score above which a single-score output means class 1: 0.5 behind a Sigmoid, 0 for a raw score. Default 0.5. */
  readonly binaryThreshold?: number;
  readonly signal?: AbortSignal;
  /** Samples done so far. */
  readonly progress?: (samples: number) => void;
}

/**
 * Runs the model over labelled samples and keeps what it answered to each. A model or data set on which accuracy has no
 * meaning (no labels, no outputs, string outputs, shapes that do not fit) gives `kind: 'none'` with the reason.
 *
 * The output read is the first one that fits: for classes a float output with two or more scores a sample, then an
 * integer output with one class index a sample, then a single score; for regression the first with as many values a
 * sample as there are targets. Ties go to the lowest class index.
 *
 * @throws CompressionError DATASET_LABELS when a label lies outside the model's classes; MODEL_RUN from the session;
 * CANCELED when the signal fires
 */
export async function measureAccuracy(
  session: Session,
  feeds: FeedSource,
  metric: Metric | undefined,
  options: AccuracyOptions = {},
): Promise<Outcome> {
  if (metric === 'none') return none('the job asked for no accuracy metric');
  if (session.outputs.length === 0) return none('the model has no tensor output to compare with labels');
  let collector: Collector | undefined;
  let done = 0;
  for await (const batch of feeds.batches()) {
    throwIfAborted(options.signal);
    if (batch.labels === undefined) return none('the evaluation data has no labels');
    const labels = asNumbers(batch.labels);
    if (labels === undefined) return none(`labels are ${batch.labels.type}; class indices or numbers are needed`);
    if (collector === undefined && batch.count === 0) continue;
    const results = await session.run(batch.feeds, collector === undefined ? undefined : [collector.outputName]);
    if (collector === undefined) {
      const chosen = chooseCollector(results, batch, labels, metric);
      if (typeof chosen === 'string') return none(chosen);
      collector = chosen;
    }
    const problem = collector.add(results, batch, labels, options.binaryThreshold ?? 0.5);
    if (problem !== undefined) return none(problem);
    done += batch.count;
    options.progress?.(done);
  }
  return collector === undefined ? none('the evaluation data has no samples') : collector.finish();
}

const none = (reason: string): Outcome => ({ kind: 'none', reason });

/** @throws CompressionError CANCELED */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new CompressionError('CANCELED', 'evaluation was canceled');
}

interface Collector {
  readonly outputName: string;
  /** Takes one batch in; a string says why accuracy cannot be measured after all. */
  add(results: Results, batch: FeedBatch, labels: ArrayLike<number>, threshold: number): string | undefined;
  finish(): Outcome;
}

/** Values each sample has in this output, or undefined when its first axis is not the samples. */
function perSample(array: NdArray, count: number): number | undefined {
  const total = array.data.length;
  const rows = array.dims[0];
  if (rows !== undefined && rows >= count && rows > 0 && total % rows === 0) return total / rows;
  return count === 1 ? total : undefined;
}

function chooseCollector(
  results: Results,
  batch: FeedBatch,
  labels: ArrayLike<number>,
  metric: Metric | undefined,
): Collector | string {
  const labelsEach = labels.length / batch.count;
  if (!Number.isInteger(labelsEach)) return `${labels.length} labels do not divide among ${batch.count} samples`;
  const sizes = new Map<string, { each: number; type: DataType }>();
  for (const [name, array] of results) {
    const each = perSample(array, batch.count);
    if (each !== undefined && asNumbers(array) !== undefined) sizes.set(name, { each, type: array.type });
  }
  const found = [...results].map(([name, array]) => `"${name}" ${array.type}[${array.dims.join(', ')}]`).join(', ');
  const find = (test: (each: number, type: DataType) => boolean): string | undefined =>
    [...sizes].find(([, { each, type }]) => test(each, type))?.[0];

  const wantsClasses = metric === undefined ? !isFloatType(batch.labels?.type ?? 'float') : metric !== 'rmse';
  if (wantsClasses) {
    const scores =
      find((each, type) => isFloatType(type) && each >= 2 && (labelsEach === 1 || labelsEach === each)) ??
      find((each, type) => !isFloatType(type) && each === 1 && labelsEach === 1);
    if (scores !== undefined) return new ClassCollector(scores, sizes.get(scores)?.each ?? 0, labelsEach);
    const single = find((each) => each === 1);
    const binary = labelsEach === 1 && Array.prototype.every.call(labels, (label) => label === 0 || label === 1);
    if (single !== undefined && (binary || metric !== undefined)) return new ClassCollector(single, 1, 1, true);
    if (single === undefined || metric !== undefined) {
      return `no output gives class scores for ${labelsEach} labels a sample; the outputs are ${found}`;
    }
  }
  const output = find((each, type) => isFloatType(type) && each === labelsEach) ?? find((each) => each === labelsEach);
  return output === undefined
    ? `no output has ${labelsEach} values a sample as the labels do; the outputs are ${found}`
    : new RegressionCollector(output, labelsEach);
}

/** A list of numbers that grows by doubling; `trimmed` gives what was pushed. */
class Growing {
  #values = new Float64Array(1024);
  length = 0;

  push(value: number): void {
    if (this.length === this.#values.length) {
      const wider = new Float64Array(this.length * 2);
      wider.set(this.#values);
      this.#values = wider;
    }
    this.#values[this.length] = value;
    this.length += 1;
  }

  trimmed(): Float64Array {
    return this.#values.slice(0, this.length);
  }
}

class ClassCollector implements Collector {
  readonly outputName: string;
  /** Scores a sample; 1 for an output that holds class indices or one score. */
  readonly #scores: number;
  readonly #labelsEach: number;
  /** One score a sample, compared with the threshold. */
  readonly #binary: boolean;
  readonly #predictions = new Growing();
  readonly #labels = new Growing();
  readonly #inTop5 = new Growing();
  #nonFinite = 0;
  #highest = 0;

  constructor(outputName: string, scores: number, labelsEach: number, binary = false) {
    this.outputName = outputName;
    this.#scores = scores;
    this.#labelsEach = labelsEach;
    this.#binary = binary;
  }

  add(results: Results, batch: FeedBatch, labels: ArrayLike<number>, threshold: number): string | undefined {
    const array = results.get(this.outputName);
    const values = array === undefined ? undefined : asNumbers(array);
    if (array === undefined || values === undefined) return `output "${this.outputName}" vanished between batches`;
    if (perSample(array, batch.count) !== this.#scores) {
      return `output "${this.outputName}" changed its values a sample from ${this.#scores}; its dims are now [${array.dims.join(', ')}]`;
    }
    for (let sample = 0; sample < batch.count; sample += 1) {
      const label = this.#labelOf(labels, sample);
      if (this.#scores === 1) this.#addSingle(values[sample] ?? NaN, label, threshold);
      else this.#addScores(values, sample * this.#scores, label);
    }
    return undefined;
  }

  #labelOf(labels: ArrayLike<number>, sample: number): number {
    const each = this.#labelsEach;
    const label = each === 1 ? (labels[sample] ?? NaN) : argmax(labels, sample * each, each);
    const classes = this.#scores === 1 ? (this.#binary ? 2 : 2 ** 31) : this.#scores;
    if (!Number.isInteger(label) || label < 0 || label >= classes) {
      throw new CompressionError(
        'DATASET_LABELS',
        `label of evaluation sample ${this.#labels.length} is ${label}; output "${this.outputName}" has classes 0..${classes - 1}. ` +
          'Give class indices that fit the model, or another label array with data.evaluation.labels',
      );
    }
    return label;
  }

  #addSingle(value: number, label: number, threshold: number): void {
    const finite = Number.isFinite(value);
    if (!finite) this.#nonFinite += 1;
    const predicted = !finite ? -1 : this.#binary ? Number(value > threshold) : Math.trunc(value);
    this.#highest = Math.max(this.#highest, predicted, label);
    this.#predictions.push(predicted);
    this.#labels.push(label);
  }

  #addScores(values: ArrayLike<number>, from: number, label: number): void {
    let finite = true;
    for (let i = from; i < from + this.#scores; i += 1) if (!Number.isFinite(values[i])) finite = false;
    if (!finite) this.#nonFinite += 1;
    this.#predictions.push(finite ? argmax(values, from, this.#scores) : -1);
    this.#labels.push(label);
    if (this.#scores > 5) this.#inTop5.push(Number(finite && rankOf(values, from, this.#scores, label) < 5));
  }

  finish(): ClassificationOutcome {
    return {
      kind: 'classification',
      output: this.outputName,
      classes: this.#scores > 1 ? this.#scores : Math.max(2, this.#highest + 1),
      predictions: Int32Array.from(this.#predictions.trimmed()),
      labels: Int32Array.from(this.#labels.trimmed()),
      ...(this.#scores > 5 ? { inTop5: Uint8Array.from(this.#inTop5.trimmed()) } : {}),
      nonFiniteSamples: this.#nonFinite,
    };
  }
}

function argmax(values: ArrayLike<number>, from: number, length: number): number {
  let best = 0;
  for (let i = 1; i < length; i += 1) if ((values[from + i] ?? NaN) > (values[from + best] ?? NaN)) best = i;
  return best;
}

/** How many classes come before `label` when scores are sorted downwards, ties by index. */
function rankOf(values: ArrayLike<number>, from: number, length: number, label: number): number {
  const own = values[from + label] ?? NaN;
  let before = 0;
  for (let i = 0; i < length; i += 1) {
    const score = values[from + i] ?? NaN;
    if (score > own || (score === own && i < label)) before += 1;
  }
  return before;
}

class RegressionCollector implements Collector {
  readonly outputName: string;
  readonly #each: number;
  readonly #squared = new Growing();
  readonly #absolute = new Growing();
  #nonFinite = 0;

  constructor(outputName: string, each: number) {
    this.outputName = outputName;
    this.#each = each;
  }

  add(results: Results, batch: FeedBatch, labels: ArrayLike<number>): string | undefined {
    const array = results.get(this.outputName);
    const values = array === undefined ? undefined : asNumbers(array);
    if (array === undefined || values === undefined || perSample(array, batch.count) !== this.#each) {
      return `output "${this.outputName}" no longer has ${this.#each} values a sample`;
    }
    for (let sample = 0; sample < batch.count; sample += 1) {
      let squared = 0;
      let absolute = 0;
      for (let i = sample * this.#each; i < (sample + 1) * this.#each; i += 1) {
        const error = (values[i] ?? NaN) - (labels[i] ?? NaN);
        squared += error * error;
        absolute += Math.abs(error);
      }
      const finite = Number.isFinite(squared);
      if (!finite) this.#nonFinite += 1;
      this.#squared.push(finite ? squared / this.#each : NaN);
      this.#absolute.push(finite ? absolute / this.#each : NaN);
    }
    return undefined;
  }

  finish(): RegressionOutcome {
    return {
      kind: 'regression',
      output: this.outputName,
      squaredErrors: this.#squared.trimmed(),
      absoluteErrors: this.#absolute.trimmed(),
      nonFiniteSamples: this.#nonFinite,
    };
  }
}
