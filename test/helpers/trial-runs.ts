import type { TrialRunner } from '../../src/passes/trials.ts';
import type { TrialLog, TrialResult, TrialSpec } from '../../src/schemas/trial.ts';
import { TrialBoard, TrialsWanted } from '../../workers/trial-board.ts';

/**
 * Runs a search as jobs do: attempt after attempt, each from the log of the one before, until one gets to its end.
 *
 * @param work - what one attempt does
 * @param resultOf - what a trial comes to; undefined: it has not ended, and the search has to conclude
 */
export async function runWithTrials<T>(
  work: (trials: TrialRunner) => Promise<T>,
  resultOf: (spec: TrialSpec, index: number) => TrialResult | undefined,
  start: TrialLog = { version: 1, entries: [] },
): Promise<{ readonly result: T; readonly log: TrialLog; readonly attempts: number }> {
  let log = start;
  let concluding = false;
  for (let attempts = 1; ; attempts++) {
    try {
      // As it comes out of the store.
      const stored = JSON.parse(JSON.stringify(log)) as TrialLog;
      return { result: await work(new TrialBoard(stored, { directory: '/nowhere', concluding })), log, attempts };
    } catch (error) {
      if (!(error instanceof TrialsWanted)) throw error;
      const entries = error.log.entries.map((entry, index) => {
        const result = entry.result ?? resultOf(entry.spec, index);
        concluding ||= result === undefined;
        return result === undefined ? entry : { ...entry, result };
      });
      log = { version: 1, entries };
    }
  }
}
