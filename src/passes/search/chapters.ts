import { z } from 'zod';
import { parseJsonHeader } from '../../training/json-header.ts';
import type { StepCheckpoint } from '../pass.ts';

const Header = z.object({
  version: z.literal(1),
  key: z.string(),
  finished: z.array(z.object({ name: z.string(), data: z.unknown(), bytes: z.number().int().min(0) })),
  /** The chapter at work, when it has saved something. */
  current: z.string().optional(),
});

/** A chapter that is over. */
export interface Chapter {
  /** JSON. */
  readonly data: unknown;
  readonly bytes: Uint8Array;
}

/**
 * The state of a step that does several things one after the other: what each of those that are over came to, and what the
 * one at work has saved. A search that has to conclude makes a result of any such state. As bytes: length of the header (uint32), the header as JSON, the chapters' bytes, what is saved.
 */
export class Chapters {
  readonly #step: StepCheckpoint;
  readonly #key: string;
  readonly #finished = new Map<string, Chapter>();
  #current: { readonly name: string; readonly bytes: Uint8Array } | undefined;

  private constructor(step: StepCheckpoint, key: string) {
    this.#step = step;
    this.#key = key;
  }

  /** @param key - says what step this is; what another one saved is not taken up */
  static async open(step: StepCheckpoint, key: string): Promise<Chapters> {
    const chapters = new Chapters(step, key);
    const saved = await step.load();
    if (saved !== undefined) chapters.#restore(saved);
    return chapters;
  }

  /** Undefined while the chapter is not over. */
  get(name: string): Chapter | undefined {
    return this.#finished.get(name);
  }

  /** The chapter is at work and has saved something. */
  hasBegun(name: string): boolean {
    return this.#current?.name === name;
  }

  /** @param bytes - where there are some, those of earlier chapters are no longer kept */
  async finish(name: string, data: unknown, bytes: Uint8Array = new Uint8Array(0)): Promise<Chapter> {
    if (bytes.length > 0) {
      for (const [other, chapter] of this.#finished)
        this.#finished.set(other, { ...chapter, bytes: new Uint8Array(0) });
    }
    const chapter = { data, bytes };
    this.#finished.set(name, chapter);
    this.#current = undefined;
    await this.#save();
    return chapter;
  }

  /** What the work in a chapter saves and loads. */
  checkpointOf(name: string): StepCheckpoint {
    const { everySeconds } = this.#step;
    return {
      ...(everySeconds === undefined ? {} : { everySeconds }),
      load: () => Promise.resolve(this.#current?.name === name ? this.#current.bytes : undefined),
      save: (bytes) => {
        this.#current = { name, bytes };
        return this.#save();
      },
    };
  }

  async #save(): Promise<void> {
    const finished = [...this.#finished].map(([name, { data, bytes }]) => ({ name, data, bytes: bytes.length }));
    const header: z.input<typeof Header> = {
      version: 1,
      key: this.#key,
      finished,
      ...(this.#current === undefined ? {} : { current: this.#current.name }),
    };
    const text = new TextEncoder().encode(JSON.stringify(header));
    const parts = [
      ...[...this.#finished.values()].map(({ bytes }) => bytes),
      this.#current?.bytes ?? new Uint8Array(0),
    ];
    const length = parts.reduce((sum, part) => sum + part.length, 4 + text.length);
    const all = new Uint8Array(length);
    new DataView(all.buffer).setUint32(0, text.length, true);
    all.set(text, 4);
    let at = 4 + text.length;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    // Whatever has been trained or measured by then.
    await this.#step.save(all, true);
  }

  #restore(bytes: Uint8Array): void {
    if (bytes.length < 4) return;
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    const header = parseJsonHeader(Header, bytes.subarray(4, 4 + length));
    if (header?.key !== this.#key) return;
    let at = 4 + length;
    for (const { name, data, bytes: size } of header.finished) {
      this.#finished.set(name, { data, bytes: bytes.slice(at, at + size) });
      at += size;
    }
    if (header.current !== undefined) this.#current = { name: header.current, bytes: bytes.slice(at) };
  }
}
