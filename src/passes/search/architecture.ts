import type { Model } from '../../onnx/model.ts';
import type { TrialResult, TrialSpec } from '../../schemas/trial.ts';
import type { ArchitectureRequest } from '../../zoo/build-architecture.ts';
import { namedModel } from '../named-models.ts';
import { definePass, type PassContext, type PassResult } from '../pass.ts';
import { partOf } from '../progress-part.ts';
import { interfaceObstacle, replaceModel, takeNames } from '../replace-model.ts';
import type { TrialRunner } from '../trials.ts';
import { ArchitectureOptions, isSharing } from './architecture-options.ts';
import { correlationsOf } from './correlations.ts';
import { operationSpace } from './darts/places.ts';
import { interfaceOptions } from './interface-options.ts';
import { accuracyByTrial, jobLimits } from './job-limits.ts';
import { networkOrReason, requestOf } from './networks.ts';
import { sharedSpace } from './one-shot/shared-space.ts';
import { planNetworks } from './plan-networks.ts';
import { examplesOf } from './ranges.ts';
import type { Picked } from './pick-by-score.ts';
import { PROXIES } from './proxy-scores.ts';
import type { SearchPlan, Tried } from './run-search.ts';
import { searchAndConclude } from './search-and-conclude.ts';
import { modelOfTrials, trialsOf } from './trials-of.ts';

/** Shares of the step's time: until candidates are picked, and until they have been tried. */
const SHARES = { picked: 0.1, tried: 0.8 } as const;

/** Searches a network of the zoo that is good within limits, and trains it. */
export const searchArchitecture = definePass({
  name: 'search.architecture',
  stage: 'search',
  description:
    'Searches among networks of the zoo for those that are accurate and small: each candidate is trained briefly as a job of its own, or, with the strategies one-shot and darts, within one network that holds them all; the best within the limits is trained finally and becomes the model.',
  papers: [
    {
      title: 'Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019',
      url: 'https://arxiv.org/abs/1802.01548',
    },
    {
      title: 'Lu et al., NSGA-Net: Neural Architecture Search using Multi-Objective Genetic Algorithm, GECCO 2019',
      url: 'https://arxiv.org/abs/1810.03522',
    },
    {
      title: 'Li & Talwalkar, Random Search and Reproducibility for Neural Architecture Search, UAI 2019',
      url: 'https://arxiv.org/abs/1902.07638',
    },
    {
      title: 'Guo et al., Single Path One-Shot Neural Architecture Search with Uniform Sampling, ECCV 2020',
      url: 'https://arxiv.org/abs/1904.00420',
    },
    {
      title: 'Cai et al., Once-for-All: Train One Network and Specialize it for Efficient Deployment, ICLR 2020',
      url: 'https://arxiv.org/abs/1908.09791',
    },
    {
      title: 'Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019',
      url: 'https://arxiv.org/abs/1806.09055',
    },
  ],
  options: ArchitectureOptions,
  example: {
    space: {
      architecture: 'resnet',
      depth: { search: [8, 14, 20] },
      width: { search: { min: 0.25, max: 1, step: 0.25 } },
    },
    objectives: ['accuracy', 'macs'],
    constraints: { maxMacs: 20_000_000 },
    trials: 12,
    finalTraining: { epochs: 20, learningRate: 0.1 },
  },
  needs: () => ['training', 'evaluation'],
  models: ({ teacher }) => namedModel(teacher, ['teacher']),
  inner: ({ training, finalTraining }) =>
    [
      { name: 'training', field: training },
      ...(finalTraining === undefined ? [] : [{ name: 'finalTraining', field: finalTraining }]),
    ].map(({ name, field }) => ({
      steps: [{ pass: 'train.finetune', training: field }],
      // Of the one step: its number, and its option.
      origin: ([, , ...within]) => [name, ...within],
    })),
  requires(model, { space, strategy }) {
    const given = interfaceOptions(model);
    for (const template of [space].flat()) {
      for (const example of examplesOf({ ...given, ...template })) {
        const network = networkOrReason(example as ArchitectureRequest);
        const obstacle = typeof network === 'string' ? undefined : interfaceObstacle(network, model);
        if (obstacle !== undefined) return obstacle;
      }
    }
    if (!isSharing(strategy)) return undefined;
    if (strategy === 'darts') {
      const operations = operationSpace(space, given);
      return typeof operations === 'string'
        ? `the operations cannot be mixed: ${operations}; search what does not fit by a strategy whose candidates are trained (evolution, tpe …), or by one-shot`
        : undefined;
    }
    const shared = sharedSpace(space, given);
    return typeof shared === 'string'
      ? `the candidates cannot share weights: ${shared}; search what does not fit by a strategy whose candidates are trained (evolution, tpe …)`
      : undefined;
  },
  async run(model, given, context) {
    const { strategy } = given;
    const accuracy = accuracyOfCandidates(given, context);
    const { constraints, open, warnings: left } = await jobLimits(given.constraints, model, accuracy, context);
    const options = { ...given, constraints };
    if (isSharing(strategy)) {
      // Loaded where it trains: the HTTP side lists passes, and never loads the engine.
      if (strategy === 'darts') {
        const { runDarts } = await import('./darts/run-darts.ts');
        return withWarnings(await runDarts(model, options, context), left);
      }
      const { runOneShot } = await import('./one-shot/run-one-shot.ts');
      return withWarnings(await runOneShot(model, { ...options, strategy: 'evolution' }, context), left);
    }
    const trials = trialsOf(context);
    const plan = { ...planNetworks(model, { ...options, strategy }, context), open };
    const picked = await pickedBy(plan, { model, options, trials }, partOf(context, 0, SHARES.picked));
    const { run, found, best, artifacts, warnings, details } = await searchAndConclude({
      // Those that the score picked, each once: the strategy has nothing more to choose.
      plan: picked === undefined ? plan : { ...plan, initial: picked.points, trials: picked.points.length },
      options,
      trials,
      context: partOf(
        context,
        picked === undefined ? 0 : SHARES.picked,
        options.finalTraining === undefined ? 1 : SHARES.tried,
      ),
      adapt: (candidate) => takeNames(candidate, model),
    });
    const final = finalSpec(found.best, options, context);
    const [trained] = final === undefined ? [] : await trials.run([final]);
    // One that failed has no model to fetch.
    const [finished] = final === undefined || trained?.status !== 'succeeded' ? [] : await trials.models([final]);
    const isCut = final !== undefined && trained === undefined;
    const winner = finished ?? best;
    takeNames(winner, model);
    const correlations = await correlationsOf(run.tried, { model, options: withProxy(options), context });
    replaceModel(model, winner);
    return {
      changes: 1,
      skipped: [],
      warnings: [...left, ...warnings, ...finalProblem(trained, isCut)],
      artifacts,
      details: {
        ...details,
        ...(isCut ? { cutShort: true } : {}),
        winner: { ...requestOf(options.space, interfaceOptions(model), found.best.point) },
        correlations,
        ...(picked === undefined ? {} : { proxy: picked.details }),
        ...(trained === undefined ? {} : { finalTraining: trained }),
      },
    };
  },
  ensures: () => undefined,
});

/** Whether the accuracy of a candidate says what the result's will be. */
function accuracyOfCandidates(
  { strategy, finalTraining, evaluationSamples }: ArchitectureOptions,
  context: PassContext,
) {
  if (strategy === 'darts') return 'no candidate is measured with "darts"';
  if (strategy === 'one-shot') return 'candidates are measured with weights that all share';
  if (finalTraining !== undefined) return 'the winner is trained anew (finalTraining)';
  return accuracyByTrial(evaluationSamples, context);
}

function withWarnings(result: PassResult, warnings: readonly string[]): PassResult {
  return { ...result, warnings: [...warnings, ...result.warnings] };
}

async function pickedBy(
  plan: SearchPlan,
  {
    model,
    options,
    trials,
  }: { readonly model: Model; readonly options: ArchitectureOptions; readonly trials: TrialRunner },
  context: PassContext,
): Promise<Picked | undefined> {
  const { proxy: score } = options;
  if (score === 'training') return undefined;
  const { pickByScore } = await import('./pick-by-score.ts');
  return pickByScore(plan, { model, score, options, context }, trials);
}

/** How well the score orders what it picked is told with that of the others. */
function withProxy(options: ArchitectureOptions): ArchitectureOptions {
  const proxies = PROXIES.filter((name) => name === options.proxy || options.proxies.includes(name));
  return { ...options, proxies };
}

/** @param isCut - it had not ended when the search had to */
function finalProblem(trained: TrialResult | undefined, isCut: boolean): string[] {
  if (isCut) return ['the final training had not ended when the search was: the winner is as its trial left it'];
  return trained?.status === 'failed'
    ? [`the final training failed (${trained.error?.message ?? ''}): the winner is as its trial left it`]
    : [];
}

/** The winner from fresh weights, trained as it shall be in the end. */
function finalSpec({ spec }: Tried, options: ArchitectureOptions, context: PassContext): TrialSpec | undefined {
  const { finalTraining, teach, teacher } = options;
  if (finalTraining === undefined || spec === undefined) return undefined;
  const common = { measure: 'light' as const, seed: context.seed };
  if (!teach && teacher === undefined) {
    return {
      ...common,
      model: spec.model,
      recipe: { version: 1, steps: [{ pass: 'train.finetune', training: finalTraining }] },
    };
  }
  const taughtBy = teacher === undefined ? {} : { teacher };
  const step = { pass: 'distill', student: spec.model, ...taughtBy, training: finalTraining };
  return { ...common, model: modelOfTrials(context), recipe: { version: 1, steps: [step] } };
}
