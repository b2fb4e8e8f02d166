import { CompressionError } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import { firstBatch, openSource, validationSource } from '../../../training/finetune.ts';
import { recalibrateNormalization } from '../../../training/recalibrate-normalization.ts';
import { validate } from '../../../training/validation.ts';
import { buildArchitecture, networkWithoutWeights } from '../../../zoo/build-architecture.ts';
import { finetuneContext } from '../../finetune-context.ts';
import type { PassContext, PassResult } from '../../pass.ts';
import { partOf } from '../../progress-part.ts';
import { replaceModel, takeNames } from '../../replace-model.ts';
import { DartsField, type ArchitectureOptions } from '../architecture-options.ts';
import { Chapters } from '../chapters.ts';
import { firstBatches } from '../first-batches.ts';
import { violationOf } from '../goals.ts';
import { interfaceOptions } from '../interface-options.ts';
import { networkOrReason, sizesOf } from '../networks.ts';
import { teacherOfWinner, trainWinner } from '../train-winner.ts';
import { chooseOperations, type Choice } from './choose-operations.ts';
import { mixedName, mixedNetwork } from './mixed-network.ts';
import { operationSpace, type OperationSpace } from './places.ts';
import { trainMixed, type TrainedMixture } from './train-mixed.ts';

/** Share of the step's time until the operations are chosen. */
const CHOSEN = 0.6;

/**
 * Trains one network with all operations side by side and how strong each is, keeps the strongest ones within the limits, and puts
 * that network in the model's place. When concluding, goes by what an earlier attempt had saved.
 *
 * @throws CompressionError PASS_PRECONDITION where operations cannot be mixed, or no combination is within the limits; what training throws
 * @see Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019
 */
export async function runDarts(model: Model, options: ArchitectureOptions, context: PassContext): Promise<PassResult> {
  const space = operationSpace(options.space, interfaceOptions(model));
  if (typeof space === 'string')
    throw new CompressionError('PASS_PRECONDITION', `search.architecture: the operations cannot be mixed: ${space}`);
  const settings = DartsField.parse(options.darts ?? {});
  const own = { ...finetuneContext(context), concluding: context.trials?.concluding ?? false };
  const mixed = mixedNetwork(space, context.seed);
  takeNames(mixed.model, model);
  const source = await openSource(mixed.model, options.training, own);
  try {
    const validation = validationSource(source, mixed.model, options.training, own);
    if (validation === undefined)
      throw new CompressionError(
        'PASS_PRECONDITION',
        'search.architecture: the strengths of operations are learned on validation data; set training.validation',
      );
    const chapters = await Chapters.open(
      context.checkpoint,
      JSON.stringify([options, context.seed, source.info.samples]),
    );
    const first = await firstBatch(source);
    const trained = await trainMixed(
      { mixed, training: options.training, settings, source, first, validation },
      partOf(own, 0, CHOSEN),
      chapters,
    );
    const choice = chosenWithin(space, trained, options, context);
    const request = space.requestOf(space.pointOf(choice.operations));
    const taken = takenOut(space, trained, choice);
    takeNames(taken, model);
    const { runtime, threads, signal } = context;
    const batches = await firstBatches(source, settings.recalibrationSamples, signal);
    await recalibrateNormalization(taken, { runtime, threads, signal, batches });
    const measured = await validate(taken, validation, { runtime, threads, signal, batchSize: source.info.batchSize });
    const start = settings.finalWeights === 'mixed' ? taken : buildArchitecture(request, context.seed);
    takeNames(start, model);
    const final = await trainWinner(
      {
        training: options.finalTraining,
        teacher: await teacherOfWinner(options, model, context),
        found: taken,
        start,
        measuredOn: validation,
        batchSize: source.info.batchSize,
      },
      partOf(own, CHOSEN, 1),
      chapters,
    );
    takeNames(final.model, model);
    replaceModel(model, final.model);
    return {
      changes: 1,
      skipped: [],
      warnings: [...source.info.warnings, ...trained.notDone, ...collapse(mixed.places, choice), ...final.warnings],
      training: [trained.run, ...final.training],
      details: {
        strategy: 'darts',
        cutShort: trained.notDone.length > 0 || final.cutShort,
        seed: context.seed,
        winner: { ...request },
        constraints: options.constraints,
        darts: {
          places: placesOf(space, trained, choice),
          refused: choice.refused,
          asTrained: { metric: measured.metric, accuracy: measured.value, samples: measured.samples },
          settings,
        },
      },
    };
  } finally {
    await source.close();
  }
}

/** The strongest operations of which the network is within the limits. */
function chosenWithin(
  space: OperationSpace,
  { probabilities }: TrainedMixture,
  { constraints }: ArchitectureOptions,
  { costTable }: PassContext,
): Choice {
  const choice = chooseOperations(probabilities, (operations) => {
    const network = networkOrReason(space.requestOf(space.pointOf(operations)));
    if (typeof network === 'string') return false;
    return violationOf(sizesOf(network, costTable), constraints) === 0;
  });
  if (choice !== undefined) return choice;
  throw new CompressionError(
    'PASS_PRECONDITION',
    'search.architecture: no combination of operations is within the limits; raise them, or offer smaller operations',
  );
}

/** The network of the chosen operations, with the weights they have in the mixture. */
function takenOut(space: OperationSpace, { model }: TrainedMixture, { operations }: Choice): Model {
  const network = networkWithoutWeights(space.requestOf(space.pointOf(operations)));
  for (const [name, { dataType, dims }] of network.graph.initializers) {
    if (dataType !== 'float' || dims.length === 0) continue;
    const place = space.places.findIndex(({ prefix }) => name.startsWith(prefix));
    const source = model.graph.initializers.get(place < 0 ? name : mixedName(operations[place] ?? 0, name));
    if (source === undefined) throw new CompressionError('INTERNAL', `the mixture has no "${name}"`);
    network.graph.initializers.set(name, source.renamed(name));
  }
  return network;
}

/** Skips win where nothing else has learned yet: said, for it is what this method is known to go wrong by. */
function collapse(places: readonly { readonly skip: number | undefined }[], { operations }: Choice): string[] {
  const able = places.filter(({ skip }) => skip !== undefined).length;
  const skips = places.filter(({ skip }, index) => skip !== undefined && operations[index] === skip).length;
  return able > 1 && skips > able / 2
    ? [
        `"skip" was chosen at ${skips} of ${able} places: where the others were not trained long enough it wins without being better. Train longer, or raise darts.warmupShare or darts.skipDropout.`,
      ]
    : [];
}

function placesOf(
  { places }: OperationSpace,
  { probabilities }: TrainedMixture,
  { operations }: Choice,
): Record<string, unknown>[] {
  return places.map(({ name, operations: offered }, index) => ({
    name,
    chosen: operations[index] ?? 0,
    operations: offered.map((values, operation) => ({
      ...values,
      probability: probabilities[index]?.[operation] ?? 0,
    })),
  }));
}
