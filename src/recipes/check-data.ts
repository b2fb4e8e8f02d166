import { z } from 'zod';
import { labelsName } from '../data/labels.ts';
import type { ErrorPlace } from '../errors.ts';
import { isFloatType } from '../onnx/data-type.ts';
import { DATA_ROLE_ORDER, type DataRole } from '../passes/pass.ts';
import type { DatasetResource } from '../schemas/dataset.ts';
import type { CreateJob, DataRoleField, EvaluationRoleField } from '../schemas/job.ts';
import type { PlannedModel } from './planned-model.ts';
import type { PlannedStep } from './resolve.ts';

/** A pointer for each data role that a step needs and the job does not give. */
export function missingRoles(data: CreateJob['data'], steps: readonly PlannedStep[]): ErrorPlace[] {
  return DATA_ROLE_ORDER.filter((role) => data[role] === undefined).flatMap((role) => {
    const step = steps.find(({ needs }) => needs.includes(role));
    if (step === undefined) return [];
    return [{ pointer: `/data/${role}`, message: `${step.pass.name} needs ${role} data: { "dataset": "dst_…" }` }];
  });
}

/** What of a role does not fit the data set it names, or the model. */
export function roleProblems(
  role: DataRole,
  field: DataRoleField,
  dataset: DatasetResource,
  model: PlannedModel,
): ErrorPlace[] {
  const places: ErrorPlace[] = [];
  const at = (path: string, message: string): void => {
    places.push({ pointer: `/data/${role}${path}`, message });
  };
  const { range, inputs = {}, labels } = field;
  if (range !== undefined && range[1] > dataset.samples)
    at('/range/1', `the data set has ${dataset.samples} samples, the range ends at ${range[1]}`);
  const arrays = dataset.arrays?.map((array) => array.name) ?? ['images', 'labels'];
  const modelInputs = model.inputs.map((input) => input.name);
  for (const [input, array] of Object.entries(inputs)) {
    const pointer = `/inputs/${input.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (!modelInputs.includes(input)) at(pointer, `the model has no such input; it has: ${listed(modelInputs)}`);
    if (!arrays.includes(array)) at(pointer, `the data set has no array ${quoted(array)}; it has: ${listed(arrays)}`);
  }
  if (labels !== undefined && !arrays.includes(labels))
    at('/labels', `the data set has no array ${quoted(labels)}; it has: ${listed(arrays)}`);
  return places;
}

/** Constraints that nothing in the job could ever measure. */
export function constraintProblems(body: CreateJob): ErrorPlace[] {
  const { maxAccuracyDrop } = body.constraints;
  if (maxAccuracyDrop === undefined) return [];
  const pointer = '/constraints/maxAccuracyDrop';
  if (body.data.evaluation === undefined)
    return [{ pointer, message: 'needs data.evaluation: without it no accuracy is measured' }];
  return body.data.evaluation.metric === 'none'
    ? [{ pointer, message: 'cannot be judged with evaluation.metric none' }]
    : [];
}

const Goals = z.looseObject({
  objectives: z.array(z.string()),
  constraints: z.looseObject({ minAccuracy: z.number().optional() }),
});

function goalsOf(steps: readonly PlannedStep[]): z.output<typeof Goals>[] {
  return steps.flatMap(({ pass, options }) => (pass.stage === 'search' ? (Goals.safeParse(options).data ?? []) : []));
}

/** What a search goes by, though nothing measures it: known before any of its trials runs. */
export function searchProblems(body: CreateJob, steps: readonly PlannedStep[]): ErrorPlace[] {
  if (body.data.evaluation?.metric !== 'none') return [];
  const isAsked = goalsOf(steps).some(
    ({ objectives, constraints }) =>
      objectives.includes('accuracy') || objectives.includes('reward') || constraints.minAccuracy !== undefined,
  );
  const message =
    'the search goes by accuracy, which metric none does not measure; leave it out, or name other objectives';
  return isAsked ? [{ pointer: '/data/evaluation/metric', message }] : [];
}

/**
 * A search for the most reward, whose accuracy would be an error: the largest error would win.
 *
 * @param dataset - of the evaluation role: float labels make the metric rmse where the job names none
 */
export function rewardProblems(
  body: CreateJob,
  steps: readonly PlannedStep[],
  dataset: DatasetResource | undefined,
): ErrorPlace[] {
  const { evaluation } = body.data;
  if (evaluation === undefined || dataset === undefined || !isError(evaluation, dataset)) return [];
  const isAsked = goalsOf(steps).some(({ objectives }) => objectives.includes('reward'));
  const why = evaluation.metric === 'rmse' ? 'rmse' : 'rmse, the metric of float labels,';
  const message = `${why} is an error, and "reward" multiplies an accuracy, the more the better: expected top1 or top5; take "accuracy" (for rmse the less the better) and the figure of the reward as objectives`;
  return isAsked ? [{ pointer: '/data/evaluation/metric', message }] : [];
}

function isError({ metric, labels }: EvaluationRoleField, dataset: DatasetResource): boolean {
  if (metric !== undefined) return metric === 'rmse';
  const arrays = dataset.arrays ?? [];
  const array = arrays.find(({ name }) => name === labelsName(arrays, labels));
  return array !== undefined && isFloatType(array.type);
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.slice(0, 20).map(quoted).join(', ');
}
