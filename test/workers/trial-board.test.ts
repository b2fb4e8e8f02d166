import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TrialLog, TrialSpec } from '../../src/schemas/trial.ts';
import { TrialBoard, TrialsWanted } from '../../workers/trial-board.ts';

const specOf = (seed: number): TrialSpec => ({
  model: 'mdl_00000000000000000000000000000000',
  recipe: { version: 1, steps: [{ pass: 'canonicalize' }] },
  measure: 'light',
  seed,
});

describe('TrialBoard', () => {
  it('keeps asking for models that were asked for before: a step that needs two lots comes to its end', async () => {
    const log: TrialLog = {
      version: 1,
      entries: [1, 2].map((seed) => ({ spec: specOf(seed), result: { status: 'succeeded' } })),
    };
    const wanted = async (from: TrialLog, seed: number): Promise<TrialLog> => {
      const board = new TrialBoard(from, { directory: '/nowhere', concluding: false });
      try {
        await board.models([specOf(seed)]);
      } catch (error) {
        assert.ok(error instanceof TrialsWanted);
        return error.log;
      }
      return assert.fail('was not asked for');
    };
    const both = await wanted(await wanted(log, 1), 2);
    assert.deepEqual(
      both.entries.map(({ fetch }) => fetch),
      [true, true],
    );
  });
});
