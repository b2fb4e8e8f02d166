import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { Transform } from 'node:stream';
import { CompressionError } from '../src/errors.ts';
import type { ArtifactEntry } from '../src/schemas/job.ts';
import type { ObjectStore } from '../src/storage/object-store.ts';
import type { ChildMessage } from './protocol.ts';

type Result = Extract<ChildMessage, { type: 'result' }>;
export type Checkpoint = Extract<ChildMessage, { type: 'checkpoint' }>;

/** One object that lists the files of a checkpoint; written after them, so a half-uploaded checkpoint is never found. */
export interface CheckpointIndex {
  readonly steps: number;
  readonly files: readonly {
    readonly name: string;
    readonly key: string;
    readonly sha256: string;
    readonly bytes: number;
  }[];
}

/** Of a job or a checkpoint: a search alone may hand out 256 models. */
const MAX_FILES = 320;
const INDEX = 'index.json';

/**
 * Uploads what the child names, hashing on the way: a file whose bytes are not what the child said is refused.
 *
 * @returns the entries for the manifest
 */
export async function uploadArtifacts(
  store: ObjectStore,
  prefix: string,
  directory: string,
  artifacts: Result['artifacts'],
): Promise<ArtifactEntry[]> {
  if (artifacts.length > MAX_FILES)
    throw new CompressionError('INTERNAL', `the child named ${artifacts.length} artifacts`);
  const entries: ArtifactEntry[] = [];
  for (const { path, ...entry } of artifacts) {
    const uploaded = await uploadFile(store, prefix + safeName(entry.name), directory, path);
    if (uploaded.sha256 !== entry.sha256 || uploaded.bytes !== entry.bytes) {
      throw new CompressionError(
        'INTERNAL',
        `artifact "${entry.name}" changed between the child's hash and the upload`,
      );
    }
    entries.push(entry);
  }
  return entries;
}

export async function uploadCheckpoint(
  store: ObjectStore,
  prefix: string,
  directory: string,
  checkpoint: Checkpoint,
): Promise<{ key: string; steps: number; sha256: string }> {
  if (checkpoint.files.length > MAX_FILES)
    throw new CompressionError('INTERNAL', 'the child named too many checkpoint files');
  // Never written over: an index that the record still names must keep finding its files.
  const folder = folderOf(prefix, checkpoint);
  const files: { name: string; key: string; sha256: string; bytes: number }[] = [];
  for (const name of checkpoint.files) {
    const key = folder + safeName(name);
    files.push({ name, key, ...(await uploadFile(store, key, directory, `${checkpoint.path}/${name}`)) });
  }
  const index: CheckpointIndex = { steps: checkpoint.steps, files };
  const body = Buffer.from(JSON.stringify(index), 'utf8');
  const key = folder + INDEX;
  await store.put(key, body);
  return { key, steps: checkpoint.steps, sha256: createHash('sha256').update(body).digest('hex') };
}

/** Removes the objects of a checkpoint that no record names any longer. */
export async function removeCheckpoint(store: ObjectStore, prefix: string, checkpoint: Checkpoint): Promise<void> {
  const folder = folderOf(prefix, checkpoint);
  for (const name of [INDEX, ...checkpoint.files]) await store.delete(folder + name);
}

function folderOf(prefix: string, { sequence }: Checkpoint): string {
  return `${prefix}checkpoints/${sequence}/`;
}

async function uploadFile(
  store: ObjectStore,
  key: string,
  directory: string,
  path: string,
): Promise<{ sha256: string; bytes: number }> {
  const file = inside(directory, path);
  // The child may have been taken over: only a plain file of its own folder leaves this machine.
  const status = await lstat(file);
  if (!status.isFile() || status.nlink !== 1) throw new CompressionError('INTERNAL', `"${path}" is not a plain file`);
  const hash = createHash('sha256');
  let bytes = 0;
  const tap = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      bytes += chunk.length;
      done(null, chunk);
    },
  });
  const source = createReadStream(file);
  source.on('error', (error) => tap.destroy(error));
  await store.write(key, source.pipe(tap));
  return { sha256: hash.digest('hex'), bytes };
}

/** The path under the folder. @throws INTERNAL when it leads out of it */
export function inside(directory: string, path: string): string {
  const file = resolve(directory, path);
  if (!file.startsWith(directory + sep))
    throw new CompressionError('INTERNAL', `the child named "${path}", outside its folder`);
  return file;
}

function safeName(name: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/.test(name)) {
    throw new CompressionError('INTERNAL', `the child named an artifact ${JSON.stringify(name.slice(0, 100))}`);
  }
  return name;
}
