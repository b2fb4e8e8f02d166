import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { endlessLoop, goodModel, HOSTILE_UPLOADS, manyNodes, memoryBomb, STRANGE_MODELS } from './hostile-models.ts';
import { idOf, jobChildren, LiveService, problemOf } from './live-service.ts';

const RECIPE = 'int8-dynamic';
const temporary = (): string[] => readdirSync(tmpdir()).filter((name) => name.includes(`-${process.pid}-`));

describe('hostile models, as a client sends them', () => {
  let service: LiveService;
  before(async () => {
    service = await LiveService.start({
      MODEL_MAX_BYTES: '8000000',
      JOB_MEMORY_BYTES: String(2 ** 30),
      WORKER_CONCURRENCY: '2',
    });
  });
  after(async () => {
    await service.stop();
    assert.deepEqual(jobChildren(), [], 'a child is left');
    assert.deepEqual(temporary(), [], 'a folder is left');
  });
  const healthy = async () => assert.equal((await service.request('/healthz')).status, 200);

  for (const { name, bytes, files, status = 422, code, message } of HOSTILE_UPLOADS)
    it(`${name}: ${status} ${code}`, async () => {
      const answer = await (files === undefined
        ? service.upload('models', bytes)
        : service.uploadWithFiles(bytes, files));
      assert.equal(answer.status, status, JSON.stringify(answer.body));
      const problem = problemOf(answer);
      assert.equal(problem.code, code);
      assert.match(problem.detail, message);
      await healthy();
    });

  describe('that only running shows', { concurrency: 2 }, () => {
    it('O5 bytes that changed in the store: INPUT_CHECKSUM', async () => {
      const bytes = goodModel([5, 6, 7, 8]);
      const id = await service.uploaded('models', bytes);
      await spoil(service.folder, bytes);
      const job = await service.run({ model: id, recipe: RECIPE });
      assert.equal(job.status, 'failed');
      assert.equal(job.error?.code, 'INPUT_CHECKSUM');
    });

    it('O28 a loop of 2^62 rounds: LIMIT_TIME at the deadline', async () => {
      const id = await service.uploaded('models', endlessLoop());
      const started = performance.now();
      const job = await service.run({ model: id, recipe: RECIPE, deadlineSeconds: 3 });
      assert.equal(job.error?.code, 'LIMIT_TIME', JSON.stringify(job.error));
      assert.ok(performance.now() - started < 13_000);
    });

    it('O31 a memory bomb: LIMIT_MEMORY', async () => {
      const job = await service.run({ model: await service.uploaded('models', memoryBomb()), recipe: RECIPE });
      assert.equal(job.error?.code, 'LIMIT_MEMORY', JSON.stringify(job.error));
    });

    it('O33 200,000 nodes: MODEL_LIMIT, or a job that its deadline ends', async () => {
      const answer = await service.upload('models', manyNodes(200_000));
      if (answer.status === 422) assert.equal(problemOf(answer).code, 'MODEL_LIMIT');
      else {
        const job = await service.run({ model: idOf(answer), recipe: RECIPE, deadlineSeconds: 4 });
        assert.ok(job.status === 'succeeded' || job.error?.code === 'LIMIT_TIME', JSON.stringify(job.error));
      }
    });

    for (const { name, bytes, code } of STRANGE_MODELS)
      it(`${name}: ${code ?? 'succeeds'}`, async () => {
        const job = await service.run({ model: await service.uploaded('models', bytes), recipe: RECIPE });
        assert.equal(job.error?.code, code, JSON.stringify(job.error));
        if (job.status === 'succeeded') {
          const html = (await service.artifact(job, 'report.html')).toString('utf8');
          assert.doesNotMatch(html, /<script>alert/);
        }
      });
  });

  it('O34 a child that crashes twice: CRASH_LOOP, and the worker goes on', async () => {
    const model = await service.uploaded('models', endlessLoop());
    const id = idOf(await service.submit({ model, recipe: RECIPE, deadlineSeconds: 60 }));
    for (const attempt of [1, 2]) {
      await service.until(id, (job) => job.attempt === attempt && job.status === 'running' && attempt > 0);
      await delay(300);
      for (const pid of jobChildren()) process.kill(pid, 'SIGSEGV');
    }
    const job = await service.until(id, ({ finishedAt }) => finishedAt !== null);
    assert.equal(job.status, 'failed');
    assert.equal(job.error?.code, 'CRASH_LOOP');
    assert.match(job.error.message, /SIGSEGV/);
  });

  it('after all of them: nothing answered 5xx, and a good job succeeds', async () => {
    const job = await service.run({ model: await service.uploaded('models', goodModel()), recipe: RECIPE });
    assert.equal(job.status, 'succeeded', JSON.stringify(job.error));
    assert.deepEqual(service.failures, []);
  });
});

/** Changes the last byte of what the store keeps of these contents. */
async function spoil(folder: string, contents: Uint8Array): Promise<void> {
  const store = new FileSystemStore(folder);
  const hash = createHash('sha256').update(contents).digest('hex');
  const keys = (await store.list('', { limit: 1000 })).map(({ key }) => key).filter((key) => key.includes(hash));
  let spoiled = 0;
  for (const key of keys) {
    const found = await store.get(key);
    if (found === undefined || !Buffer.from(found.body).equals(contents)) continue;
    const body = Buffer.from(contents);
    body.writeUInt8(body.readUInt8(body.length - 1) ^ 1, body.length - 1);
    await store.put(key, body);
    spoiled += 1;
  }
  await store.close();
  assert.equal(spoiled, 1, keys.join(' '));
}
