import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { policyGradient } from '../../src/search/policy-gradient.ts';
import { SearchSpace, type Point } from '../../src/search/space.ts';
import { run, type Evaluate } from './helpers.ts';

const space = new SearchSpace([
  { name: 'op', type: 'choice', values: ['a', 'b', 'c', 'd'] },
  { name: 'large', type: 'integer', min: 0, max: 999 },
  { name: 'x', type: 'real', min: 0, max: 1 },
]);
const error = ({ op, large, x }: Point) =>
  (op === 'c' ? 0 : 1) + Math.abs(Number(large) - 700) / 300 + Math.abs(Number(x) - 0.25) * 2;
const late = (evaluate: Evaluate) =>
  run(policyGradient(space, { seed: 2 }), evaluate, 400, 10)
    .slice(300)
    .map(({ candidate }) => candidate.point);
const share = (points: readonly Point[], holds: (point: Point) => boolean) =>
  points.filter(holds).length / points.length;

describe('policy gradient', () => {
  for (const scale of [1e-3, 1e3])
    it(`learns what pays, whatever the scale (${scale})`, () => {
      const points = late((point) => ({ objectives: [50 + scale * error(point)], violation: 0 }));
      assert.ok(share(points, ({ op }) => op === 'c') > 0.8);
      assert.ok(share(points, ({ large }) => Math.abs(Number(large) - 700) < 200) > 0.7);
      assert.ok(share(points, ({ x }) => Math.abs(Number(x) - 0.25) < 0.2) > 0.6);
    });

  it('learns to keep constraints, and away from what fails', () => {
    const points = late((point) => ({
      objectives: [point['op'] === 'a' ? NaN : error(point)],
      violation: Math.max(0, (Number(point['large']) - 400) / 400),
    }));
    assert.ok(share(points, ({ large }) => Number(large) <= 400) > 0.8);
    assert.ok(share(points, ({ op }) => op === 'a') < 0.1);
  });
});
