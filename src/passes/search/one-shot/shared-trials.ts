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
}

/** Trials that take seconds: a candidate is taken out of the shared weights and measured as it is. */
export class SharedTrials implements TrialRunner {
  readonly #measure: SharedMeasure;
  readonly #results: KeptResults;

  private constructor(measure: SharedMeasure, results: KeptResults) {
    this.#measure = measure;
    this.#results = results;
  }

  /** Goes on with what an earlier attempt had measured. */
  static async open(measure: SharedMeasure): Promise<SharedTrials> {
    return new SharedTrials(measure, await KeptResults.open(measure.checkpoint));
  }

  get concluding(): boolean {
    return this.#measure.context.trials?.concluding ?? false;
  }

  run(specs: readonly TrialSpec[]): Promise<readonly (TrialResult | undefined)[]> {
    return this.#results.of(specs, this.concluding ? undefined : (spec) => this.#run(spec));
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
