import type { ObjectStore } from '../src/storage/object-store.ts';

/** Most log a job may keep; the middle is cut, the beginning and the end stay. */
const MAX_LOG_BYTES = 4 * 2 ** 20;
const MAX_MESSAGE_LENGTH = 4000;

/** The run's JSON lines. Kept in memory, written whole to the store at each flush that has news. */
export class JobLog {
  readonly #store: ObjectStore;
  readonly #key: string;
  readonly #now: () => number;
  readonly #lines: string[] = [];
  #bytes = 0;
  #cut = 0;
  #dirty = false;

  constructor(store: ObjectStore, key: string, now: () => number) {
    this.#store = store;
    this.#key = key;
    this.#now = now;
  }

  add(level: string, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    const line = JSON.stringify({
      time: new Date(this.#now()).toISOString(),
      level,
      message: message.slice(0, MAX_MESSAGE_LENGTH),
      ...fields,
    });
    this.#lines.push(line);
    this.#bytes += line.length + 1;
    while (this.#bytes > MAX_LOG_BYTES && this.#lines.length > 2) {
      const [removed] = this.#lines.splice(Math.floor(this.#lines.length / 2), 1);
      this.#bytes -= (removed?.length ?? 0) + 1;
      this.#cut += 1;
    }
    this.#dirty = true;
  }

  async flush(): Promise<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    const lines = [...this.#lines];
    if (this.#cut > 0)
      lines.splice(
        Math.floor(lines.length / 2),
        0,
        JSON.stringify({ level: 'warn', message: `${this.#cut} lines cut` }),
      );
    await this.#store.put(this.#key, Buffer.from(`${lines.join('\n')}\n`, 'utf8'));
  }
}
