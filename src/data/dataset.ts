import type { DataType } from '../onnx/data-type.ts';
import type { NdArray } from '../onnx/nd-array.ts';

/** What is known of a data set after its headers were read. */
export interface DatasetInfo {
  readonly kind: 'npz' | 'npy' | 'zip-images' | 'tar-images' | 'parquet';
  readonly samples: number;
  /** npz, npy, parquet: the named arrays; first axis is the sample. */
  readonly arrays?: readonly { readonly name: string; readonly type: DataType; readonly shape: readonly number[] }[];
  /** Image folders: class names, sorted; the label is the index. */
  readonly classes?: readonly string[];
  /** The array that is decoded from encoded images (not among `arrays`: height and width are known when it is read). */
  readonly images?: string;
  /** Entries of an archive that are neither images nor folders: read by nobody. */
  readonly ignoredEntries?: number;
}

/** How encoded images are decoded. Without `resize` all must have one size. */
export interface ImageRequest {
  readonly channels: 1 | 3;
  readonly resize?: ImageSize;
}

export interface ImageSize {
  readonly height: number;
  readonly width: number;
  readonly fit: 'fill' | 'cover' | 'contain';
}

/** A stretch of samples: each array has the sample axis first. Image sets give `images` (uint8 NHWC) and `labels` (int64). */
export interface Batch {
  readonly from: number;
  readonly count: number;
  readonly arrays: Readonly<Record<string, NdArray>>;
}

export interface BatchOptions {
  /** Samples [from, to); default all. */
  readonly from?: number;
  readonly to?: number;
  readonly batchSize: number;
  /** Only these arrays; default all. */
  readonly names?: readonly string[];
  /** For `info.images`; default three channels, no resizing. */
  readonly images?: ImageRequest;
}

/**
 * What reading a part costs. `sequential`: as much as reading all before it (compressed arrays). `groups`: as much as
 * reading the groups it touches, which begin at these samples (row groups of Parquet).
 */
export type DatasetAccess = 'sequential' | { readonly groups: readonly number[] };

/** A data set on disk. Batches stream: at no time is the whole set in memory twice. */
export interface Dataset {
  readonly info: DatasetInfo;
  /** Undefined: a part costs what it holds. */
  readonly access?: DatasetAccess;
  batches(options: BatchOptions): AsyncIterable<Batch>;
  close(): Promise<void>;
}
