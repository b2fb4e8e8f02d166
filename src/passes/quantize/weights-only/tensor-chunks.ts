import type { TensorSpool } from '../../../onnx/codec/tensor-spool.ts';
import type { TensorStorage } from '../../../onnx/tensor.ts';

/** The bytes of one new tensor, in order: kept in memory, or in a spool where there is one. One tensor at a time. */
export class TensorChunks {
  readonly #spool: TensorSpool | undefined;
  readonly #chunks: Uint8Array[] = [];
  #offset: number | undefined;
  #byteLength = 0;

  constructor(spool: TensorSpool | undefined) {
    this.#spool = spool;
  }

  add(bytes: Uint8Array): void {
    this.#byteLength += bytes.byteLength;
    if (this.#spool === undefined) {
      this.#chunks.push(bytes);
      return;
    }
    const offset = this.#spool.append(bytes);
    this.#offset ??= offset;
  }

  finish(): TensorStorage {
    if (this.#spool !== undefined) return this.#spool.storage(this.#offset ?? 0, this.#byteLength);
    const [only, ...more] = this.#chunks;
    if (only !== undefined && more.length === 0) return { kind: 'bytes', bytes: only };
    const bytes = new Uint8Array(this.#byteLength);
    let at = 0;
    for (const chunk of this.#chunks) {
      bytes.set(chunk, at);
      at += chunk.byteLength;
    }
    return { kind: 'bytes', bytes };
  }
}
