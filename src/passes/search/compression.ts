import { z } from 'zod';
import { CompressionError } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import { SearchSpace } from '../../search/space.ts';
import { definePass, type PassContext } from '../pass.ts';
import { replaceModel } from '../replace-model.ts';
import { accuracyByTrial, jobLimits } from './job-limits.ts';
import { layerStart } from './layer-start.ts';
import {
  dimensionsOf,
  examplePointsOf,
  examplesOf,
  expandLayers,
  originOf,
  substitute,
  templateProblem,
} from './ranges.ts';
import type { SearchPlan } from './run-search.ts';
import { searchAndConclude } from './search-and-conclude.ts';
import { epochsAt, plannedOptions, searchOptions } from './search-options.ts';
import { modelOfTrials, trialsOf } from './trials-of.ts';

const Step = z.looseObject({ pass: z.string() });
type Step = z.infer<typeof Step>;
const Steps = z.object({ steps: z.array(Step) });

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
      const problem = templateProblem(steps, () => dimensionsOf(withAnyLayer({ steps })));
      if (problem !== undefined) context.addIssue({ ...problem });
    })
    .default([
      {
        pass: 'prune.channels',
        macsRatio: { search: { min: 0.3, max: 0.9, step: 0.1 } },
        recover: 'least-squares',
      },
    ])
    .describe(
      'The recipe of a candidate. { "search": [a, b, …] } or { "search": { "min", "max", "step", "log" } } in the place of any option, or of a whole step (null: without it), is chosen by the search; { "search": { "layers": … } } stands for a record with such a choice for each layer, with [true, false] for the list of the layers that have true (exclude)',
    ),
  warmStart: z
    .boolean()
    .default(true)
    .describe(
      'Starts from values that the pass finds by measuring each layer alone, where the search has a value a layer',
    ),
  ...searchOptions,
});
type Options = z.infer<typeof Options>;

/** Of a step's training that names none. */
const DEFAULT_EPOCHS = 10;

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
      title: 'Wang et al., HAQ: Hardware-Aware Automated Quantization with Mixed Precision, CVPR 2019',
      url: 'https://arxiv.org/abs/1811.08886',
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
    strategy: 'nsga2',
    objectives: ['accuracy', 'macs'],
    trials: 16,
  },
  needs: () => ['evaluation'],
  inner: (options) => {
    const template = withAnyLayer({ steps: options.steps });
    return examplePointsOf(template).map((point) => ({
      steps: Steps.parse(substitute(template, point)).steps,
      origin: (path) => originOf(template, point, ['steps', ...path]),
    }));
  },
  requires: () => undefined,
  async run(model, options, context) {
    const trials = trialsOf(context);
    const accuracy = accuracyByTrial(options.evaluationSamples, context);
    const { constraints, open, warnings: left } = await jobLimits(options.constraints, model, accuracy, context);
    const plan = { ...(await planOf(model, { ...options, constraints }, context)), open };
    const { best, artifacts, details, warnings } = await searchAndConclude({ plan, options, trials, context });
    replaceModel(model, best);
    return { changes: 1, skipped: [], warnings: [...left, ...warnings], artifacts, details };
  },
  ensures: () => undefined,
});

/** For planning, which does not have the model: a glob that stands for all layers. */
function withAnyLayer(template: unknown): unknown {
  return expandLayers(template, () => ['*']);
}

async function planOf(model: Model, options: Options, context: PassContext): Promise<SearchPlan> {
  const steps = options.steps.map(exampleOf);
  const template = expandLayers({ steps: options.steps }, (index) => layersOf(model, steps[index], context));
  const { seed } = context;
  const space = new SearchSpace(dimensionsOf(template));
  const { constraints, warmStart } = options;
  const { initial, budget } = await layerStart(space, { model, steps, template, constraints, warmStart }, context);
  return {
    space,
    seed,
    ...(initial.length === 0 ? {} : { initial }),
    ...(budget === undefined ? {} : { budget }),
    ...plannedOptions(options),
    prepare: (point, budget) => {
      const chosen = Steps.parse(substitute(template, point)).steps.map((step) => atBudget(step, budget));
      return {
        spec: {
          model: modelOfTrials(context),
          recipe: { version: 1, steps: chosen.length === 0 ? [{ pass: 'canonicalize' }] : chosen },
          measure: 'light',
          seed,
          ...(options.evaluationSamples === undefined ? {} : { evaluationSamples: options.evaluationSamples }),
        },
      };
    },
  };
}

/** A step with values in the place of its ranges, nothing excluded: what a pass is asked of its layers with. */
function exampleOf(step: unknown): Step | undefined {
  const [example] = examplesOf(expandLayers(step, (_, form) => (form === 'names' ? [] : ['*'])));
  return Step.safeParse(example).data;
}

/** Steps that train do so for a share of their epochs. */
function atBudget(step: Step, budget: number): Step {
  const training = step['training'];
  if (budget === 1 || typeof training !== 'object' || training === null) return step;
  const epochs = 'epochs' in training && typeof training.epochs === 'number' ? training.epochs : DEFAULT_EPOCHS;
  return { ...step, training: { ...training, epochs: epochsAt(epochs, budget) } };
}

function layersOf(model: Model, step: Step | undefined, context: PassContext): readonly string[] {
  const layers = step === undefined ? undefined : context.innerSteps?.layers(model, step);
  if (layers !== undefined && layers.length > 0) return layers;
  throw new CompressionError(
    'PASS_PRECONDITION',
    `search.compression: { "search": { "layers": … } } stands in a step (${step?.pass ?? 'none'}) that has no layers to choose values for on this model; take a range for the whole option, or a pass that names layers`,
  );
}
