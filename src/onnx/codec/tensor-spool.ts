import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { CompressionError, messageOf } from '../../errors.ts';
import type { ExternalFile, TensorStorage } from '../tensor.ts';

/**
 * A file that new tensors are written into as they are made, so that a model's weights can be replaced one by one in
 * constant memory. The tensors read from it until it is removed: write the model first.
 */
export class TensorSpool {
  readonly #path: string;
  #descriptor: number | undefined;
  readonly #file: ExternalFile;
  #byteLength = 0;

  /** @param path - is written over, when the first tensor comes */
  constructor(path: string) {
    this.#path = path;
    const read = (target: Uint8Array, offset: number): void => {
      for (let done = 0; done < target.byteLength;) {
        const got = readSync(this.#open(), target, done, target.byteLength - done, offset + done);
        if (got === 0) throw new CompressionError('INTERNAL', `the tensor spool ends before byte ${offset + done}`);
        done += got;
      }
    };
    const length = (): number => this.#byteLength;
    this.#file = {
      location: 'spool',
      get byteLength() {
        return length();
      },
      read(offset, size) {
        const bytes = new Uint8Array(size);
        read(bytes, offset);
        return bytes;
      },
      readInto(target, offset, piece = { length: target.byteLength, stride: 0 }) {
        for (let at = 0, from = offset; at < target.byteLength; at += piece.length, from += piece.stride) {
          read(target.subarray(at, at + piece.length), from);
        }
      },
    };
  }

  /**
   * @returns where the bytes lie now
   * @throws CompressionError DISK_FULL, INTERNAL
   */
  append(bytes: Uint8Array): number {
    const offset = this.#byteLength;
    try {
      for (let done = 0; done < bytes.byteLength;) {
        done += writeSync(this.#open(), bytes, done, bytes.byteLength - done, offset + done);
      }
    } catch (error) {
      const isFull = error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
      throw new CompressionError(
        isFull ? 'DISK_FULL' : 'INTERNAL',
        `the tensor spool cannot be written: ${messageOf(error)}`,
        { cause: error },
      );
    }
    this.#byteLength += bytes.byteLength;
    return offset;
  }

  /** @param offset - as `append` gave it */
  storage(offset: number, byteLength: number): TensorStorage {
    return { kind: 'external', file: this.#file, offset, byteLength };
  }

  /** Closes and removes the file, where there is one. */
  remove(): void {
    if (this.#descriptor === undefined) return;
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
    rmSync(this.#path, { force: true });
  }

  #open(): number {
    this.#descriptor ??= openSync(this.#path, 'w+');
    return this.#descriptor;
  }
}
