import { createHash } from 'node:crypto';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CompressionError } from '../src/errors.ts';
import type { Attempt } from '../src/jobs/job-service.ts';
import { mustConclude } from '../src/jobs/search-deadline.ts';
import { inputKeyOf, referencedModels } from '../src/recipes/referenced-models.ts';
import { DatasetStore } from '../src/storage/dataset-store.ts';
import { fetchChecked, ModelStore } from '../src/storage/model-store.ts';
import type { ObjectStore } from '../src/storage/object-store.ts';
import type { CheckpointIndex } from './outputs.ts';
import type { JobTask } from './protocol.ts';
import { TRIALS_FOLDER } from './trial-board.ts';

const MODEL_FOLDER = 'model';
const FURTHER_MODELS_FOLDER = 'models';
const COST_TABLE = 'cost-table.json';
const RESUME_FOLDER = 'resume';
const TRIALS_FILE = 'trials.json';

/**
 * Fetches everything an attempt needs into the child's folder, checked against the hashes of the record, and makes the
 * child's task of it.
 *
 * @throws CompressionError INPUT_NOT_FOUND, INPUT_CHECKSUM, OBJECT_STORE_UNAVAILABLE, DISK_FULL
 */
export async function fetchInputs(
  store: ObjectStore,
  attempt: Attempt,
  folder: string,
  costTable: string,
): Promise<Omit<JobTask, 'snapshotSeconds'>> {
  const { record } = attempt;
  const modelPath = await fetchModel(store, attempt, folder);
  const models = await fetchReferenced(store, attempt, folder);
  const data: JobTask['data'] = {};
  for (const role of ['calibration', 'training', 'evaluation'] as const) {
    const field = record.data[role];
    if (field === undefined) continue;
    // Its own folder, so that a set may serve in several roles.
    const path = join('data', role);
    const dataset = await new DatasetStore(store).materialize(record.tenant, field.dataset, join(folder, path));
    expectHash(`data.${role}`, record.inputs[role], dataset.sha256);
    data[role] = { ...field, path };
  }
  await copyFile(costTable, join(folder, COST_TABLE));
  const resumePath = await fetchCheckpoint(store, attempt, join(folder, RESUME_FOLDER));
  const hasTrials = await fetchTrials(store, attempt, folder);
  return {
    kind: 'job',
    jobId: record.id,
    attempt: attempt.number,
    model: record.model,
    ...(modelPath === undefined ? {} : { modelPath }),
    ...(Object.keys(models).length === 0 ? {} : { models }),
    recipe: record.recipe,
    data,
    ...(record.preprocess === undefined ? {} : { preprocess: record.preprocess }),
    constraints: record.constraints,
    target: record.target,
    threads: record.threads,
    seed: record.seed,
    costTablePath: COST_TABLE,
    ...(resumePath ? { resumePath: RESUME_FOLDER } : {}),
    ...(record.trial === undefined ? {} : { trial: { measure: record.trial.measure } }),
    ...(hasTrials ? { trialsPath: TRIALS_FILE, concluding: mustConclude(record, Date.now()) } : {}),
  };
}

/** The trials so far of a job that searches, and the models of those that it asked for. */
async function fetchTrials(store: ObjectStore, attempt: Attempt, folder: string): Promise<boolean> {
  const log = await attempt.trials();
  if (log === undefined) return false;
  for (const [index, { fetch, job }] of log.entries.entries()) {
    if (fetch !== true || job === undefined) continue;
    const made = await attempt.modelOfTrial(job);
    for (const { name, key, sha256 } of made) {
      const stream = await store.read(key);
      if (stream === undefined)
        throw new CompressionError('INPUT_NOT_FOUND', `the model of trial ${job} is not there any more`);
      await fetchChecked(stream, join(folder, TRIALS_FOLDER, String(index), name), sha256);
    }
  }
  await writeFile(join(folder, TRIALS_FILE), JSON.stringify(log));
  return true;
}

async function fetchModel(store: ObjectStore, attempt: Attempt, folder: string): Promise<string | undefined> {
  const { record } = attempt;
  if (typeof record.model !== 'string') return undefined;
  const model = await new ModelStore(store).materialize(record.tenant, record.model, {
    folder: join(folder, MODEL_FOLDER),
    name: 'model.onnx',
  });
  expectHash('model', record.inputs['model'], model.sha256);
  return join(MODEL_FOLDER, 'model.onnx');
}

/** @returns path of each further model of the recipe, by id */
async function fetchReferenced(store: ObjectStore, attempt: Attempt, folder: string): Promise<Record<string, string>> {
  const { record } = attempt;
  const paths: Record<string, string> = {};
  for (const { id } of referencedModels(record.recipe)) {
    if (paths[id] !== undefined) continue;
    const own = join(FURTHER_MODELS_FOLDER, id);
    const place = { folder: join(folder, own), name: 'model.onnx' };
    const model = await new ModelStore(store).materialize(record.tenant, id, place);
    expectHash(inputKeyOf(id), record.inputs[inputKeyOf(id)], model.sha256);
    paths[id] = join(own, 'model.onnx');
  }
  return paths;
}

/** A checkpoint that is incomplete or damaged is not an error: the attempt starts from the beginning. */
async function fetchCheckpoint(store: ObjectStore, attempt: Attempt, folder: string): Promise<boolean> {
  const { checkpoint } = attempt.record;
  if (checkpoint === null) return false;
  const found = await store.get(checkpoint.key);
  if (found === undefined || sha256(found.body) !== checkpoint.sha256) return false;
  // Written by a parent of ours and covered by the record's hash.
  const index = JSON.parse(Buffer.from(found.body).toString('utf8')) as CheckpointIndex;
  try {
    for (const file of index.files) {
      const stream = await store.read(file.key);
      if (stream === undefined) return false;
      await fetchChecked(stream, join(folder, file.name), file.sha256);
    }
  } catch (error) {
    if (error instanceof CompressionError && error.code === 'INPUT_CHECKSUM') return false;
    throw error;
  }
  return true;
}

function sha256(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('hex');
}

function expectHash(what: string, expected: string | undefined, found: string): void {
  if (expected !== found) {
    throw new CompressionError(
      'INPUT_CHANGED',
      `${what}: the job was made for ${expected ?? 'nothing'}, the store now has ${found}`,
    );
  }
}
