import { CompressionError, defined } from '../errors.ts';
import type { Model } from '../onnx/model.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import { classDivergences } from './class-divergence.ts';
import type { FeedSource, PassContext } from './pass.ts';

/** What the original answered is kept to compare with: for that much memory at most, then fewer samples serve. */
const REFERENCE_BYTES = 256 * 2 ** 20;

/** How far a changed model is from the one it was made from, by its first float output. */
export interface OutputChange {
  /** Share of the samples classified right, lost; 0 where the data have no class labels or the output no classes. */
  readonly accuracyDrop: number;
  /** Mean of 1 - cos over the samples' outputs, 0..2. */
  readonly distance: number;
  /** ||y - y'||² / ||y||² over all samples; infinite where the outputs are not finite. */
  readonly error: number;
  /** Mean over the samples of KL(p || p') of the classes' probabilities, nats; undefined where the output has no classes. */
  readonly divergence?: number;
}

/** Less than any sample's part in the accuracy: tells apart what costs none. */
const TIE = 1e-6;

/**
 * What a change costs. `kl`: how far the probabilities of the classes move. `error`: how far the outputs move. `metric`: accuracy, nothing where
 * it gains some; what costs the same goes by the error.
 */
export type OutputLoss = 'kl' | 'error' | 'metric';

export function lossOf(change: OutputChange, by: OutputLoss): number {
  if (by === 'kl') return change.divergence ?? 0;
  return by === 'error' ? change.error : Math.max(change.accuracyDrop, 0) + TIE * change.error;
}

type ComparisonContext = Pick<PassContext, 'runtime' | 'threads' | 'signal'>;

interface Reference {
  readonly output: string;
  /** One array a batch. */
  readonly answers: readonly Float32Array[];
  readonly accuracy: number | undefined;
  /** Where the output is [samples, classes]. */
  readonly classes: number | undefined;
}

/** Keeps what a model answers, and compares changed models with it: one run over the samples each. */
export class OutputComparison {
  readonly #feeds: FeedSource;
  readonly #context: ComparisonContext;
  readonly #reference: Reference;

  private constructor(feeds: FeedSource, context: ComparisonContext, reference: Reference) {
    this.#feeds = feeds;
    this.#context = context;
    this.#reference = reference;
  }

  /** @throws CompressionError MODEL_RUN, DATASET_EMPTY; PASS_PRECONDITION for a model without a float output */
  static async create(model: Model, feeds: FeedSource, context: ComparisonContext): Promise<OutputComparison> {
    const session = await context.runtime.createSession(model, { threads: context.threads });
    try {
      const output = session.outputs.find(({ type }) => type === 'float')?.name;
      if (output === undefined) {
        throw new CompressionError(
          'PASS_PRECONDITION',
          'outputs are compared by the first float output, and the model has none; choose by another score or rule',
        );
      }
      const answers: Float32Array[] = [];
      const tally = new Tally();
      let classes: number | undefined;
      let bytes = 0;
      for await (const batch of feeds.batches()) {
        context.signal.throwIfAborted();
        const array = defined((await session.run(batch.feeds, [output])).get(output), output);
        const values = floatsOf(array);
        bytes += values.byteLength;
        if (answers.length > 0 && bytes > REFERENCE_BYTES) break;
        answers.push(values);
        classes = classesOf(array, batch.count);
        tally.add(array, batch.labels, batch.count);
      }
      if (answers.length === 0) {
        throw new CompressionError('DATASET_EMPTY', 'the calibration data set gave no sample; name one with samples');
      }
      return new OutputComparison(feeds, context, { output, answers, accuracy: tally.accuracy(), classes });
    } finally {
      await session.release();
    }
  }

  /** Whether there are class labels and class scores to compare them with. */
  get knowsAccuracy(): boolean {
    return this.#reference.accuracy !== undefined;
  }

  /** Whether the output compared is [samples, classes]. */
  get hasClasses(): boolean {
    return this.#reference.classes !== undefined;
  }

  /**
   * @param what - goes by this loss, by the name of its option; `remedy`: what to do besides naming labels
   * @throws CompressionError PASS_PRECONDITION where the loss is not measured: no class scores, or no class labels
   */
  requireLoss(by: OutputLoss, what: string, remedy: string): void {
    if (by === 'metric') this.requireAccuracy(what, remedy);
    if (by !== 'kl' || this.hasClasses) return;
    throw new CompressionError(
      'PASS_PRECONDITION',
      `${what} needs a model whose first float output is scores of classes, [samples, classes]; ${remedy}`,
    );
  }

  /**
   * @param what - needs accuracy, by the name of its option; `remedy`: what to do besides naming labels
   * @throws CompressionError PASS_PRECONDITION where accuracy is not measured: no class labels, or no class scores
   */
  requireAccuracy(what: string, remedy: string): void {
    if (this.knowsAccuracy) return;
    throw new CompressionError(
      'PASS_PRECONDITION',
      `${what} needs calibration data with one class label a sample and a model whose first float output has class scores; ` +
        `${remedy}, or name the array of labels in data.calibration.labels`,
    );
  }

  async compare(changed: Model): Promise<OutputChange> {
    const { output, answers, accuracy, classes } = this.#reference;
    const session = await this.#context.runtime.createSession(changed, { threads: this.#context.threads });
    try {
      const tally = new Tally();
      let [distance, divergence] = [0, 0];
      let [off, whole] = [0, 0];
      let samples = 0;
      let step = 0;
      for await (const batch of this.#feeds.batches()) {
        this.#context.signal.throwIfAborted();
        const expected = answers[step];
        if (expected === undefined) break;
        step += 1;
        const array = defined((await session.run(batch.feeds, [output])).get(output), output);
        tally.add(array, batch.labels, batch.count);
        const actual = floatsOf(array);
        distance += distances(expected, actual, batch.count);
        if (classes !== undefined) divergence += classDivergences(expected, actual, { count: batch.count, classes });
        for (let i = 0; i < expected.length; i += 1) {
          off += ((expected[i] ?? 0) - (actual[i] ?? 0)) ** 2;
          whole += (expected[i] ?? 0) ** 2;
        }
        samples += batch.count;
      }
      const own = tally.accuracy();
      return {
        accuracyDrop: accuracy === undefined || own === undefined ? 0 : accuracy - own,
        distance: distance / Math.max(samples, 1),
        ...(classes === undefined ? {} : { divergence: divergence / Math.max(samples, 1) }),
        error: !Number.isFinite(off) ? Infinity : off === 0 ? 0 : off / whole,
      };
    } finally {
      await session.release();
    }
  }
}

function classesOf({ dims }: NdArray, count: number): number | undefined {
  const [rows = 0, classes = 0] = dims;
  return dims.length === 2 && rows >= count && classes >= 2 ? classes : undefined;
}

/** Counts right answers of class scores [samples, classes] against integer labels. */
class Tally {
  #right = 0;
  #samples = 0;
  #isUsable = true;

  add(scores: NdArray, labels: NdArray | undefined, count: number): void {
    const classes = classesOf(scores, count);
    const isUsable = classes !== undefined && labels?.data.length === count && /^u?int/.test(labels.type);
    if (!isUsable) this.#isUsable = false;
    if (!isUsable || !this.#isUsable) return;
    const { data } = scores;
    for (let sample = 0; sample < count; sample += 1) {
      let best = 0;
      for (let label = 1; label < classes; label += 1) {
        if (Number(data[sample * classes + label]) > Number(data[sample * classes + best])) best = label;
      }
      if (best === Number(labels.data[sample])) this.#right += 1;
    }
    this.#samples += count;
  }

  accuracy(): number | undefined {
    return this.#isUsable && this.#samples > 0 ? this.#right / this.#samples : undefined;
  }
}

function floatsOf({ data }: NdArray): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data, Number);
}

/** Sum over the samples of 1 - cos. A sample of zeros on both sides is at 0, on one side at 1; what is not finite at 2. */
function distances(expected: Float32Array, actual: Float32Array, count: number): number {
  const each = Math.floor(expected.length / Math.max(count, 1));
  let sum = 0;
  for (let sample = 0; sample < count; sample += 1) {
    let [xy, xx, yy] = [0, 0, 0];
    for (let i = sample * each; i < (sample + 1) * each; i += 1) {
      const [x, y] = [expected[i] ?? 0, actual[i] ?? 0];
      xy += x * y;
      xx += x * x;
      yy += y * y;
    }
    const norm = Math.sqrt(xx * yy);
    sum += !Number.isFinite(norm) ? 2 : xx === 0 && yy === 0 ? 0 : norm === 0 ? 1 : 1 - xy / norm;
  }
  return sum;
}
