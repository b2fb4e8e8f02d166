import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { hasResult } from '../../src/jobs/record-changes.ts';
import type { NewJob } from '../../src/jobs/job-service.ts';
import type { JobRecord } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';
import { childrenOfThisProcess } from '../helpers/job-children.ts';
import { EXAMPLE, FASHION, TENANT, WorkerService } from '../helpers/worker-service.ts';

/** Four candidates of a few seconds, in two batches. */
const STEP = {
  pass: 'search.compression',
  steps: [{ pass: 'prune.channels', macsRatio: { search: [0.4, 0.5, 0.6, 0.7, 0.8, 0.9] } }],
  objectives: ['accuracy', 'macs'],
  evaluationSamples: 100,
  trials: 4,
  batch: 2,
};
const PATIENCE_MS = 300_000;

const Details = z.looseObject({
  best: z.number(),
  front: z.array(z.number()),
  cutShort: z.boolean(),
  trials: z.array(z.looseObject({ index: z.number(), status: z.string(), accuracy: z.number().optional() })),
});

describe('a job that searches', () => {
  let service: WorkerService;
  let model: { id: string; sha256: string };
  let evaluation: { id: string; sha256: string };
  before(async () => {
    service = await WorkerService.start();
    model = await service.uploadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
    evaluation = await service.uploadDataset(`${EXAMPLE}/evaluation.npz`);
  });
  after(() => service.stop());

  const submit = (step: object, changes: Partial<NewJob> = {}): Promise<JobRecord> =>
    service.submit({
      model: model.id,
      recipe: { version: 1, steps: [{ pass: 'search.compression', ...step }] },
      inputs: { model: model.sha256, evaluation: evaluation.sha256 },
      data: { evaluation: { dataset: evaluation.id, samples: 200 } },
      preprocess: { ...FASHION },
      deadlineSeconds: 600,
      ...changes,
    });

  /** What the search found: details without measured times, and the bytes of its models. */
  const answerOf = async (record: JobRecord) => {
    assert.ok(hasResult(record), JSON.stringify(record.error));
    const report = Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
    const { timing: _measured, ...details } = report.steps.at(-1)?.details ?? {};
    const manifest = await service.jobs.service.manifest(TENANT, record.id);
    const models = (manifest?.artifacts ?? [])
      .filter(({ name }) => name.endsWith('.onnx'))
      .map(({ name, sha256 }) => ({ name, sha256 }));
    return { details: Details.parse(details), models };
  };
  const trialsOf = async (id: string): Promise<readonly JobRecord[]> =>
    (await service.jobs.service.list(TENANT, { limit: 100, parent: id })).items;

  let undisturbed: Awaited<ReturnType<typeof answerOf>>;

  it('tries candidates as jobs of their own, and takes the best with the front besides', async () => {
    const { id } = await submit(STEP);
    const record = await service.finished(id, PATIENCE_MS);
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    assert.deepEqual([record.search?.asked, record.search?.done], [4, 4]);
    undisturbed = await answerOf(record);
    const { details, models } = undisturbed;
    assert.equal(details.cutShort, false);
    assert.deepEqual(
      details.trials.map(({ index, status }) => [index, status]),
      [0, 1, 2, 3].map((index) => [index, 'succeeded']),
    );
    const most = Math.max(...details.trials.map(({ accuracy = 0 }) => accuracy));
    assert.equal(details.trials[details.best]?.accuracy, most);
    assert.equal(models.length, details.front.length);
    const trials = await trialsOf(id);
    assert.equal(trials.length, 4);
    for (const trial of trials) {
      assert.deepEqual([trial.status, trial.trial?.parent, trial.attempt], ['succeeded', id, 1]);
      const names = (await service.jobs.service.manifest(TENANT, trial.id))?.artifacts.map(({ name }) => name);
      assert.deepEqual(names, ['model.onnx', 'trial.json']);
    }
    const best = await service.artifact(record, 'model.onnx');
    assert.equal(record.summary?.bytes.after, best.length);
    await delay(500); // the last event follows the record
    const events = await service.jobs.service.events(TENANT, id, 0);
    const shares = events.flatMap(({ type, data }) => (type === 'job.progress' ? [Number(data['progress'])] : []));
    assert.deepEqual(
      shares,
      shares.toSorted((a, b) => a - b),
      'attempts that go on with the search step back',
    );
    const types = events.map(({ type }) => type);
    assert.equal(types.filter((type) => type === 'job.running').length, 1);
    assert.equal(types.filter((type) => type === 'job.succeeded').length, 1);
    assert.ok(types.includes('job.progress'));
    // Its trials go with it: the next searches of this file have to run their own.
    await service.jobs.service.remove(TENANT, id);
    assert.equal((await service.jobs.service.list(TENANT, { limit: 100, trials: true })).items.length, 0);
  });

  it('finds the same when children of its trials are killed', async () => {
    const { id } = await submit(STEP);
    const killed = new Set<string>();
    while (killed.size < 2) {
      assert.equal((await service.get(id)).finishedAt, null, `over after ${killed.size} kills`);
      await delay(20);
      const [trial] = (await trialsOf(id)).filter(({ status }) => status === 'running');
      if (trial === undefined || killed.has(trial.id)) continue;
      // It has its task by then: a spare child that dies before that is replaced, and costs no attempt.
      await delay(300);
      if ((await service.get(trial.id)).status !== 'running') continue;
      killed.add(trial.id);
      for (const pid of childrenOfThisProcess()) process.kill(pid, 'SIGKILL');
    }
    const over = await service.finished(id, PATIENCE_MS);
    assert.deepEqual(await answerOf(over), undisturbed);
    const attempts = (await trialsOf(id)).map(({ attempt }) => attempt);
    assert.ok(Math.max(...attempts) > 1, 'no attempt was lost: this shows nothing');
  });

  it('asks for nothing again that was run before, and finds the same', async () => {
    const before = await service.jobs.service.list(TENANT, { limit: 100, trials: true });
    const { id } = await submit(STEP);
    assert.deepEqual(await answerOf(await service.finished(id, PATIENCE_MS)), undisturbed);
    const after = await service.jobs.service.list(TENANT, { limit: 100, trials: true });
    assert.deepEqual(
      after.items.map((trial) => trial.id),
      before.items.map((trial) => trial.id),
    );
  });

  it('canceled at half time, hands out the best so far with a report', async () => {
    const { id } = await submit({ ...STEP, evaluationSamples: 90, trials: 6 });
    // One batch has ended, the next one runs.
    await service.until(id, ({ search }) => search?.done === 2, PATIENCE_MS);
    const asked = performance.now();
    await service.jobs.service.cancel(TENANT, id);
    const record = await service.finished(id, PATIENCE_MS);
    assert.equal(record.status, 'canceled');
    assert.ok(performance.now() - asked < 60_000);
    const { details, models } = await answerOf(record);
    assert.equal(details.cutShort, true);
    assert.ok(details.trials.length >= 2 && details.trials.length < 6, `${details.trials.length}`);
    const sha256 = createHash('sha256')
      .update(await service.artifact(record, 'model.onnx'))
      .digest('hex');
    assert.equal(models[0]?.sha256, sha256);
    assert.ok((await service.artifact(record, 'report.html')).length > 1000);
    const statuses = (await trialsOf(id)).map(({ status }) => status);
    assert.ok(
      statuses.every((status) => status === 'succeeded' || status === 'canceled'),
      statuses.join(),
    );
  });

  it('out of time, succeeds with what it has found', async () => {
    const steps = [{ pass: 'prune.channels', macsRatio: { search: { min: 0.3, max: 0.9 } } }];
    const { id } = await submit({ ...STEP, steps, batch: 1, trials: 200 }, { deadlineSeconds: 45 });
    const record = await service.finished(id, PATIENCE_MS);
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    const { details } = await answerOf(record);
    assert.ok(details.trials.length >= 1);
    assert.equal(details.cutShort, true);
  });

  it('under constraints of the job, takes no candidate that misses them', async () => {
    const { details } = undisturbed;
    const free = z.number().parse(details.trials[details.best]?.['bytes']);
    // The most accurate one is too large; any drop is allowed, but has to be known.
    const constraints = { maxBytes: free - 1, maxAccuracyDrop: 1 };
    const { id } = await submit(STEP, { constraints });
    const record = await service.finished(id, PATIENCE_MS);
    assert.deepEqual([record.status, record.verdict], ['succeeded', 'met'], JSON.stringify(record.error));
    const found = await answerOf(record);
    assert.ok(z.number().parse(found.details.trials[found.details.best]?.['bytes']) < free);
    const passes = (await trialsOf(id)).map(({ recipe }) => recipe.steps.map(({ pass }) => pass).join());
    assert.equal(
      passes.filter((names) => names === 'canonicalize').length,
      1,
      'the input is measured once, as a trial',
    );
  });

  it('that can meet no constraint, misses them with the nearest candidates at hand', async () => {
    const constraints = { maxBytes: 1000, minSpeedup: 1000 };
    const { id } = await service.submit({
      model: model.id,
      recipe: { version: 1, steps: [{ pass: 'search.auto', constraints, roles: ['evaluation'] }] },
      inputs: { model: model.sha256, evaluation: evaluation.sha256 },
      data: { evaluation: { dataset: evaluation.id, samples: 100 } },
      constraints: { maxBytes: 1000 },
      preprocess: { ...FASHION },
      deadlineSeconds: 600,
    });
    const record = await service.finished(id, PATIENCE_MS);
    assert.deepEqual([record.status, record.verdict], ['succeeded', 'missed'], JSON.stringify(record.error));
    const report = Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
    const details = z
      .looseObject({ chosen: z.string(), candidates: z.array(z.looseObject({ missedBy: z.number().nullable() })) })
      .parse(report.steps.at(-1)?.details);
    assert.ok(details.candidates.length >= 1);
    assert.ok(details.candidates.every(({ missedBy }) => missedBy !== 0));
  });
});
