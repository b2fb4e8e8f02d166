import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { attemptPrefix, eventKey, manifestKey, markerKey, recordKey } from '../../src/jobs/job-keys.ts';
import { newJob, openJobs, RESULT } from '../helpers/jobs.ts';

type Fixture = Awaited<ReturnType<typeof openJobs>>;
const SILENCE_MS = 15_000;

describe('JobClaims', () => {
  let jobs: Fixture;
  before(async () => {
    jobs = await openJobs();
  });
  after(() => jobs.stop());

  const submit = async (changes = {}) => (await jobs.service.submit(newJob(changes))).record.id;
  const claim = async (jobId: string) => {
    const attempt = await jobs.claims.claim(jobId, 'worker');
    assert.ok(attempt);
    return attempt;
  };
  const record = async (jobId: string) => {
    const found = await jobs.service.get('acme', jobId);
    assert.ok(found);
    return found;
  };
  const types = async (jobId: string) => (await jobs.service.events('acme', jobId, 0)).map((event) => event.type);
  /** The attempt's worker dies: its silence is seen by claim, twice, with the limit in between. */
  const fallSilent = async (jobId: string) => {
    assert.equal(await jobs.claims.claim(jobId, 'other'), undefined);
    jobs.clock.pass(SILENCE_MS);
  };

  it('of 50 racing claims exactly one wins, also between processes', async () => {
    const other = jobs.make();
    const jobId = await submit();
    const claims = await Promise.all(
      Array.from({ length: 50 }, (_, n) => (n % 2 ? jobs : other).claims.claim(jobId, 'worker')),
    );
    const won = claims.filter((attempt) => attempt !== undefined);
    assert.equal(won.length, 1);
    assert.equal((await record(jobId)).attempt, 1);
    assert.equal(await won[0]?.heartbeat({ step: null, progress: 0 }), 'continue');
  });

  it('finds the tenant of a job that another process took in', async () => {
    const jobId = await submit({ tenant: 'far.away_1' });
    const attempt = await jobs.make().claims.claim(jobId, 'worker');
    assert.equal(attempt?.record.tenant, 'far.away_1');
  });

  it('leaves a job alone while its attempt gives signs of life, however old the clock says they are', async () => {
    const jobId = await submit();
    const attempt = await claim(jobId);
    await fallSilent(jobId);
    await attempt.heartbeat({ step: 0, progress: 0.1 });
    assert.equal(await jobs.claims.claim(jobId, 'other'), undefined);
    jobs.clock.jump(24 * 3600 * 1000);
    assert.equal(await jobs.claims.claim(jobId, 'other'), undefined);
    jobs.clock.jump(-48 * 3600 * 1000);
    assert.equal(await jobs.claims.claim(jobId, 'other'), undefined);
    jobs.clock.jump(24 * 3600 * 1000);
    assert.equal(await attempt.heartbeat({ step: 0, progress: 0.2 }), 'continue');
  });

  it('takes over from a silent attempt, and the late one is fenced off', async () => {
    const jobId = await submit();
    const late = await claim(jobId);
    await late.checkpoint({ key: 'x', steps: 1, sha256: 'c'.repeat(64) });
    await fallSilent(jobId);
    const next = await claim(jobId);
    assert.equal(next.number, 2);
    assert.equal(next.record.checkpoint?.steps, 1);
    assert.equal(next.record.lostAttempts, 1);
    assert.notEqual(next.prefix, late.prefix);
    await late.event('job.progress', { late: true });
    assert.equal(await late.checkpoint({ key: 'y', steps: 9, sha256: 'd'.repeat(64) }), 'lost');
    assert.equal(await late.succeed(RESULT), 'lost');
    assert.equal(await late.fail({ code: 'INTERNAL', message: '', step: null, retryable: false }), 'lost');
    await late.release({ crashed: true, message: 'late' });
    assert.equal((await record(jobId)).status, 'running');
    assert.equal(await next.succeed(RESULT), 'published');
    assert.equal((await jobs.service.manifest('acme', jobId))?.attempt, 2);
    assert.deepEqual(await types(jobId), ['job.queued', 'job.running', 'job.running', 'job.succeeded']);
    const done = await record(jobId);
    assert.equal(done.checkpoint?.steps, 1);
    assert.equal(done.crashes, 0);
  });

  it('a late attempt that was already past its checks publishes nothing, whatever it has written', async () => {
    const jobId = await submit();
    const late = await claim(jobId);
    await fallSilent(jobId);
    const next = await claim(jobId);
    const artifacts = [{ ...RESULT.artifacts[0], sha256: 'f'.repeat(64) }];
    assert.equal(await late.succeed({ ...RESULT, artifacts }), 'lost');
    assert.equal(await next.succeed(RESULT), 'published');
    assert.deepEqual((await jobs.service.manifest('acme', jobId))?.artifacts, RESULT.artifacts);
  });

  it('publishes the result of an attempt that died between manifest and record', async () => {
    const jobId = await submit();
    const attempt = await claim(jobId);
    const manifest = { version: 1, job: jobId, attempt: 1, createdAt: new Date().toISOString(), ...RESULT };
    await jobs.store.put(manifestKey('acme', jobId, 1), Buffer.from(JSON.stringify(manifest)));
    await fallSilent(jobId);
    assert.equal(await jobs.claims.claim(jobId, 'other'), undefined);
    const done = await record(jobId);
    assert.equal(done.status, 'succeeded');
    assert.equal(done.attempt, 1);
    assert.deepEqual(done.summary, RESULT.summary);
    assert.deepEqual((await jobs.service.manifest('acme', jobId))?.artifacts, RESULT.artifacts);
    assert.deepEqual(await types(jobId), ['job.queued', 'job.running', 'job.succeeded']);
    assert.equal(await attempt.succeed(RESULT), 'published'); // it comes back, and its result is the one that counts
    assert.deepEqual(await types(jobId), ['job.queued', 'job.running', 'job.succeeded']);
  });

  it('finishes a cancel whose attempt died', async () => {
    const jobId = await submit();
    const attempt = await claim(jobId);
    await jobs.service.cancel('acme', jobId);
    await fallSilent(jobId);
    assert.equal(await jobs.claims.claim(jobId, 'other'), undefined);
    assert.equal((await record(jobId)).status, 'canceled');
    assert.equal(await attempt.heartbeat({ step: 0, progress: 1 }), 'lost');
    assert.equal(await attempt.succeed(RESULT), 'lost');
    assert.deepEqual(await types(jobId), ['job.queued', 'job.running', 'job.canceled']);
  });

  it('a handed-back job is queued again and no crash is counted', async () => {
    const jobId = await submit();
    for (let n = 1; n <= 5; n++) {
      const attempt = await claim(jobId);
      assert.equal(attempt.number, n);
      await attempt.release({ crashed: false, message: 'shutdown' });
      assert.equal(await attempt.heartbeat({ step: 0, progress: 0 }), 'lost');
      const { status, crashes, lostAttempts, workerId } = await record(jobId);
      assert.deepEqual(
        { status, crashes, lostAttempts, workerId },
        { status: 'queued', crashes: 0, lostAttempts: 0, workerId: null },
      );
    }
  });

  it('the second crash ends the job as CRASH_LOOP', async () => {
    const jobId = await submit();
    await (await claim(jobId)).release({ crashed: true, message: 'SIGSEGV' });
    assert.equal((await record(jobId)).status, 'queued');
    await (await claim(jobId)).release({ crashed: true, message: 'SIGSEGV' });
    const done = await record(jobId);
    assert.equal(done.status, 'failed');
    assert.equal(done.error?.code, 'CRASH_LOOP');
    assert.equal(done.error.retryable, false);
    assert.match(done.error.message, /SIGSEGV/);
    assert.equal(await jobs.claims.claim(jobId, 'worker'), undefined);
    assert.equal((await types(jobId)).at(-1), 'job.failed');
  });

  it('ten workers lost on one job end it', async () => {
    const jobId = await submit();
    for (let n = 1; n <= 10; n++) {
      await claim(jobId);
      await fallSilent(jobId);
    }
    assert.equal(await jobs.claims.claim(jobId, 'worker'), undefined);
    assert.equal((await record(jobId)).error?.code, 'CRASH_LOOP');
  });

  it('a job handed back while its end was asked for ends as canceled', async () => {
    const jobId = await submit();
    const attempt = await claim(jobId);
    await jobs.service.cancel('acme', jobId);
    await attempt.release({ crashed: true, message: 'killed' });
    assert.equal((await record(jobId)).status, 'canceled');
    assert.equal((await types(jobId)).at(-1), 'job.canceled');
  });

  it('does not start a job past its deadline, which runs from the first start', async () => {
    const jobId = await submit({ deadlineSeconds: 60 });
    jobs.clock.pass(3_600_000); // waiting does not count
    const attempt = await claim(jobId);
    const { deadlineAt } = attempt.record;
    await attempt.release({ crashed: false, message: 'shutdown' });
    jobs.clock.pass(30_000);
    const second = await claim(jobId);
    assert.equal(second.record.deadlineAt, deadlineAt);
    await second.release({ crashed: false, message: 'shutdown' });
    jobs.clock.pass(31_000);
    assert.equal(await jobs.claims.claim(jobId, 'worker'), undefined);
    assert.equal((await record(jobId)).error?.code, 'LIMIT_TIME');
  });

  it('numbers events without a gap across attempts, also when a late one writes in between', async () => {
    const jobId = await submit();
    const late = await claim(jobId);
    await late.event('job.step', { n: 1 });
    await fallSilent(jobId);
    await late.event('job.step', { n: 2 }); // alive after all, but not heard yet
    const next = await claim(jobId);
    await Promise.all([late.event('job.step', { late: true }), next.event('job.step', { n: 3 })]);
    await next.succeed(RESULT);
    await late.event('job.step', { late: true });
    const events = await jobs.service.events('acme', jobId, 0);
    assert.deepEqual(
      events.map((event) => event.id),
      events.map((_, index) => index + 1),
    );
    assert.equal(events.at(-1)?.type, 'job.succeeded');
    assert.equal(events.filter((event) => /succeeded|failed|canceled/.test(event.type)).length, 1);
  });

  it('refuses a record that another version wrote', async () => {
    const jobId = await submit();
    const found = await jobs.store.get(recordKey('acme', jobId));
    assert.ok(found);
    const record: unknown = JSON.parse(Buffer.from(found.body).toString());
    const newer = JSON.stringify({ ...Object(record), recordVersion: 2 });
    await jobs.store.put(recordKey('acme', jobId), Buffer.from(newer));
    await assert.rejects(jobs.claims.claim(jobId, 'worker'), /not of version 1/);
  });

  it('lays its parts out as the keys page says', async () => {
    const jobId = await submit();
    assert.equal(recordKey('acme', jobId), `tenants/acme/jobs/${jobId}.json`);
    assert.equal(markerKey({ tenant: 'acme', id: jobId }), `pending/${jobId}@acme`);
    assert.equal(attemptPrefix('acme', jobId, 3), `tenants/acme/job-files/${jobId}/attempts/3/`);
    assert.equal(eventKey('acme', jobId, 12), `tenants/acme/job-files/${jobId}/events/00000012.json`);
    assert.ok(await jobs.store.head(recordKey('acme', jobId)));
    assert.ok(await jobs.store.head(markerKey({ tenant: 'acme', id: jobId })));
  });
});
