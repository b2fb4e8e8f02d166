import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { hypervolume } from '../../src/search/hypervolume.ts';

describe('hypervolume', () => {
  it('of two objectives, by hand', () => {
    const points = [
      [1, 3],
      [2, 2],
      [2, 3],
      [3, 1],
      [5, 0],
      [1, 3],
    ];
    // 3 x 1 + 2 x 1 + 1 x 1 up to (4, 4); (5, 0) lies outside.
    assert.equal(hypervolume(points, [4, 4]), 6);
    assert.equal(hypervolume([], [4, 4]), 0);
  });

  it('of three objectives, by inclusion and exclusion (NumPy, 7 points)', () => {
    const points = [
      [0.64, 0.27, 0.04],
      [0.02, 0.81, 0.91],
      [0.61, 0.73, 0.54],
      [0.94, 0.82, 0],
      [0.86, 0.03, 0.73],
      [0.18, 0.86, 0.54],
      [0.3, 0.42, 0.03],
    ];
    assert.ok(Math.abs(hypervolume(points, [1, 1, 1]) - 0.46606) < 1e-12);
  });

  it('of three objectives is the number of unit cells that a point dominates', () => {
    const coordinate = fc.integer({ min: 0, max: 4 });
    fc.assert(
      fc.property(fc.array(fc.tuple(coordinate, coordinate, coordinate), { maxLength: 8 }), (points) => {
        let cells = 0;
        for (let x = 0; x < 4; x += 1)
          for (let y = 0; y < 4; y += 1)
            for (let z = 0; z < 4; z += 1) if (points.some(([a, b, c]) => a <= x && b <= y && c <= z)) cells += 1;
        assert.equal(hypervolume(points, [4, 4, 4]), cells);
      }),
    );
  });

  it('refuses other numbers of objectives', () => {
    assert.throws(() => hypervolume([[1]], [2]), RangeError);
    assert.throws(() => hypervolume([], [1, 1, 1, 1]), RangeError);
  });
});
