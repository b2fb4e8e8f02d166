import type { Readable } from 'node:stream';

/** An object in somebody's bucket, from which a model or data set is taken. */
export interface SourceObject {
  readonly bytes: number;
  /** Streams exactly the version that was looked up. @throws CompressionError INPUT_CHANGED */
  open(): Promise<Readable>;
}

export interface SourceReader {
  /**
   * @param url - s3://bucket/key
   * @throws CompressionError SOURCE_DENIED (bucket not allowed), INPUT_NOT_FOUND, INPUT_DENIED, OBJECT_STORE_UNAVAILABLE
   */
  lookUp(url: string): Promise<SourceObject>;
}
