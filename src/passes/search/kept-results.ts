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

  private constructor(checkpoint: StepCheckpoint, results: ReadonlyMap<string, TrialResult>) {
    this.#checkpoint = checkpoint;
    this.#results = new Map(results);
  }

  /** Goes on with what an earlier attempt had measured. */
  static async open(checkpoint: StepCheckpoint): Promise<KeptResults> {
    const saved = await checkpoint.load();
    const kept = saved === undefined ? [] : Kept.parse(JSON.parse(new TextDecoder().decode(saved)));
    return new KeptResults(checkpoint, new Map(kept));
  }

  /**
   * Results in the order of the specs, measured where they are not known.
   *
   * @param measure - undefined: nothing more is measured
   */
  async of(
    specs: readonly TrialSpec[],
    measure: ((spec: TrialSpec) => Promise<TrialResult>) | undefined,
  ): Promise<readonly (TrialResult | undefined)[]> {
    const results: (TrialResult | undefined)[] = [];
    for (const spec of specs) {
      const key = canonicalJson([spec.model, spec.evaluationSamples ?? null]);
      let result = this.#results.get(key);
      if (result === undefined && measure !== undefined) {
        result = await measure(spec);
        this.#results.set(key, result);
        this.#changed = true;
      }
      results.push(result);
    }
    if (this.#changed) await this.#checkpoint.save(new TextEncoder().encode(JSON.stringify([...this.#results])));
    this.#changed = false;
    return results;
  }
}
