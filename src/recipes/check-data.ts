import { z } from 'zod';
import type { ErrorPlace } from '../errors.ts';
import { DATA_ROLE_ORDER, type DataRole } from '../passes/pass.ts';
import type { DatasetResource } from '../schemas/dataset.ts';
import type { CreateJob, DataRoleField } from '../schemas/job.ts';
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

/** What a search goes by, though nothing measures it: known before any of its trials runs. */
export function searchProblems(body: CreateJob, steps: readonly PlannedStep[]): ErrorPlace[] {
  if (body.data.evaluation?.metric !== 'none') return [];
  const goals = steps.flatMap(({ pass, options }) =>
    pass.stage === 'search' ? (Goals.safeParse(options).data ?? []) : [],
  );
  const isAsked = goals.some(
    ({ objectives, constraints }) =>
      objectives.includes('accuracy') || objectives.includes('reward') || constraints.minAccuracy !== undefined,
  );
  const message =
    'the search goes by accuracy, which metric none does not measure; leave it out, or name other objectives';
  return isAsked ? [{ pointer: '/data/evaluation/metric', message }] : [];
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.slice(0, 20).map(quoted).join(', ');
}
