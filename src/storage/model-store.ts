import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { CompressionError } from '../errors.ts';
import { ModelResource, type ModelSummaryField } from '../schemas/model.ts';
import { BlobStore } from './blob-store.ts';
import type { ObjectStore } from './object-store.ts';
import { ResourceIndex } from './resource-index.ts';
import type { SpooledFile } from './spool.ts';

/** A complete upload that was not looked into yet. */
export interface NewModel {
  readonly model: SpooledFile;
  /** External data by the location the model knows it under. */
  readonly external: ReadonlyMap<string, SpooledFile>;
}

/** The record in the store. `holder` names its hold on the contents: each upload has its own. */
const StoredModel = ModelResource.extend({ holder: z.string() });
type StoredModel = z.infer<typeof StoredModel>;

/**
 * The models of each tenant. The bytes lie in the store once, under their SHA-256; a tenant sees a model only after
 * uploading the very same bytes.
 */
export class ModelStore {
  readonly #blobs: BlobStore;
  readonly #index: ResourceIndex<typeof StoredModel>;

  constructor(store: ObjectStore) {
    this.#blobs = new BlobStore(store);
    this.#index = new ResourceIndex(store, 'models', StoredModel);
  }

  /** @param inspect - reads the files; called only when the tenant does not have the model yet */
  async create(
    tenant: string,
    upload: NewModel,
    inspect: () => Promise<ModelSummaryField>,
  ): Promise<{ model: StoredModel; created: boolean }> {
    const id = modelIdOf(upload);
    const existing = await this.get(tenant, id);
    if (existing !== undefined) return { model: existing, created: false };
    const summary = await inspect();
    // Of its own, so that a removal at the same time ends the hold of the model it removed and not this one.
    const holder = `${tenant}/${id}/${randomUUID()}`;
    const files = [upload.model, ...upload.external.values()];
    for (const file of files) await this.#blobs.hold(file.sha256, holder, file);
    const externalData = [...upload.external].map(([location, { bytes, sha256 }]) => ({ location, bytes, sha256 }));
    const { record, created } = await this.#index.create(tenant, {
      id,
      sha256: upload.model.sha256,
      bytes: upload.model.bytes + externalData.reduce((sum, file) => sum + file.bytes, 0),
      ...summary,
      externalData,
      createdAt: new Date().toISOString(),
      holder,
    });
    if (record.holder !== holder) for (const file of files) await this.#blobs.release(file.sha256, holder);
    return { model: record, created };
  }

  async get(tenant: string, id: string): Promise<StoredModel | undefined> {
    return this.#index.get(tenant, id);
  }

  async list(tenant: string, query: { readonly limit: number; readonly cursor?: string | undefined }) {
    return this.#index.list(tenant, query);
  }

  /** The model file, or an inclusive range of it. */
  async read(model: ModelResource, range?: { readonly start: number; readonly end: number }): Promise<Readable> {
    return this.#contentOf(model.sha256, range);
  }

  async remove(tenant: string, model: StoredModel): Promise<void> {
    await this.#index.remove(tenant, model);
    for (const { sha256 } of [model, ...model.externalData]) await this.#blobs.release(sha256, model.holder);
  }

  /**
   * Puts the model where a job child reads it: the file under `name` in `folder`, external data at their locations.
   *
   * @throws CompressionError INPUT_NOT_FOUND when the tenant has no such model, INPUT_CHECKSUM when bytes differ
   */
  async materialize(tenant: string, id: string, target: { folder: string; name: string }): Promise<ModelResource> {
    const model = await this.get(tenant, id);
    if (model === undefined) throw new CompressionError('INPUT_NOT_FOUND', `Model ${id} is not there any more`);
    await fetchChecked(await this.#contentOf(model.sha256), join(target.folder, target.name), model.sha256);
    for (const { location, sha256 } of model.externalData)
      await fetchChecked(await this.#contentOf(sha256), join(target.folder, location), sha256);
    return model;
  }

  async #contentOf(sha256: string, range?: { readonly start: number; readonly end: number }): Promise<Readable> {
    const stream = await this.#blobs.read(sha256, range);
    if (stream === undefined) throw new CompressionError('INPUT_NOT_FOUND', `Content ${sha256} is not in the store`);
    return stream;
  }
}

/** By content: the file alone, or the file with its external data under their locations. */
function modelIdOf(upload: NewModel): string {
  if (upload.external.size === 0) return `mdl_${upload.model.sha256.slice(0, 32)}`;
  const parts = [...upload.external].map(([location, file]) => [location, file.sha256]).sort();
  const hash = createHash('sha256').update(JSON.stringify([upload.model.sha256, parts]));
  return `mdl_${hash.digest('hex').slice(0, 32)}`;
}

/** Writes a stream to a file that must not exist yet, and checks what was written. @throws CompressionError INPUT_CHECKSUM */
export async function fetchChecked(stream: Readable, path: string, sha256: string): Promise<void> {
  // It may break before it is read; an error nobody listens to would end the process. The pipeline reports it.
  stream.on('error', () => undefined);
  await mkdir(dirname(path), { recursive: true });
  const hash = createHash('sha256');
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  await pipeline(stream, meter, createWriteStream(path, { flags: 'wx' }));
  const found = hash.digest('hex');
  if (found !== sha256)
    throw new CompressionError('INPUT_CHECKSUM', `The store gave bytes with SHA-256 ${found}, expected ${sha256}`);
}
