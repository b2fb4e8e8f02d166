import { z } from 'zod';
import { SearchSpace } from '../../search/space.ts';
import { definePass, type PassContext } from '../pass.ts';
import { replaceModel } from '../replace-model.ts';
import { conclude } from './conclude.ts';
import { dimensionsOf, examplesOf, rangeProblem, substitute } from './ranges.ts';
import { runSearch, type SearchPlan } from './run-search.ts';
import { searchOptions } from './search-options.ts';
import { modelOfTrials, trialsOf } from './trials-of.ts';

const Step = z.looseObject({ pass: z.string() });
type Step = z.infer<typeof Step>;

const Options = z.strictObject({
  steps: z
    .array(
      z.union([
        Step,
        z.strictObject({
          search: z
            .array(z.union([Step, z.null()]))
            .min(1)
            .max(16),
        }),
      ]),
    )
    .min(1)
    .max(16)
    .superRefine((steps, context) => {
      const problem = rangeProblem(steps);
      if (problem !== undefined)
        context.addIssue({ code: 'custom', message: problem.message, path: [...problem.path] });
      else if (dimensionsOf({ steps }).length === 0)
        context.addIssue({
          code: 'custom',
          message: 'nothing to search: put { "search": [...] } in the place of a value',
        });
    })
    .describe(
      'The recipe of a candidate. { "search": [a, b, …] } or { "search": { "min", "max", "step", "log" } } in the place of any option, or of a whole step (null: without it), is chosen by the search',
    ),
  ...searchOptions,
});
type Options = z.infer<typeof Options>;

/** Searches the options of other passes: each candidate is a recipe that runs as a job of its own. */
export const searchCompression = definePass({
  name: 'search.compression',
  stage: 'search',
  description:
    'Searches the options of other passes: each candidate is a recipe with its own ratios, bits or exclusions, run as a job of its own. The best one within the limits becomes the model; the Pareto points are artifacts.',
  papers: [
    {
      title: 'He et al., AMC: AutoML for Model Compression and Acceleration on Mobile Devices, ECCV 2018',
      url: 'https://arxiv.org/abs/1802.03494',
    },
    {
      title: 'Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019',
      url: 'https://arxiv.org/abs/1802.01548',
    },
    {
      title: 'Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, 2002',
      url: 'https://doi.org/10.1109/4235.996017',
    },
  ],
  options: Options,
  example: {
    steps: [
      { pass: 'prune.channels', macsRatio: { search: { min: 0.3, max: 0.9, step: 0.1 } }, recover: 'least-squares' },
    ],
    strategy: 'evolution',
    objectives: ['accuracy', 'macs'],
    trials: 16,
  },
  needs: () => ['evaluation'],
  inner: (options) =>
    examplesOf({ steps: options.steps }).map((example) => ({
      steps: z.object({ steps: z.array(Step) }).parse(example).steps,
    })),
  requires: () => undefined,
  async run(model, options, context) {
    const trials = trialsOf(context);
    const plan = planOf(options, context);
    const run = await runSearch(plan, trials, context);
    const random = options.compareWithRandom
      ? await runSearch({ ...plan, strategy: 'random', seed: plan.seed + 1 }, trials, context)
      : undefined;
    const { best, artifacts, details } = await conclude({ plan, run, random, keepFront: options.keepFront, trials });
    replaceModel(model, best);
    return { changes: 1, skipped: [], warnings: [], artifacts, details };
  },
  ensures: () => undefined,
});

function planOf(options: Options, context: PassContext): SearchPlan {
  const template = { steps: options.steps };
  const { seed } = context;
  return {
    space: new SearchSpace(dimensionsOf(template)),
    strategy: options.strategy,
    objectives: options.objectives,
    constraints: options.constraints,
    trials: options.trials,
    batch: options.batch,
    seed,
    prepare: (point) => {
      const { steps } = z.object({ steps: z.array(Step) }).parse(substitute(template, point));
      return {
        spec: {
          model: modelOfTrials(context),
          recipe: { version: 1, steps: steps.length === 0 ? [{ pass: 'canonicalize' }] : steps },
          measure: 'light',
          seed,
          ...(options.evaluationSamples === undefined ? {} : { evaluationSamples: options.evaluationSamples }),
        },
      };
    },
  };
}
