import { z } from 'zod';
import { TrainingRunReport } from '../../schemas/training-report.ts';
import { parseJsonHeader } from '../../training/json-header.ts';
import type { StepCheckpoint } from '../pass.ts';

const Result = z.object({ metric: z.enum(['top1', 'rmse']), value: z.number(), samples: z.number() });

/** What is kept of the twin that was trained without the teacher. */
const Alone = z.object({
  run: TrainingRunReport,
  warnings: z.array(z.string()),
  result: Result.optional(),
  /** Base64 of one byte a sample; see `Measured`. */
  correct: z.string().optional(),
});
export type Alone = z.output<typeof Alone>;

const Header = z.object({ version: z.literal(2), key: z.string(), alone: Alone.optional() });

/**
 * The step's own state over its two runs, the twin's and the student's: a header (length as uint32, JSON) and the
 * snapshot of the run at work.
 */
export class Phases {
  readonly #step: StepCheckpoint;
  readonly #key: string;
  #alone: Alone | undefined;
  #snapshot: Uint8Array | undefined;

  private constructor(step: StepCheckpoint, key: string) {
    this.#step = step;
    this.#key = key;
  }

  /** @param key - says what step this is; what another one saved is not taken up */
  static async open(step: StepCheckpoint, key: string): Promise<Phases> {
    const phases = new Phases(step, key);
    const saved = await step.load();
    if (saved !== undefined) phases.#restore(saved);
    return phases;
  }

  /** The twin's results, once its run is over. */
  get alone(): Alone | undefined {
    return this.#alone;
  }

  /** Of the run at work. */
  get snapshot(): Uint8Array | undefined {
    return this.#snapshot;
  }

  async save(snapshot: Uint8Array): Promise<void> {
    const header: z.input<typeof Header> = {
      version: 2,
      key: this.#key,
      ...(this.#alone === undefined ? {} : { alone: this.#alone }),
    };
    const text = new TextEncoder().encode(JSON.stringify(header));
    const bytes = new Uint8Array(4 + text.length + snapshot.length);
    new DataView(bytes.buffer).setUint32(0, text.length, true);
    bytes.set(text, 4);
    bytes.set(snapshot, 4 + text.length);
    await this.#step.save(bytes);
  }

  async finishAlone(alone: Alone): Promise<void> {
    this.#alone = alone;
    this.#snapshot = undefined;
    await this.save(new Uint8Array(0));
  }

  #restore(bytes: Uint8Array): void {
    if (bytes.length < 4) return;
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    const header = parseJsonHeader(Header, bytes.subarray(4, 4 + length));
    if (header?.key !== this.#key) return;
    this.#alone = header.alone;
    const rest = bytes.subarray(4 + length);
    this.#snapshot = rest.length === 0 ? undefined : rest;
  }
}
