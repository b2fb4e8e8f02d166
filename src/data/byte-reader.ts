import { crc32 } from 'node:zlib';

/** Reads exact lengths from a stream of chunks, and keeps the CRC-32 of all that passed. */
export class ByteReader {
  /** Bytes taken so far. */
  position = 0;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);
  #offset = 0;
  #crc = 0;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** CRC-32 of the bytes taken so far. */
  get crc(): number {
    return this.#crc;
  }

  /** Fills `target`; returns how many bytes there were, less than its length only at the end of the stream. */
  async readInto(target: Uint8Array): Promise<number> {
    let done = 0;
    while (done < target.length) {
      const part = await this.#take(target.length - done);
      if (part === undefined) break;
      target.set(part, done);
      done += part.length;
    }
    return done;
  }

  /** Passes over `count` bytes; returns how many there were. */
  async skip(count: number): Promise<number> {
    let done = 0;
    while (done < count) {
      const part = await this.#take(count - done);
      if (part === undefined) break;
      done += part.length;
    }
    return done;
  }

  /** True when nothing is left. */
  async atEnd(): Promise<boolean> {
    return !(await this.#fill());
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  async #fill(): Promise<boolean> {
    while (this.#offset === this.#chunk.length) {
      const next = await this.#chunks.next();
      if (next.done === true) return false;
      this.#chunk = next.value;
      this.#offset = 0;
    }
    return true;
  }

  async #take(most: number): Promise<Uint8Array | undefined> {
    if (!(await this.#fill())) return undefined;
    const part = this.#chunk.subarray(this.#offset, Math.min(this.#chunk.length, this.#offset + most));
    this.#offset += part.length;
    this.position += part.length;
    this.#crc = crc32(part, this.#crc);
    return part;
  }
}
