import type { Job, JobRecord } from './job.ts';

/** The job as clients see it: the record without the machinery's own fields, with links and the place in the queue. */
export function jobView(record: JobRecord, queuePosition: number | null): Job {
  const self = `/v1/jobs/${record.id}`;
  return {
    id: record.id,
    status: record.status,
    attempt: record.attempt,
    step: record.step,
    progress: record.progress,
    model: record.model,
    recipe: record.recipe,
    data: record.data,
    ...(record.preprocess === undefined ? {} : { preprocess: record.preprocess }),
    constraints: record.constraints,
    target: record.target,
    threads: record.threads,
    seed: record.seed,
    deadlineSeconds: record.deadlineSeconds,
    priority: record.priority,
    ...(record.webhook === undefined ? {} : { webhook: record.webhook }),
    metadata: record.metadata,
    createdAt: record.createdAt,
    startedAt: record.startedAt,
    finishedAt: record.finishedAt,
    queuePosition,
    error: record.error,
    verdict: record.verdict,
    summary: record.summary,
    links: {
      self,
      events: `${self}/events`,
      logs: `${self}/logs`,
      report: `${self}/report`,
      artifacts: `${self}/artifacts`,
      cancel: `${self}/cancel`,
      ...(typeof record.model === 'string' ? { model: `/v1/models/${record.model}` } : {}),
    },
  };
}
