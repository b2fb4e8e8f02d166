import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chooseOperations } from '../../../../src/passes/search/darts/choose-operations.ts';

const PROBABILITIES = [
  [0.5, 0.3, 0.2],
  [0.1, 0.9],
  [0.4, 0.35, 0.25],
];

describe('chooseOperations', () => {
  it('takes the most probable operation of each place when nothing is in the way', () => {
    assert.deepEqual(
      chooseOperations(PROBABILITIES, () => true),
      { operations: [0, 1, 0], refused: 0 },
    );
  });

  it('goes through all combinations by falling probability', () => {
    const seen: number[] = [];
    const none = chooseOperations(PROBABILITIES, (operations) => {
      seen.push(
        operations.reduce((product, operation, place) => product * (PROBABILITIES[place]?.[operation] ?? 0), 1),
      );
      return false;
    });
    assert.equal(none, undefined);
    assert.equal(seen.length, 18);
    assert.deepEqual(
      seen,
      seen.toSorted((a, b) => b - a),
    );
  });

  it('takes the most probable one that is accepted', () => {
    const choice = chooseOperations(PROBABILITIES, ([first]) => first === 2);
    // [2, 1, 0] has 0.072; ahead of it, with 0.9 at the second place, are 0.18, 0.1575, 0.1125 and 0.108, 0.0945.
    assert.deepEqual(choice, { operations: [2, 1, 0], refused: 5 });
  });
});
