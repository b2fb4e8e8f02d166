import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { evolution } from '../../src/search/evolution.ts';
import { paretoSet } from '../../src/search/pareto.ts';
import { evaluateMixed, mixedSpace, run, smallSpace, type Evaluate } from './helpers.ts';

describe('evolution', () => {
  it('mutates one dimension of one of the newest members', () => {
    const finished = run(evolution(mixedSpace(), { seed: 9, population: 5, tournament: 2 }), evaluateMixed, 40);
    finished.slice(5).forEach(({ candidate }, i) => {
      const parents = finished.slice(i, i + 5).map((trial) => trial.candidate.point);
      const changes = parents.map(
        (parent) => Object.keys(parent).filter((key) => parent[key] !== candidate.point[key]).length,
      );
      assert.equal(Math.min(...changes), 1);
    });
  });

  it('begins near the points that it is given', () => {
    const initial = [
      { block: 'basic', bits: 8, depth: 14, rate: 1 },
      { block: 'bottleneck', bits: 4, depth: 8, rate: 1e-4 },
    ];
    const finished = run(evolution(mixedSpace(), { seed: 5, population: 12, initial }), evaluateMixed, 12, 4);
    const points = finished.map(({ candidate }) => candidate.point);
    assert.deepEqual(
      points.slice(0, 2).map(({ depth }) => depth),
      [14, 8],
    );
    for (const point of points.slice(2)) {
      const changes = initial.map(
        (start) => Object.entries(start).filter(([key, value]) => point[key] !== value).length,
      );
      assert.equal(Math.min(...changes), 1);
    }
  });

  it('prefers feasible parents, and by the scalar it is given', () => {
    // The second objective falls with b; points with c = true are infeasible, however good they look.
    const evaluate: Evaluate = ({ b, c }) => ({
      objectives: [0, 3 - Number(b) - (c === true ? 10 : 0)],
      violation: c === true ? 1 : 0,
    });
    const finished = run(
      evolution(smallSpace(), { seed: 3, population: 4, tournament: 12, scalarize: ([, second = 0]) => second }),
      evaluate,
      8,
    );
    // 4 random ones, then children: all of a feasible parent, one dimension away.
    const best = finished.slice(4).map(({ candidate }) => candidate.point['c']);
    assert.ok(best.filter((c) => c === false).length >= 2, JSON.stringify(best));
  });

  it('breeds from the front of its members where there are several objectives', () => {
    const population = 6;
    const finished = run(evolution(mixedSpace(), { seed: 7, population, tournament: 60 }), evaluateMixed, 40);
    finished.slice(population).forEach(({ candidate }, i) => {
      const members = finished.slice(i, i + population);
      const isFeasible = members.some(
        ({ result }) => result.violation === 0 && result.objectives.every(Number.isFinite),
      );
      if (!isFeasible) return;
      const front = paretoSet(members.map(({ result }) => result)).flatMap((k) => members[k] ?? []);
      const changes = front.map(
        ({ candidate: { point } }) => Object.keys(point).filter((key) => point[key] !== candidate.point[key]).length,
      );
      assert.equal(Math.min(...changes), 1, `trial ${candidate.index} is no mutation of a front's member`);
    });
  });
});
