import type { ArtifactEntry, JobSummary } from '../../src/schemas/job.ts';
import type { NewJob } from '../../src/jobs/job-service.ts';

/** A checked request, small but complete. */
export function newJob(changes: Partial<NewJob> = {}): NewJob {
  return {
    tenant: 'acme',
    model: 'mdl_0123456789abcdef',
    recipe: { version: 1, steps: [{ pass: 'quantize.dynamic' }] },
    data: {},
    preprocess: undefined,
    constraints: {},
    target: { cpu: 'portable' },
    threads: 1,
    seed: 0,
    deadlineSeconds: 3600,
    priority: 0,
    webhook: undefined,
    metadata: {},
    inputs: { model: 'a'.repeat(64) },
    ...changes,
  };
}

export const ARTIFACT: ArtifactEntry = {
  name: 'model.onnx',
  kind: 'model',
  bytes: 3,
  sha256: 'b'.repeat(64),
  contentType: 'application/octet-stream',
};

export const SUMMARY: JobSummary = {
  bytes: { before: 12, after: 3 },
  accuracy: { before: null, after: null },
  latencyP50Ms: { before: 2, after: 1 },
};

export const RESULT = { artifacts: [ARTIFACT], summary: SUMMARY, verdict: 'none' } as const;
