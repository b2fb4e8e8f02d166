import { open, type FileHandle } from 'node:fs/promises';
import { CompressionError } from '../errors.ts';

const CHUNK_BYTES = 256 * 1024;

/** A file read by position; the one way this folder touches bytes on disk. */
export class RandomAccessFile {
  readonly size: number;
  readonly fd: number;
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle, size: number) {
    this.#handle = handle;
    this.fd = handle.fd;
    this.size = size;
  }

  static async open(path: string): Promise<RandomAccessFile> {
    return RandomAccessFile.of(await open(path, 'r'));
  }

  /** Takes the handle over: `close` closes it. */
  static async of(handle: FileHandle): Promise<RandomAccessFile> {
    try {
      return new RandomAccessFile(handle, (await handle.stat()).size);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Fills `target` from `position`. @throws CompressionError DATASET_PARSE when the file ends before */
  async readInto(target: Uint8Array, position: number): Promise<void> {
    let done = 0;
    while (done < target.length) {
      const { bytesRead } = await this.#handle.read(target, done, target.length - done, position + done);
      if (bytesRead === 0) {
        throw new CompressionError(
          'DATASET_PARSE',
          `The file ends at byte ${this.size}, ${target.length} bytes were expected at ${position}; it is cut short: upload it again`,
        );
      }
      done += bytesRead;
    }
  }

  /** Up to `length` bytes at `position`; fewer at the end of the file. */
  async read(position: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.size - position)));
    await this.readInto(bytes, position);
    return bytes;
  }

  /** The bytes [start, end) in chunks. */
  async *stream(start: number, end: number): AsyncGenerator<Uint8Array, void, undefined> {
    for (let position = start; position < end;) {
      const chunk = new Uint8Array(Math.min(CHUNK_BYTES, end - position));
      await this.readInto(chunk, position);
      position += chunk.length;
      yield chunk;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
