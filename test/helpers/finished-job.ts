import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { attemptPrefix } from '../../src/jobs/job-keys.ts';
import type { ArtifactEntry, JobRecord } from '../../src/schemas/job.ts';
import type { TestApp } from './http-app.ts';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Plays the worker: claims the job, writes the given files as its artifacts and publishes them. */
export async function finishJob(
  test: TestApp,
  jobId: string,
  files: readonly Pick<ArtifactEntry, 'name' | 'kind' | 'contentType'>[],
  contents: Readonly<Record<string, Uint8Array>>,
): Promise<JobRecord> {
  const attempt = await test.jobs.claims.claim(jobId, 'test-worker');
  if (attempt === undefined) throw new Error(`job ${jobId} could not be claimed`);
  const { record } = attempt;
  const prefix = attemptPrefix(record.tenant, record.id, attempt.number);
  const artifacts: ArtifactEntry[] = [];
  for (const file of files) {
    const bytes = contents[file.name] ?? new Uint8Array();
    await test.deps.store.write(prefix + file.name, Readable.from([bytes]));
    artifacts.push({ ...file, bytes: bytes.byteLength, sha256: sha256(bytes) });
  }
  await test.deps.store.put(`${prefix}log.jsonl`, Buffer.from('{"level":"info","message":"done"}\n'));
  await attempt.event('job.step', { step: 0, pass: 'quantize.dynamic' });
  const published = await attempt.succeed({
    artifacts,
    summary: {
      bytes: { before: 100, after: 30 },
      accuracy: { before: null, after: null },
      latencyP50Ms: { before: 2, after: 1 },
    },
    verdict: 'none',
  });
  if (published !== 'published') throw new Error('another attempt won');
  return record;
}
