import { z } from 'zod';
import { TrainingRunReport } from '../../../schemas/training-report.ts';
import { parseJsonHeader } from '../../../training/json-header.ts';
import type { StepCheckpoint } from '../../pass.ts';

const VERSION = 1;
/** The arrays begin at a multiple of this. */
const ALIGNMENT = 64;

/** What a step has come to, counted from the model before the first. */
const StepRecord = z.object({
  step: z.number().int().min(1),
  removedChannels: z.number().int().min(0),
  macsShare: z.number(),
  parametersShare: z.number(),
});
export type StepRecord = z.output<typeof StepRecord>;

const Header = z.object({
  version: z.literal(VERSION),
  key: z.string(),
  done: z.number().int().min(0),
  removed: z.array(z.array(z.number().int().min(0))),
  records: z.array(StepRecord),
  runs: z.array(TrainingRunReport),
  warnings: z.array(z.string()),
  /** Name and length of each array, in the order of the data. */
  weights: z.array(z.tuple([z.string(), z.number().int().min(0)])),
});

/** What earlier steps have come to. */
export interface StepState {
  /** Steps that are over, training and all. */
  readonly done: number;
  /** Indices of the channels that are gone, by group. */
  readonly removed: readonly (readonly number[])[];
  readonly records: readonly StepRecord[];
  readonly runs: readonly TrainingRunReport[];
  readonly warnings: readonly string[];
  /** Trained initializers in the size they had before the first step. */
  readonly weights: ReadonlyMap<string, Float32Array>;
}

/**
 * The checkpoint of a pruning that trains between its steps: what came of the steps that are over, and the snapshot of the
 * training under way. As bytes: length of the header (uint32), the header as JSON, padding, the arrays, the snapshot.
 */
export class StepStates {
  readonly #step: StepCheckpoint;
  readonly #key: string;
  #state: StepState | undefined;
  #snapshot: Uint8Array | undefined;

  private constructor(step: StepCheckpoint, key: string) {
    this.#step = step;
    this.#key = key;
  }

  /** @param key - says what pruning this is; what another one saved is not taken up */
  static async open(step: StepCheckpoint, key: string): Promise<StepStates> {
    const states = new StepStates(step, key);
    const saved = await step.load();
    if (saved !== undefined) states.#restore(saved);
    return states;
  }

  /** What an earlier attempt had come to. */
  get state(): StepState | undefined {
    return this.#state;
  }

  /** A step is over, with its training. */
  async finish(state: StepState): Promise<void> {
    this.#state = state;
    this.#snapshot = undefined;
    await this.#save(new Uint8Array(0));
  }

  /** For the training of the step that follows `state`. */
  training(state: StepState): StepCheckpoint {
    this.#state = state;
    const { everySeconds } = this.#step;
    return {
      ...(everySeconds === undefined ? {} : { everySeconds }),
      load: () => Promise.resolve(this.#snapshot),
      save: (snapshot) => this.#save(snapshot),
    };
  }

  async #save(snapshot: Uint8Array): Promise<void> {
    const state = this.#state;
    if (state === undefined) return;
    const { weights, ...rest } = state;
    const header = {
      version: VERSION,
      key: this.#key,
      ...rest,
      weights: [...weights].map(([name, { length }]) => [name, length]),
    };
    const text = new TextEncoder().encode(JSON.stringify(header));
    let at = aligned(4 + text.length);
    const total = [...weights.values()].reduce((sum, { byteLength }) => sum + byteLength, at) + snapshot.length;
    const bytes = new Uint8Array(total);
    new DataView(bytes.buffer).setUint32(0, text.length, true);
    bytes.set(text, 4);
    for (const { buffer, byteOffset, byteLength } of weights.values()) {
      bytes.set(new Uint8Array(buffer, byteOffset, byteLength), at);
      at += byteLength;
    }
    bytes.set(snapshot, at);
    await this.#step.save(bytes);
  }

  #restore(bytes: Uint8Array): void {
    if (bytes.length < 4) return;
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    const header = parseJsonHeader(Header, bytes.subarray(4, 4 + length));
    if (header?.key !== this.#key) return;
    const { done, removed, records, runs, warnings } = header;
    let at = aligned(4 + length);
    const weights = new Map<string, Float32Array>();
    for (const [name, count] of header.weights) {
      // A copy: the bytes may lie at any offset.
      const part = Uint8Array.prototype.slice.call(bytes, at, at + 4 * count);
      weights.set(name, new Float32Array(part.buffer, part.byteOffset, count));
      at += 4 * count;
    }
    this.#state = { done, removed, records, runs, warnings, weights };
    this.#snapshot = at === bytes.length ? undefined : bytes.subarray(at);
  }
}

function aligned(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}
