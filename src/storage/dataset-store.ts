import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { z } from 'zod';
import { CompressionError } from '../errors.ts';
import { DatasetResource, type DatasetSummaryField } from '../schemas/dataset.ts';
import { BlobStore } from './blob-store.ts';
import { fetchChecked } from './model-store.ts';
import type { ObjectStore } from './object-store.ts';
import { ResourceIndex } from './resource-index.ts';
import type { SpooledFile } from './spool.ts';

/** The record in the store. `holder` names its hold on the content: each upload has its own. */
const StoredDataset = DatasetResource.extend({ holder: z.string() });
type StoredDataset = z.infer<typeof StoredDataset>;

/** The data sets of each tenant, by content like models. */
export class DatasetStore {
  readonly #blobs: BlobStore;
  readonly #index: ResourceIndex<typeof StoredDataset>;

  constructor(store: ObjectStore) {
    this.#blobs = new BlobStore(store);
    this.#index = new ResourceIndex(store, 'datasets', StoredDataset);
  }

  /** @param inspect - reads the file; called only when the tenant does not have the data set yet */
  async create(
    tenant: string,
    upload: { readonly file: SpooledFile; readonly name: string | null },
    inspect: () => Promise<DatasetSummaryField>,
  ): Promise<{ dataset: StoredDataset; created: boolean }> {
    const { file, name } = upload;
    const id = `dst_${file.sha256.slice(0, 32)}`;
    const existing = await this.get(tenant, id);
    if (existing !== undefined) return { dataset: existing, created: false };
    const summary = await inspect();
    const holder = `${tenant}/${id}/${randomUUID()}`;
    await this.#blobs.hold(file.sha256, holder, file);
    const { record, created } = await this.#index.create(tenant, {
      id,
      name,
      sha256: file.sha256,
      bytes: file.bytes,
      ...summary,
      createdAt: new Date().toISOString(),
      holder,
    });
    if (record.holder !== holder) await this.#blobs.release(file.sha256, holder);
    return { dataset: record, created };
  }

  async get(tenant: string, id: string): Promise<StoredDataset | undefined> {
    return this.#index.get(tenant, id);
  }

  async list(tenant: string, query: { readonly limit: number; readonly cursor?: string | undefined }) {
    return this.#index.list(tenant, query);
  }

  async read(dataset: DatasetResource, range?: { readonly start: number; readonly end: number }): Promise<Readable> {
    const stream = await this.#blobs.read(dataset.sha256, range);
    if (stream === undefined)
      throw new CompressionError('INPUT_NOT_FOUND', `Data set ${dataset.id} has lost its bytes`);
    return stream;
  }

  async remove(tenant: string, dataset: StoredDataset): Promise<void> {
    await this.#index.remove(tenant, dataset);
    await this.#blobs.release(dataset.sha256, dataset.holder);
  }

  /**
   * Puts the data set at `path` for a job child.
   *
   * @throws CompressionError INPUT_NOT_FOUND when the tenant has no such data set, INPUT_CHECKSUM when bytes differ
   */
  async materialize(tenant: string, id: string, path: string): Promise<DatasetResource> {
    const dataset = await this.get(tenant, id);
    if (dataset === undefined) throw new CompressionError('INPUT_NOT_FOUND', `Data set ${id} is not there any more`);
    await fetchChecked(await this.read(dataset), path, dataset.sha256);
    return dataset;
  }
}
