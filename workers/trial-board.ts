import { join } from 'node:path';
import { canonicalJson } from '../src/canonical-json.ts';
import { CompressionError } from '../src/errors.ts';
import { loadModel } from '../src/onnx/codec/load.ts';
import type { Model } from '../src/onnx/model.ts';
import type { TrialRunner } from '../src/passes/trials.ts';
import type { TrialEntry, TrialLog, TrialResult, TrialSpec } from '../src/schemas/trial.ts';

/** Folder of the models that were asked for: `trials/<index>/model.onnx`. */
export const TRIALS_FOLDER = 'trials';

/** Ends an attempt that cannot go on before trials have ended. Not an error of the job. */
export class TrialsWanted extends Error {
  readonly log: TrialLog;

  constructor(log: TrialLog) {
    super('the search waits for trials');
    this.log = log;
  }
}

/** The trials of a search as its step sees them: from the log that the attempt began with. */
export class TrialBoard implements TrialRunner {
  readonly concluding: boolean;
  readonly #entries: TrialEntry[];
  readonly #places: Map<string, number>;
  readonly #directory: string;

  constructor(log: TrialLog, options: { readonly directory: string; readonly concluding: boolean }) {
    this.concluding = options.concluding;
    this.#directory = options.directory;
    this.#entries = [...log.entries];
    this.#places = new Map(log.entries.map((entry, index) => [keyOf(entry.spec), index]));
  }

  run(specs: readonly TrialSpec[]): Promise<readonly (TrialResult | undefined)[]> {
    const results = specs.map((spec) => this.#entryOf(spec)?.result);
    if (this.concluding || results.every((result) => result !== undefined)) return Promise.resolve(results);
    for (const spec of specs) this.#add(spec);
    throw new TrialsWanted({ version: 1, entries: this.#entries });
  }

  async models(specs: readonly TrialSpec[]): Promise<readonly Model[]> {
    const places = specs.map((spec) => this.#places.get(keyOf(spec)));
    const known = places.filter((place) => place !== undefined);
    if (known.length < specs.length) throw new CompressionError('INTERNAL', 'a model of a trial that was never run');
    if (known.some((place) => this.#entries[place]?.fetch !== true)) {
      // What was asked for before stays: the step asks for it again on its way here.
      for (const place of known) {
        const entry = this.#entries[place];
        if (entry !== undefined) this.#entries[place] = { ...entry, fetch: true };
      }
      throw new TrialsWanted({ version: 1, entries: this.#entries });
    }
    return Promise.all(
      known.map((place) => loadModel(join(this.#directory, TRIALS_FOLDER, String(place), 'model.onnx'))),
    );
  }

  #entryOf(spec: TrialSpec): TrialEntry | undefined {
    const place = this.#places.get(keyOf(spec));
    return place === undefined ? undefined : this.#entries[place];
  }

  #add(spec: TrialSpec): void {
    const key = keyOf(spec);
    if (this.#places.has(key)) return;
    this.#places.set(key, this.#entries.length);
    this.#entries.push({ spec });
  }
}

/** Whatever order the schemas put the fields into when a log is read. */
function keyOf({ model, recipe, measure, seed, evaluationSamples }: TrialSpec): string {
  return canonicalJson({ model, recipe, measure, seed, evaluationSamples: evaluationSamples ?? null });
}
