import { CompressionError } from '../errors.ts';
import type { JobService } from '../jobs/job-service.ts';
import { referencedModels } from '../recipes/referenced-models.ts';

const MAX_ACTIVE = 1000;

/** @throws CompressionError IN_USE when a job that is not over needs the model or data set */
export async function checkNotInUse(jobs: JobService, tenant: string, id: string): Promise<void> {
  for (const jobId of await jobs.activeIds(tenant, MAX_ACTIVE)) {
    const record = await jobs.get(tenant, jobId);
    if (record === undefined) continue;
    const datasets = Object.values(record.data).map((role) => role?.dataset);
    const used = [record.model, ...datasets, ...referencedModels(record.recipe).map((model) => model.id)];
    if (used.includes(id))
      throw new CompressionError('IN_USE', `${id} is needed by job ${jobId}; cancel it or wait until it is over`);
  }
}
