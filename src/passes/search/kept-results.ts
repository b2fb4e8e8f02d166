import { z } from 'zod';
import { canonicalJson } from '../../canonical-json.ts';
import { TrialResult, type TrialSpec } from '../../schemas/trial.ts';
import type { StepCheckpoint } from '../pass.ts';

const Kept = z.array(z.tuple([z.string(), TrialResult]));

/** What candidates measured within the step came to, kept for an attempt that goes on. */
export class KeptResults {
  readonly #checkpoint: StepCheckpoint;
  readonly #results: Map<string, TrialResult>;
  #changed = false;
  #lastSave = performance.now();

  private constructor(checkpoint: StepCheckpoint, results: ReadonlyMap<string, TrialResult>) {
    this.#checkpoint = checkpoint;
    this.#results = new Map(results);
  }

  /**
   * Goes on with what an earlier attempt had measured.
   *
   * @param known - what `all` gave when everything had been measured; absent: what the checkpoint has
   */
  static async open(checkpoint: StepCheckpoint, known?: unknown): Promise<KeptResults> {
    if (known !== undefined) return new KeptResults(checkpoint, new Map(Kept.parse(known)));
    const saved = await checkpoint.load();
    const kept = saved === undefined ? [] : Kept.parse(JSON.parse(new TextDecoder().decode(saved)));
    return new KeptResults(checkpoint, new Map(kept));
  }

  /** Everything measured so far, as JSON. */
  get all(): z.output<typeof Kept> {
    return [...this.#results];
  }

  /**
   * Results in the order of the specs, measured where they are not known.
   *
   * @param measure - undefined, as what it gives: nothing more is measured
   */
  async of(
    specs: readonly TrialSpec[],
    measure: ((spec: TrialSpec) => Promise<TrialResult> | undefined) | undefined,
  ): Promise<readonly (TrialResult | undefined)[]> {
    const results: (TrialResult | undefined)[] = [];
    for (const spec of specs) {
      const key = canonicalJson([spec.model, spec.evaluationSamples ?? null]);
      let result = this.#results.get(key);
      if (result === undefined && measure !== undefined) {
        result = await measure(spec);
        if (result !== undefined) {
          this.#results.set(key, result);
          this.#changed = true;
        }
        await this.#saveWhenDue();
      }
      results.push(result);
    }
    if (this.#changed) await this.#save();
    return results;
  }

  /** In the midst of a batch, so that a long one is not lost. */
  async #saveWhenDue(): Promise<void> {
    const { everySeconds } = this.#checkpoint;
    if (!this.#changed || everySeconds === undefined) return;
    if (performance.now() - this.#lastSave >= everySeconds * 1000) await this.#save();
  }

  async #save(): Promise<void> {
    await this.#checkpoint.save(new TextEncoder().encode(JSON.stringify(this.all)));
    this.#changed = false;
    this.#lastSave = performance.now();
  }
}
