import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { TersorClient, type JobRequest } from '../../src/client/client.ts';
import type { Job } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';
import { S3Store } from '../../src/storage/s3.ts';
import { Cluster, FROM_SOURCES } from '../helpers/cluster.ts';
import { putKnownKernelCosts } from '../helpers/known-kernel-costs.ts';
import { skipWithout } from '../helpers/services.ts';

const EXAMPLE = 'examples/fashion-mnist';
const WORKERS = ['worker-1', 'worker-2'] as const;
const PATIENCE_MS = 240_000;

/** Two batches of three: the second is bred from the results of the first, and one of three always waits for a worker. */
const SEARCH = {
  pass: 'search.compression',
  steps: [
    {
      pass: 'prune.channels',
      macsRatio: { search: { min: 0.3, max: 0.9, step: 0.05 } },
      importance: { search: ['l1', 'l2', 'fpgm'] },
      recover: 'least-squares',
    },
  ],
  strategy: 'evolution',
  objectives: ['accuracy', 'macs'],
  evaluationSamples: 80,
  trials: 6,
  batch: 3,
  keepFront: 1,
};

describe(
  'a search over two worker processes',
  { skip: skipWithout('redis-server') || skipWithout('versitygw') },
  () => {
    let cluster: Cluster;
    let client: TersorClient;
    let request: JobRequest;
    let undisturbed: Awaited<ReturnType<typeof answerOf>>;

    before(async () => {
      cluster = await Cluster.start(WORKERS, {
        program: FROM_SOURCES,
        prepare: async (s3) => {
          const store = new S3Store(s3);
          await putKnownKernelCosts(store);
          await store.close();
        },
      });
      client = new TersorClient({ baseUrl: cluster.baseUrl });
      const model = await client.uploadModel({ path: `${EXAMPLE}/fashion-resnet8.onnx` });
      const calibration = await client.uploadDataset({ path: `${EXAMPLE}/calibration.npz` });
      const evaluation = await client.uploadDataset({ path: `${EXAMPLE}/evaluation.npz` });
      request = {
        model: model.id,
        recipe: { version: 1, steps: [SEARCH] },
        data: {
          calibration: { dataset: calibration.id, samples: 64 },
          evaluation: { dataset: evaluation.id, samples: 100 },
        },
        preprocess: { scale: 1 / 255, mean: 0.286, std: 0.353 },
        threads: 1,
        seed: 5,
      };
    });
    after(() => cluster.stop());

    /** In the order in which the search asked for them. */
    const trialsOf = async (id: string): Promise<readonly Job[]> =>
      (await client.listJobs({ parent: id, limit: 100 })).items;

    /** What the search found and how it came to it: all that its step reports but measured times, and the bytes of its models. */
    const answerOf = async (job: Job) => {
      assert.equal(job.status, 'succeeded', JSON.stringify(job.error));
      assert.deepEqual(job.trials, { asked: SEARCH.trials, done: SEARCH.trials });
      const { steps } = Report.parse(await client.report(job.id));
      const { timing: _measured, ...details } = steps.at(-1)?.details ?? {};
      const models = (await client.artifacts(job.id)).filter(({ name }) => name.endsWith('.onnx'));
      return {
        details,
        asked: (await trialsOf(job.id)).map(({ recipe, seed }) => ({ recipe, seed })),
        models: models.map(({ name, sha256 }) => ({ name, sha256 })),
      };
    };

    /** Waits until the second batch is asked for, and this worker is at work on a trial of it. */
    const inTheMiddle = async (id: string, worker: string): Promise<Job> => {
      const end = performance.now() + PATIENCE_MS;
      for (;;) {
        const second = (await trialsOf(id)).slice(SEARCH.batch).filter(({ status }) => status === 'running');
        const { begun } = await cluster.workOf(worker);
        const own = second.find((trial) => begun.includes(trial.id));
        if (own !== undefined) return own;
        assert.ok(performance.now() < end, 'the worker had no trial of the second batch');
        assert.equal((await client.getJob(id)).finishedAt, null, 'the search was over before anything was disturbed');
        await delay(20);
      }
    };

    /** The next search has to run its own trials. */
    const forget = async (id: string): Promise<void> => {
      await client.deleteJob(id);
      assert.deepEqual((await client.listJobs({ trials: true })).items, []);
    };

    it('has both of them run trials', async () => {
      const { id } = await client.createJob(request);
      undisturbed = await answerOf(await client.waitForJob(id));
      const trials = (await trialsOf(id)).map((trial) => trial.id);
      assert.equal(trials.length, SEARCH.trials);
      for (const worker of WORKERS) {
        const { succeeded } = await cluster.workOf(worker);
        assert.ok(
          trials.some((trial) => succeeded.includes(trial)),
          `${worker} ran none of the trials`,
        );
      }
      await forget(id);
    });

    it('finds the same when one of them is killed with SIGKILL', async () => {
      const { id } = await client.createJob(request);
      const lost = await inTheMiddle(id, 'worker-1');
      await cluster.kill('worker-1');
      const answer = await answerOf(await client.waitForJob(id));
      assert.deepEqual(answer, undisturbed);
      const { attempt } = await client.getJob(lost.id);
      assert.ok(attempt > 1, 'no attempt was lost: this shows nothing');
      await cluster.startProcess('worker-1');
      await forget(id);
    });

    it('finds the same when Redis is flushed', async () => {
      const { id } = await client.createJob(request);
      await inTheMiddle(id, 'worker-2');
      await cluster.redis.flush();
      assert.deepEqual(await answerOf(await client.waitForJob(id)), undisturbed);
      await forget(id);
    });
  },
);
