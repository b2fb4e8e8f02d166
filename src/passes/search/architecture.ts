import { z } from 'zod';
import { CompressionError } from '../../errors.ts';
import { macsOf } from '../../onnx/cost/macs.ts';
import { typesAtBatchOne } from '../../onnx/cost/types-for-cost.ts';
import type { Model } from '../../onnx/model.ts';
import type { TrialSpec } from '../../schemas/trial.ts';
import { TrainingField } from '../../schemas/training.ts';
import { SearchSpace } from '../../search/space.ts';
import { kendallTau, spearman } from '../../search/rank-correlation.ts';
import { buildArchitecture, networkWithoutWeights, type ArchitectureRequest } from '../../zoo/build-architecture.ts';
import { countWeightElements } from '../../onnx/print/summarize-model.ts';
import { estimateFloatNs } from '../cost/float-latency.ts';
import { definePass, type PassContext } from '../pass.ts';
import { interfaceObstacle, replaceModel, takeNames } from '../replace-model.ts';
import { conclude } from './conclude.ts';
import { violationOf, type Figures } from './goals.ts';
import { interfaceOptions } from './interface-options.ts';
import { proxyScores, PROXIES } from './proxy-scores.ts';
import { dimensionsOf, examplesOf, substitute, templateProblem } from './ranges.ts';
import { ranked, runSearch, type Prepared, type SearchPlan, type Tried } from './run-search.ts';
import { epochsAt, plannedOptions, searchOptions } from './search-options.ts';
import { modelOfTrials, trialsOf } from './trials-of.ts';

const Template = z.looseObject({ architecture: z.string() });
/** Where it is not given, the network is made for the inputs and outputs of the job's model. */
const Space = z
  .union([Template, z.array(Template).min(1).max(16)])
  .superRefine((space, context) => {
    const problem = templateProblem(space, () => spaceOf(space), { layers: false });
    if (problem !== undefined) context.addIssue({ ...problem });
  })
  .describe(
    'A network of the zoo, or a list of them, with { "search": [a, b, …] } or { "search": { "min", "max", "step", "log" } } in the place of options. Sizes of input and output are those of the job\'s model unless given',
  );

const Options = z.strictObject({
  space: Space,
  ...searchOptions,
  training: TrainingField.prefault({ epochs: 3, learningRate: 0.1 }).describe(
    'How candidates are trained, to be compared',
  ),
  proxies: z
    .array(z.enum(PROXIES))
    .max(PROXIES.length)
    .default([])
    .describe(
      'Zero-cost scores of the candidates with fresh weights: the report says how well each of them, and parameters and MACs, order the trained candidates',
    ),
  finalTraining: TrainingField.optional().describe(
    'Trains the winner anew, from fresh weights; absent: it stays as its trial left it',
  ),
  teach: z
    .boolean()
    .default(false)
    .describe("The job's model teaches the winner while it is trained finally (distill, 0.1 ce + 0.9 kd)"),
});
type Options = z.infer<typeof Options>;

/** Searches a network of the zoo that is good within limits, and trains it. */
export const searchArchitecture = definePass({
  name: 'search.architecture',
  stage: 'search',
  description:
    'Searches among networks of the zoo for those that are accurate and small: each candidate is trained briefly as a job of its own; the best within the limits is trained finally and becomes the model.',
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
  ],
  options: Options,
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
  inner: ({ training, finalTraining }) =>
    [
      { name: 'training', field: training },
      ...(finalTraining === undefined ? [] : [{ name: 'finalTraining', field: finalTraining }]),
    ].map(({ name, field }) => ({
      steps: [{ pass: 'train.finetune', training: field }],
      // Of the one step: its number, and its option.
      origin: ([, , ...within]) => [name, ...within],
    })),
  requires(model, { space }) {
    const given = interfaceOptions(model);
    for (const template of [space].flat()) {
      for (const example of examplesOf({ ...given, ...template })) {
        const network = networkOrReason(example as ArchitectureRequest);
        const obstacle = typeof network === 'string' ? undefined : interfaceObstacle(network, model);
        if (obstacle !== undefined) return obstacle;
      }
    }
    return undefined;
  },
  async run(model, options, context) {
    const trials = trialsOf(context);
    const plan = planOf(model, options, context);
    const run = await runSearch(plan, trials, context);
    const random = options.compareWithRandom
      ? await runSearch({ ...plan, strategy: 'random', seed: plan.seed + 1 }, trials, context)
      : undefined;
    const { found, best, artifacts, details } = await conclude({
      plan,
      run,
      random,
      keepFront: options.keepFront,
      trials,
      context,
      adapt: (candidate) => takeNames(candidate, model),
    });
    const final = finalSpec(found.best, options, context);
    const [trained] = final === undefined ? [] : await trials.run([final]);
    const [finished] = trained === undefined || final === undefined ? [] : await trials.models([final]);
    const winner = trained?.status === 'succeeded' && finished !== undefined ? finished : best;
    takeNames(winner, model);
    const correlations = await correlationsOf(run.tried, { model, options, context });
    replaceModel(model, winner);
    return {
      changes: 1,
      skipped: [],
      warnings:
        trained?.status === 'failed'
          ? [`the final training failed (${trained.error?.message ?? ''}): the winner is as its trial left it`]
          : [],
      artifacts,
      details: {
        ...details,
        winner: { ...requestOf(options.space, interfaceOptions(model), found.best.point) },
        correlations,
        ...(trained === undefined ? {} : { finalTraining: trained }),
      },
    };
  },
  ensures: () => undefined,
});

function planOf(model: Model, options: Options, context: PassContext): SearchPlan {
  const given = interfaceOptions(model);
  const space = new SearchSpace(spaceOf(options.space));
  const { seed, costTable } = context;
  return {
    space,
    seed,
    ...plannedOptions(options),
    prepare(point, budget): Prepared {
      const request = requestOf(options.space, given, point);
      const network = networkOrReason(request);
      if (typeof network === 'string') return { figures: {}, reason: network };
      const estimate = estimateFloatNs(costTable, network);
      const figures: Figures = {
        macs: macsOf(network, typesAtBatchOne(network)).total,
        parameters: countWeightElements(network),
        ...(estimate === undefined ? {} : { latencyEstimateMs: estimate / 1e6 }),
      };
      const missed = violationOf(figures, options.constraints, true);
      if (missed > 0) return { figures, reason: 'beyond the limits before any training' };
      return {
        spec: {
          model: request,
          recipe: {
            version: 1,
            steps: [
              {
                pass: 'train.finetune',
                training: { ...options.training, epochs: epochsAt(options.training.epochs, budget) },
              },
            ],
          },
          measure: 'light',
          seed,
          ...(options.evaluationSamples === undefined ? {} : { evaluationSamples: options.evaluationSamples }),
        },
      };
    },
  };
}

/** A list of templates becomes a choice among them; the dimensions of those not chosen say nothing. */
function spaceOf(space: Options['space']): ReturnType<typeof dimensionsOf> {
  if (!Array.isArray(space)) return dimensionsOf(space);
  const families = space.map((_, index) => index);
  const choice = { name: 'family', type: 'choice' as const, values: families.map((index) => nameOf(space, index)) };
  return [choice, ...space.flatMap((template, index) => dimensionsOf(template, nameOf(space, index)))];
}

function nameOf(space: readonly z.infer<typeof Template>[], index: number): string {
  const name = space[index]?.architecture ?? '';
  return space.filter(({ architecture }) => architecture === name).length > 1 ? `${name}-${index}` : name;
}

function requestOf(
  space: Options['space'],
  given: Record<string, unknown>,
  point: Tried['point'],
): ArchitectureRequest {
  if (!Array.isArray(space)) return { ...given, ...(substitute(space, point) as ArchitectureRequest) };
  const index = space.findIndex((_, place) => nameOf(space, place) === point['family']);
  const chosen = substitute(space[index], point, nameOf(space, index)) as ArchitectureRequest;
  return { ...given, ...chosen };
}

function networkOrReason(request: ArchitectureRequest): Model | string {
  try {
    return networkWithoutWeights(request);
  } catch (error) {
    if (!(error instanceof CompressionError)) throw error;
    return error.message;
  }
}

/** The winner from fresh weights, trained as it shall be in the end. */
function finalSpec({ spec }: Tried, options: Options, context: PassContext): TrialSpec | undefined {
  const { finalTraining, teach } = options;
  if (finalTraining === undefined || spec === undefined) return undefined;
  const common = { measure: 'light' as const, seed: context.seed };
  if (!teach) {
    return {
      ...common,
      model: spec.model,
      recipe: { version: 1, steps: [{ pass: 'train.finetune', training: finalTraining }] },
    };
  }
  const step = { pass: 'distill', student: spec.model, training: finalTraining };
  return { ...common, model: modelOfTrials(context), recipe: { version: 1, steps: [step] } };
}

/** How well figures known without training order the trained candidates: parameters and MACs, and the proxies beside them. */
async function correlationsOf(
  tried: readonly Tried[],
  { model, options, context }: { readonly model: Model; readonly options: Options; readonly context: PassContext },
): Promise<Record<string, { kendallTau: number; spearman: number; candidates: number }>> {
  const usable = ranked(tried).filter(({ figures }) => figures.accuracy !== undefined);
  if (usable.length < 3) return {};
  const given = interfaceOptions(model);
  const networks = usable.map(({ point }) => {
    const network = buildArchitecture(requestOf(options.space, given, point), context.seed);
    takeNames(network, model);
    return network;
  });
  const scores = await proxyScores(networks, options, context);
  const entries = (['parameters', 'macs', ...options.proxies] as const).flatMap((name) => {
    const pairs = usable.flatMap(({ figures }, place) => {
      const value = name === 'parameters' || name === 'macs' ? figures[name] : scores[place]?.[name];
      const accuracy = (figures.metric === 'rmse' ? -1 : 1) * (figures.accuracy ?? 0);
      return value === undefined ? [] : [[value, accuracy] as const];
    });
    if (pairs.length < 3) return [];
    const [values, accuracies] = [pairs.map(([value]) => value), pairs.map(([, accuracy]) => accuracy)];
    const correlation = {
      kendallTau: kendallTau(values, accuracies),
      spearman: spearman(values, accuracies),
      candidates: pairs.length,
    };
    return [[name, correlation] as const];
  });
  return Object.fromEntries(entries);
}
