import type { Readable } from 'node:stream';
import type { ObjectInfo, ObjectStore, PutCondition, PutResult } from '../../src/storage/object-store.ts';

export class Crash extends Error {}

/**
 * A store as a process sees it that dies at its `fatal`-th write (put, write, copy or delete), before the write reaches
 * the store or after it, when only the answer is lost. Every call after that fails too: dead processes do nothing.
 */
export class CrashingStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #fatal: number;
  readonly #when: 'before' | 'after';
  writes = 0;
  dead = false;

  constructor(store: ObjectStore, fatal = Infinity, when: 'before' | 'after' = 'before') {
    this.#store = store;
    this.#fatal = fatal;
    this.#when = when;
  }

  get(key: string) {
    return this.#alive(() => this.#store.get(key));
  }
  read(key: string, range?: { readonly start: number; readonly end: number }) {
    return this.#alive(() => this.#store.read(key, range));
  }
  head(key: string) {
    return this.#alive(() => this.#store.head(key));
  }
  list(prefix: string, options?: { readonly after?: string; readonly limit?: number }) {
    return this.#alive(() => this.#store.list(prefix, options));
  }
  presign(key: string, options: { readonly expiresSeconds: number }) {
    return this.#alive(() => this.#store.presign(key, options));
  }
  put(key: string, body: Uint8Array, condition?: PutCondition): Promise<PutResult> {
    return this.#write(() => this.#store.put(key, body, condition));
  }
  write(key: string, body: Readable): Promise<ObjectInfo> {
    return this.#write(() => this.#store.write(key, body));
  }
  copy(from: string, to: string): Promise<void> {
    return this.#write(() => this.#store.copy(from, to));
  }
  delete(key: string): Promise<void> {
    return this.#write(() => this.#store.delete(key));
  }
  close(): Promise<void> {
    return Promise.resolve();
  }

  async #alive<T>(work: () => Promise<T>): Promise<T> {
    if (this.dead) throw new Crash('the process is dead');
    return work();
  }

  async #write<T>(work: () => Promise<T>): Promise<T> {
    if (this.dead) throw new Crash('the process is dead');
    this.writes += 1;
    if (this.writes !== this.#fatal) return work();
    this.dead = true;
    if (this.#when === 'after') await work();
    throw new Crash(`died at write ${this.writes}`);
  }
}
