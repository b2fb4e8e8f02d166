import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { maximinOfSeen } from '../../src/search/maximin.ts';
import { dominates } from '../../src/search/pareto.ts';

const ofAll = (points: readonly (readonly number[])[]): number[] => {
  const fitness = maximinOfSeen();
  return points.map((point) => fitness(point));
};

describe('maximin fitness of the points seen', () => {
  it('is how far a point lies behind the front, or before it, in shares of the ranges', () => {
    assert.deepEqual(
      ofAll([
        [0, 100],
        [10, 0],
        [5, 50], // between the two: half a range better than either in one objective
        [6, 70], // 0.1 and 0.2 behind the third
        [5, 50], // found before
        [5, 20], // 0.3 better than the third in one objective, and no worse in the other
      ]),
      [0, -1, -0.5, 0.1, 0, -0.3],
    );
  });

  it('passes over an objective that was always the same', () => {
    assert.deepEqual(
      ofAll([
        [3, 1],
        [3, 5],
        [3, 0],
      ]),
      [0, 1, -0.2],
    );
    assert.deepEqual(
      ofAll([
        [3, 1],
        [3, 1],
      ]),
      [0, 0],
    );
  });

  it('is above 0 only for what was dominated, below 0 only for what was not', () => {
    const coordinate = fc.integer({ min: 0, max: 6 });
    fc.assert(
      fc.property(
        fc.array(fc.array(coordinate, { minLength: 3, maxLength: 3 }), { minLength: 1, maxLength: 30 }),
        (points) => {
          ofAll(points).forEach((fitness, i) => {
            const behind = points
              .slice(0, i)
              .some((other) =>
                dominates({ objectives: other, violation: 0 }, { objectives: points[i] ?? [], violation: 0 }),
              );
            if (fitness > 0) assert.ok(behind);
            if (fitness < 0) assert.ok(!behind);
          });
        },
      ),
    );
  });
});
