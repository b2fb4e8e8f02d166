import type { Model } from '../../../onnx/model.ts';
import type { TrainingSource } from '../../../data/training/training-source.ts';
import { CompressionError, defined } from '../../../errors.ts';
import { openSource, validationSource } from '../../../training/finetune.ts';
import { buildArchitecture } from '../../../zoo/build-architecture.ts';
import { finetuneContext } from '../../finetune-context.ts';
import type { PassContext, PassResult } from '../../pass.ts';
import { partOf } from '../../progress-part.ts';
import { replaceModel, takeNames } from '../../replace-model.ts';
import { OneShotField, type ArchitectureOptions } from '../architecture-options.ts';
import { Chapters } from '../chapters.ts';
import { correlationsOf } from '../correlations.ts';
import { firstBatches } from '../first-batches.ts';
import { interfaceOptions } from '../interface-options.ts';
import { planNetworks } from '../plan-networks.ts';
import type { SearchPlan } from '../run-search.ts';
import { searchAndConclude } from '../search-and-conclude.ts';
import type { StrategyName } from '../strategies.ts';
import { teacherOfWinner, trainWinner } from '../train-winner.ts';
import { partAt, sharedSpace, type SharedSpace } from './shared-space.ts';
import { SharedTrials } from './shared-trials.ts';
import { phasesOf, shareEpochs } from './shrinking.ts';
import { trainShared, type SharedWeights } from './train-shared.ts';

type Options = ArchitectureOptions & { readonly strategy: StrategyName };

/** Shares of the step's time: training, measuring candidates, final training. */
const SHARES = { trained: 0.6, measured: 0.75 } as const;

/**
 * Trains one network that holds all candidates, measures candidates with its weights, and puts the best one in the model's
 * place. Runs within the step: no candidate is a job of its own. When concluding, goes by what an earlier attempt had saved.
 *
 * @throws CompressionError PASS_PRECONDITION where the candidates cannot share weights; what training throws
 * @see Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020
 * @see Cai et al., "Once-for-All", ICLR 2020
 */
export async function runOneShot(model: Model, options: Options, context: PassContext): Promise<PassResult> {
  const shared = sharedSpace(options.space, interfaceOptions(model));
  if (typeof shared === 'string')
    throw new CompressionError(
      'PASS_PRECONDITION',
      `search.architecture: the candidates cannot share weights: ${shared}`,
    );
  const settings = OneShotField.parse(options.oneShot ?? {});
  const adapt = (network: Model): void => takeNames(network, model);
  const largest = buildArchitecture(shared.request, context.seed);
  adapt(largest);
  const own = { ...finetuneContext(context), concluding: context.trials?.concluding ?? false };
  const source = await openSource(largest, options.training, own);
  try {
    const chapters = await Chapters.open(context.checkpoint, keyOf(options, source, context));
    const weights = await trainShared(
      { shared, largest, training: options.training, settings },
      partOf(own, 0, SHARES.trained),
      chapters,
    );
    const measuredOn =
      validationSource(source, largest, options.training, own) ?? defined(context.data.evaluation, 'evaluation data');
    const trials = await SharedTrials.open({
      network: shared.network,
      weights: weights.model,
      adapt,
      batches: await firstBatches(source, settings.recalibrationSamples, context.signal),
      measuredOn,
      batchSize: source.info.batchSize,
      context,
      checkpoint: chapters.checkpointOf('candidates'),
      known: chapters.get('candidates')?.data,
    });
    const found = await searchParts({ model, options, shared, trials }, context);
    // The final training's state takes the place of theirs.
    if (!own.concluding) await chapters.finish('candidates', trials.results);
    const start = settings.finalWeights === 'shared' ? found.best : buildArchitecture(found.request, context.seed);
    adapt(start);
    const final = await trainWinner(
      {
        training: options.finalTraining,
        teacher: await teacherOfWinner(options, model, context),
        found: found.best,
        start,
        measuredOn,
        batchSize: source.info.batchSize,
      },
      partOf(own, SHARES.measured, 1),
      chapters,
    );
    adapt(final.model);
    replaceModel(model, final.model);
    return {
      changes: 1,
      skipped: [],
      warnings: [...source.info.warnings, ...weights.notDone, ...found.warnings, ...final.warnings],
      training: [...weights.runs, ...final.training],
      artifacts: found.artifacts,
      details: {
        ...found.details,
        cutShort: found.cutShort || weights.notDone.length > 0 || final.cutShort,
        strategy: 'one-shot',
        winner: { ...found.request },
        oneShot: detailsOf(shared, options, {
          settings,
          weights,
          samples: measuredOn.samples,
          measuredOn: measuredOn === context.data.evaluation ? 'evaluation' : 'validation',
        }),
      },
    };
  } finally {
    await source.close();
  }
}

function keyOf(options: Options, { info }: TrainingSource, { seed }: PassContext): string {
  return JSON.stringify([options, seed, info.samples]);
}

interface FoundPart {
  readonly best: Model;
  readonly request: ReturnType<SharedSpace['requestOf']>;
  readonly artifacts: NonNullable<PassResult['artifacts']>;
  readonly warnings: readonly string[];
  readonly cutShort: boolean;
  readonly details: Record<string, unknown>;
}

async function searchParts(
  {
    model,
    options,
    shared,
    trials,
  }: {
    readonly model: Model;
    readonly options: Options;
    readonly shared: SharedSpace;
    readonly trials: SharedTrials;
  },
  context: PassContext,
): Promise<FoundPart> {
  const planned = planNetworks(model, options, context);
  const plan: SearchPlan = {
    ...planned,
    // Weights that were trained as a whole, for the most part, are worth the most there.
    ...(trials.concluding && trials.isFresh ? { initial: [shared.largest] } : {}),
    prepare(point, budget) {
      const prepared = planned.prepare(point, budget);
      if (!('spec' in prepared)) return prepared;
      const part = partAt(shared, point);
      return typeof part === 'string' ? { figures: {}, reason: part } : prepared;
    },
  };
  const { run, best, found, artifacts, warnings, details } = await searchAndConclude({
    plan,
    options,
    trials,
    context: partOf(context, SHARES.trained, SHARES.measured),
  });
  return {
    best,
    request: shared.requestOf(found.best.point),
    artifacts,
    warnings,
    cutShort: details['cutShort'] === true,
    details: { ...details, correlations: await correlationsOf(run.tried, { model, options, context }) },
  };
}

function detailsOf(
  shared: SharedSpace,
  { training }: Options,
  {
    settings,
    weights,
    samples,
    measuredOn,
  }: {
    readonly settings: ReturnType<typeof OneShotField.parse>;
    readonly weights: SharedWeights;
    readonly samples: number;
    readonly measuredOn: string;
  },
): Record<string, unknown> {
  const whole = weights.runs[0]?.epochs.at(-1)?.validation;
  return {
    largest: { ...shared.request },
    epochs: shareEpochs(training.epochs, settings.wholeShare),
    phases: phasesOf(shared),
    dimensions: Object.fromEntries(shared.kinds),
    measuredOn: { data: measuredOn, samples },
    recalibrationSamples: settings.recalibrationSamples,
    ...(whole === undefined ? {} : { largestAlone: { metric: whole.metric, accuracy: whole.value } }),
  };
}
