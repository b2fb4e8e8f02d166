import type { Job, JobRecord, JobStatus } from './job.ts';

/** A search whose trials run is running, whether or not an attempt works on it at the moment. */
export function statusOf(record: JobRecord): JobStatus {
  return record.status === 'queued' && record.search !== undefined ? 'running' : record.status;
}

/** The job as clients see it: the record without the machinery's own fields, with links and the place in the queue. */
export function jobView(record: JobRecord, queuePosition: number | null): Job {
  const self = `/v1/jobs/${record.id}`;
  return {
    id: record.id,
    status: statusOf(record),
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
    ...(record.trial === undefined ? {} : { parent: record.trial.parent }),
    ...(record.search === undefined || record.search.asked === 0
      ? {}
      : { trials: { asked: record.search.asked, done: record.search.done } }),
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
