import { CompressionError } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import type { NdArray } from '../../../onnx/nd-array.ts';
import type { TrialResult, TrialSpec } from '../../../schemas/trial.ts';
import { recalibrateNormalization } from '../../../training/recalibrate-normalization.ts';
import { validate } from '../../../training/validation.ts';
import { networkWithoutWeights } from '../../../zoo/build-architecture.ts';
import { KeptResults } from '../kept-results.ts';
import { sizesOf } from '../networks.ts';
import type { FeedBatch, FeedSource, PassContext, StepCheckpoint } from '../../pass.ts';
import type { TrialRunner } from '../../trials.ts';
import { takeWeights } from './extract.ts';
import { lineUp, survey, type Surveyed } from './line-up.ts';

/** What candidates are measured with. */
export interface SharedMeasure {
  /** The largest network, its weights zero and its names the zoo's. */
  readonly network: Surveyed;
  readonly weights: Model;
  /** Gives a network the names of the data. */
  readonly adapt: (network: Model) => void;
  /** For the statistics of BatchNormalization. */
  readonly batches: readonly Readonly<Record<string, NdArray>>[];
  readonly measuredOn: FeedSource;
  readonly batchSize: number;
  readonly context: PassContext;
  readonly checkpoint: StepCheckpoint;
  /** What an earlier attempt had measured when it was through with all candidates. */
  readonly known: unknown;
}

/** How long a search that has to conclude, and has measured nothing, goes on measuring. */
const CONCLUDING_MEASURE_MS = 20_000;

/** Trials that take seconds: a candidate is taken out of the shared weights and measured as it is. */
export class SharedTrials implements TrialRunner {
  readonly #measure: SharedMeasure;
  readonly #results: KeptResults;
  /** Nothing had been measured when this attempt began. */
  readonly isFresh: boolean;
  #endOfMeasuring: number | undefined;

  private constructor(measure: SharedMeasure, results: KeptResults) {
    this.#measure = measure;
    this.#results = results;
    this.isFresh = results.all.length === 0;
  }

  /** Goes on with what an earlier attempt had measured. */
  static async open(measure: SharedMeasure): Promise<SharedTrials> {
    const { checkpoint, known, context } = measure;
    // What is measured in haste is for this attempt alone: another one that concludes has its own time.
    const keeps = context.trials?.concluding === true ? { load: () => checkpoint.load(), save: nothing } : checkpoint;
    return new SharedTrials(measure, await KeptResults.open(keeps, known));
  }

  /** Everything measured so far, as JSON. */
  get results(): unknown {
    return this.#results.all;
  }

  get concluding(): boolean {
    return this.#measure.context.trials?.concluding ?? false;
  }

  run(specs: readonly TrialSpec[]): Promise<readonly (TrialResult | undefined)[]> {
    return this.#results.of(specs, (spec) => (this.#hasTime() ? this.#run(spec) : undefined));
  }

  /** A search that has to conclude measures a few candidates where it has none, one at least. */
  #hasTime(): boolean {
    if (!this.concluding) return true;
    if (!this.isFresh) return false;
    const now = performance.now();
    this.#endOfMeasuring ??= now + CONCLUDING_MEASURE_MS;
    return now < this.#endOfMeasuring;
  }

  async models(specs: readonly TrialSpec[]): Promise<readonly Model[]> {
    const models: Model[] = [];
    for (const spec of specs) models.push(await this.#model(spec));
    return models;
  }

  async #run(spec: TrialSpec): Promise<TrialResult> {
    const { measuredOn, context, batchSize } = this.#measure;
    const { runtime, threads, signal, costTable } = context;
    const model = await this.#model(spec);
    const { metric, value } = await validate(model, firstOf(measuredOn, spec.evaluationSamples), {
      runtime,
      threads,
      signal,
      batchSize,
    });
    if (!Number.isFinite(value))
      return { status: 'failed', error: { code: 'MODEL_RUN', message: 'its outputs are not finite' } };
    return { status: 'succeeded', ...sizesOf(model, costTable), metric, accuracy: value };
  }

  async #model({ model: request }: TrialSpec): Promise<Model> {
    const { network, weights, adapt, batches, context } = this.#measure;
    const { runtime, threads, signal } = context;
    signal.throwIfAborted();
    if (typeof request !== 'object' || !('architecture' in request))
      throw new CompressionError('INTERNAL', 'a candidate of shared weights is no network of the zoo');
    const model = networkWithoutWeights(request);
    const place = lineUp(network, survey(model));
    if (typeof place === 'string') throw new CompressionError('INTERNAL', `a candidate is no part: ${place}`);
    takeWeights(model, weights, place);
    adapt(model);
    await recalibrateNormalization(model, { runtime, threads, signal, batches });
    return model;
  }
}

function nothing(): Promise<void> {
  return Promise.resolve();
}

/** The first so many samples. */
function firstOf(source: FeedSource, samples: number | undefined): FeedSource {
  if (samples === undefined || samples >= source.samples) return source;
  return {
    samples,
    async *batches(batchSize) {
      let left = samples;
      for await (const batch of source.batches(batchSize)) {
        yield batch.count <= left ? batch : fewer(batch, left);
        left -= batch.count;
        if (left <= 0) return;
      }
    },
  };
}

/** A batch of which fewer samples count; the arrays stay as they are. */
function fewer(batch: FeedBatch, count: number): FeedBatch {
  return { ...batch, count };
}
