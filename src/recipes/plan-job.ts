import { CompressionError, type ErrorPlace } from '../errors.ts';
import type { NewJob } from '../jobs/job-service.ts';
import { DATA_ROLE_ORDER, type DataRole } from '../passes/pass.ts';
import { PASSES } from '../passes/registry.ts';
import type { DatasetResource } from '../schemas/dataset.ts';
import type { CreateJob } from '../schemas/job.ts';
import type { ModelResource } from '../schemas/model.ts';
import { AUTO_RECIPE, type ResolvedRecipe } from '../schemas/recipe.ts';
import type { DryRun } from '../schemas/plan.ts';
import type { StoredModelField } from '../schemas/stored-model.ts';
import { constraintProblems, missingRoles, rewardProblems, roleProblems, searchProblems } from './check-data.ts';
import { estimateOf, planOf } from './estimate.ts';
import { plannedNetwork, type PlannedModel } from './planned-model.ts';
import { presetNamed } from './presets.ts';
import { inputKeyOf, referencedModels } from './referenced-models.ts';
import { resolveRecipe, type PlannedStep } from './resolve.ts';

/** What planning looks up and goes by. */
export interface PlanningDeps {
  readonly models: { get(tenant: string, id: string): Promise<ModelResource | undefined> };
  readonly datasets: { get(tenant: string, id: string): Promise<DatasetResource | undefined> };
  readonly limits: { readonly jobThreads: number; readonly jobDeadlineSeconds: number };
  readonly checkWebhookUrl: (url: string) => unknown;
}

/**
 * Checks a job request whole: everything that can be known to fail is refused here, before anything is stored.
 *
 * @throws CompressionError BODY_INVALID, RECIPE_INVALID, NOT_FOUND, WEBHOOK_URL_REFUSED, each with pointers
 */
export async function planJob(
  tenant: string,
  body: CreateJob,
  deps: PlanningDeps,
): Promise<{ readonly job: NewJob; readonly dryRun: DryRun }> {
  const { recipe, steps } = resolveRecipe(body.recipe === AUTO_RECIPE ? autoRecipe(body) : body.recipe);
  refuse(missingRoles(body.data, steps), 'a step needs data that is not given');
  const { jobDeadlineSeconds, jobThreads } = deps.limits;
  const deadlineSeconds = body.deadlineSeconds ?? jobDeadlineSeconds;
  if (deadlineSeconds > jobDeadlineSeconds)
    refuse([{ pointer: '/deadlineSeconds', message: `must be at most ${jobDeadlineSeconds} here` }], 'the deadline');
  refuse(constraintProblems(body), 'a constraint could never be judged');
  refuse(searchProblems(body, steps), 'the search has nothing to go by');
  if (body.webhook !== undefined) await checkWebhook(body.webhook.url, deps);

  const { model, inputs } = await findModel(tenant, body.model, deps);
  const referenced = await findReferenced(tenant, recipe, deps);
  Object.assign(inputs, referenced.inputs);
  const result = replacementOf(steps) ?? referenced.lastStudent ?? model;
  const datasets = await findDatasets(tenant, body, deps);
  const problems = [...datasets].flatMap(([role, dataset]) => {
    const field = body.data[role];
    return field === undefined ? [] : roleProblems(role, field, dataset, model);
  });
  refuse(problems, 'the data does not fit');
  refuse(rewardProblems(body, steps, datasets.get('evaluation')), 'the search would go the wrong way');

  const threads = body.threads ?? jobThreads;
  for (const [role, dataset] of datasets) inputs[role] = dataset.sha256;
  const canonicalize = PASSES.find((pass) => pass.stage === 'canonicalize');
  return {
    job: {
      tenant,
      model: body.model,
      recipe,
      data: body.data,
      ...(body.preprocess === undefined ? {} : { preprocess: body.preprocess }),
      constraints: body.constraints,
      target: targetOf(body),
      threads,
      seed: body.seed,
      deadlineSeconds,
      priority: body.priority,
      ...(body.webhook === undefined ? {} : { webhook: body.webhook }),
      metadata: body.metadata,
      inputs,
    },
    dryRun: {
      plan: planOf(steps, canonicalize),
      estimate: estimateOf({ body, model, result, named: referenced.models, datasets, steps, threads }),
    },
  };
}

/** The job's target; where it names no CPU of its own, the one that the preset is made for. */
function targetOf({ recipe, target }: CreateJob): CreateJob['target'] {
  const preset = typeof recipe === 'string' ? presetNamed(recipe) : undefined;
  return preset?.targetCpu === undefined || target.cpu !== 'portable' ? target : { ...target, cpu: preset.targetCpu };
}

/** What `"recipe": "auto"` stands for. @throws CompressionError BODY_INVALID without a constraint to go by */
function autoRecipe({ constraints, data }: CreateJob): ResolvedRecipe {
  if (Object.keys(constraints).length === 0)
    refuse(
      [{ pointer: '/constraints', message: 'recipe "auto" needs a constraint to go by: maxBytes, minSpeedup, say' }],
      'the recipe',
    );
  const roles = DATA_ROLE_ORDER.filter((role) => data[role] !== undefined);
  return { version: 1, steps: [{ pass: 'search.auto', constraints, roles }] };
}

/** The model to start from, with the hashes of its files; a network of the zoo is made by the worker and has none. */
async function findModel(
  tenant: string,
  field: StoredModelField,
  deps: PlanningDeps,
): Promise<{ readonly model: PlannedModel; readonly inputs: Record<string, string> }> {
  if (typeof field !== 'string') return { model: plannedNetwork(field), inputs: {} };
  const model = await deps.models.get(tenant, field);
  if (model === undefined) throw notFound('/model', `there is no model ${field}`);
  const inputs: Record<string, string> = { model: model.sha256 };
  for (const { location, sha256 } of model.externalData) inputs[`model/${location}`] = sha256;
  return { model, inputs };
}

/** Further models that steps name, with the hashes of their files. */
async function findReferenced(
  tenant: string,
  recipe: ResolvedRecipe,
  deps: PlanningDeps,
): Promise<{
  readonly inputs: Record<string, string>;
  /** By id. */
  readonly models: ReadonlyMap<string, PlannedModel>;
  readonly lastStudent: PlannedModel | undefined;
}> {
  const inputs: Record<string, string> = {};
  const models = new Map<string, PlannedModel>();
  let lastStudent: PlannedModel | undefined;
  for (const { id, pointer, as } of referencedModels(recipe)) {
    const model = await deps.models.get(tenant, id);
    if (model === undefined) throw notFound(pointer, `there is no model ${id}`);
    models.set(id, model);
    if (as === 'student') lastStudent = model;
    inputs[inputKeyOf(id)] = model.sha256;
    for (const { location, sha256 } of model.externalData) inputs[`${inputKeyOf(id)}/${location}`] = sha256;
  }
  return { inputs, models, lastStudent };
}

/** The network of the zoo that a step puts in the model's place. @throws CompressionError RECIPE_INVALID when it cannot be */
function replacementOf(steps: readonly PlannedStep[]): PlannedModel | undefined {
  let last: PlannedModel | undefined;
  for (const [index, { pass, options }] of steps.entries()) {
    const network = pass.network?.(options);
    if (network !== undefined) last = plannedNetwork(network.request, ['recipe', 'steps', index, ...network.path]);
  }
  return last;
}

async function findDatasets(
  tenant: string,
  body: CreateJob,
  deps: PlanningDeps,
): Promise<Map<DataRole, DatasetResource>> {
  const found = new Map<DataRole, DatasetResource>();
  for (const role of DATA_ROLE_ORDER) {
    const field = body.data[role];
    if (field === undefined) continue;
    const dataset = await deps.datasets.get(tenant, field.dataset);
    if (dataset === undefined) throw notFound(`/data/${role}/dataset`, `there is no data set ${field.dataset}`);
    found.set(role, dataset);
  }
  return found;
}

async function checkWebhook(url: string, deps: PlanningDeps): Promise<void> {
  try {
    await deps.checkWebhookUrl(url);
  } catch (error) {
    if (!(error instanceof CompressionError) || error.code !== 'WEBHOOK_URL_REFUSED') throw error;
    throw new CompressionError(error.code, error.message, {
      cause: error,
      places: [{ pointer: '/webhook/url', message: error.message }],
    });
  }
}

function refuse(places: readonly ErrorPlace[], what: string): void {
  const [first] = places;
  if (first !== undefined)
    throw new CompressionError('BODY_INVALID', `The job is not valid, ${what}: ${first.pointer} ${first.message}`, {
      places,
    });
}

function notFound(pointer: string, message: string): CompressionError {
  return new CompressionError('NOT_FOUND', `The job is not valid: ${pointer} ${message}`, {
    places: [{ pointer, message }],
  });
}
