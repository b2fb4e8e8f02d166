import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CompressionError } from '../../src/errors.ts';
import { planJob } from '../../src/recipes/plan-job.ts';
import type { DatasetResource } from '../../src/schemas/dataset.ts';
import { CreateJob } from '../../src/schemas/job.ts';

const DATASET: DatasetResource = {
  id: 'dst_0123456789abcdef',
  name: null,
  sha256: 'a'.repeat(64),
  bytes: 1000,
  kind: 'npz',
  samples: 100,
  createdAt: '2026-01-01T00:00:00.000Z',
};
const MODEL = { architecture: 'resnet', depth: 8, classes: 10, inputSize: 32 };
const EVERYTHING = {
  calibration: { dataset: DATASET.id },
  training: { dataset: DATASET.id },
  evaluation: { dataset: DATASET.id },
};
const SEARCH = {
  steps: [{ pass: 'search.compression', steps: [{ pass: 'prune.channels', macsRatio: { search: [0.5, 0.8] } }] }],
};

const plan = (body: object, dataset: Partial<DatasetResource> = {}) =>
  planJob('acme', CreateJob.parse({ model: MODEL, ...body }), {
    models: { get: () => Promise.resolve(undefined) },
    datasets: { get: () => Promise.resolve({ ...DATASET, ...dataset }) },
    limits: { jobThreads: 1, jobDeadlineSeconds: 3600 },
    checkWebhookUrl: () => undefined,
  });

async function refusal(
  body: object,
  dataset: Partial<DatasetResource> = {},
): Promise<{ code: string; pointers: string[]; message: string }> {
  try {
    await plan(body, dataset);
  } catch (error) {
    assert.ok(error instanceof CompressionError);
    return { code: error.code, pointers: error.places.map(({ pointer }) => pointer), message: error.message };
  }
  return assert.fail('was taken');
}

describe('planning the recipe "auto"', () => {
  it('makes it a search with the constraints and the data of the job', async () => {
    const constraints = { maxAccuracyDrop: 0.01, minSpeedup: 2 };
    const { job, dryRun } = await plan({ recipe: 'auto', constraints, data: EVERYTHING });
    assert.deepEqual(job.recipe.steps, [
      { pass: 'search.auto', constraints, roles: ['calibration', 'training', 'evaluation'] },
    ]);
    assert.deepEqual(dryRun.plan.at(-1)?.needs, ['calibration', 'training', 'evaluation']);
  });

  it('needs no data for constraints of size or speed', async () => {
    const { job } = await plan({ recipe: 'auto', constraints: { maxBytes: 1000 } });
    assert.deepEqual(job.recipe.steps, [{ pass: 'search.auto', constraints: { maxBytes: 1000 }, roles: [] }]);
  });

  it('refuses a job without a constraint to go by', async () => {
    const { code, pointers, message } = await refusal({ recipe: 'auto', data: EVERYTHING });
    assert.deepEqual([code, pointers], ['BODY_INVALID', ['/constraints']]);
    assert.match(message, /recipe "auto" needs a constraint to go by/);
  });

  it('refuses a drop that nothing measures', async () => {
    const constraints = { maxAccuracyDrop: 0.01 };
    assert.deepEqual((await refusal({ recipe: 'auto', constraints })).pointers, ['/constraints/maxAccuracyDrop']);
  });
});

describe('planning a search', () => {
  it('estimates no time, and says why', async () => {
    const { dryRun } = await plan({ recipe: SEARCH, data: EVERYTHING });
    assert.deepEqual([dryRun.estimate.seconds, dryRun.estimate.secondsRange], [null, null]);
    assert.match(dryRun.estimate.basis.seconds, /trials as jobs of their own/);
  });

  it('estimates no time for one that trains within its step either, and does not speak of trials', async () => {
    const space = { architecture: 'resnet', width: { search: [0.5, 1] } };
    const { dryRun } = await plan({
      recipe: { steps: [{ pass: 'search.architecture', strategy: 'one-shot', space }] },
      data: EVERYTHING,
    });
    assert.equal(dryRun.estimate.seconds, null);
    assert.match(dryRun.estimate.basis.seconds, /one network that holds all of its candidates, within this job/);
  });

  it('refuses one that lacks data of its trials', async () => {
    const choice = { search: [{ pass: 'quantize.static' }, { pass: 'quantize.dynamic' }] };
    const calibrated = { steps: [{ ...SEARCH.steps[0], steps: [choice] }] };
    const { evaluation } = EVERYTHING;
    assert.deepEqual((await refusal({ recipe: SEARCH })).pointers.includes('/data/evaluation'), true);
    const { pointers } = await refusal({ recipe: calibrated, data: { evaluation } });
    assert.deepEqual(pointers, ['/data/calibration']);
  });

  it('refuses one that goes by accuracy where none is measured', async () => {
    const data = { ...EVERYTHING, evaluation: { dataset: DATASET.id, metric: 'none' } };
    const { code, pointers } = await refusal({ recipe: SEARCH, data });
    assert.deepEqual([code, pointers], ['BODY_INVALID', ['/data/evaluation/metric']]);
    await plan({ recipe: { steps: [{ ...SEARCH.steps[0], objectives: ['bytes'] }] }, data });
  });

  it('refuses a reward of an error: named as the metric, or by labels that are floats', async () => {
    const REWARD = { figure: 'macs', target: 1e6 };
    const recipeOf = (objectives: readonly string[]) => ({
      steps: [{ ...SEARCH.steps[0], objectives, reward: REWARD }],
    });
    const evaluation = { dataset: DATASET.id, metric: 'rmse' };
    const data = { ...EVERYTHING, evaluation };
    const { code, pointers, message } = await refusal({ recipe: recipeOf(['reward']), data });
    assert.deepEqual([code, pointers], ['BODY_INVALID', ['/data/evaluation/metric']]);
    assert.match(message, /rmse is an error.*expected top1 or top5/);
    await plan({ recipe: recipeOf(['accuracy', 'macs']), data });
    await plan({
      recipe: recipeOf(['reward']),
      data: { ...EVERYTHING, evaluation: { ...evaluation, metric: 'top1' } },
    });

    const arraysOf = (type: string) => ({ arrays: [{ name: 'label', type, shape: [100] }] });
    const byLabels = { recipe: recipeOf(['reward']), data: EVERYTHING };
    assert.deepEqual((await refusal(byLabels, arraysOf('float'))).pointers, ['/data/evaluation/metric']);
    await plan(byLabels, arraysOf('uint8'));
  });
});
