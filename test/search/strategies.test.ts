import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { evolution } from '../../src/search/evolution.ts';
import { randomSearch } from '../../src/search/random.ts';
import type { SearchSpace } from '../../src/search/space.ts';
import type { Strategy, StrategyOptions } from '../../src/search/strategy.ts';
import { mixedSpace, run, smallSpace, type Evaluate } from './helpers.ts';

/** Options that leave start-up early, so that a short run gets to what the strategy is about. */
const STRATEGIES: Readonly<Record<string, (space: SearchSpace, options: StrategyOptions) => Strategy>> = {
  random: randomSearch,
  evolution: (space, options) => evolution(space, { ...options, population: 6, tournament: 3 }),
};

const evaluateMixed: Evaluate = ({ block, bits, depth, rate }) => {
  const loss = (block === 'basic' ? 0.2 : 0) + 1 / Number(bits) + (Math.log10(Number(rate)) + 2) ** 2;
  return {
    objectives: [bits === 2 ? NaN : loss, Number(depth) * Number(bits)],
    violation: Math.max(0, Number(depth) / 14 - 1),
  };
};

for (const [name, create] of Object.entries(STRATEGIES))
  describe(`strategy ${name}`, () => {
    it('asks every point of a finite space once, then none', () => {
      const finished = run(create(smallSpace(), { seed: 1 }), () => ({ objectives: [0, 0], violation: 0 }), 100, 5);
      assert.equal(finished.length, 24);
      assert.equal(new Set(finished.map(({ candidate }) => JSON.stringify(candidate.point))).size, 24);
      assert.deepEqual(
        finished.map(({ candidate }) => candidate.index),
        [...Array(24).keys()],
      );
    });

    it('asks the same after the same tells, in whatever order and parts they come', () => {
      const first = run(create(mixedSpace(), { seed: 4 }), evaluateMixed, 60, 4);
      const replayed = create(mixedSpace(), { seed: 4 });
      for (let i = 0; i < 60; i += 4) {
        const batch = first.slice(i, i + 4);
        assert.deepEqual(
          replayed.ask(4),
          batch.map(({ candidate }) => candidate),
        );
        for (const { result } of batch.reverse()) replayed.tell([result]);
      }
      const other = run(create(mixedSpace(), { seed: 5 }), evaluateMixed, 8, 4);
      assert.notDeepEqual(
        other.map(({ candidate }) => candidate),
        first.slice(0, 8).map(({ candidate }) => candidate),
      );
    });

    it('asks the given points first', () => {
      const initial = [
        { a: 'z', b: 3, c: false },
        { a: 'x', b: 0, c: true },
        { a: 'z', b: 3, c: false },
      ];
      const strategy = create(smallSpace(), { seed: 1, initial });
      assert.deepEqual(
        strategy
          .ask(3)
          .slice(0, 2)
          .map(({ point }) => point),
        initial.slice(0, 2),
      );
    });

    it('goes on when every trial fails', () => {
      const finished = run(
        create(mixedSpace(), { seed: 2 }),
        () => ({ objectives: [NaN, NaN], violation: NaN }),
        40,
        4,
      );
      assert.equal(finished.length, 40);
    });

    it('refuses tells that do not belong, and asks while results are missing', () => {
      const strategy = create(smallSpace(), { seed: 1 });
      strategy.ask(2);
      const good = { objectives: [1, 2], violation: 0 };
      strategy.tell([{ index: 1, ...good }]);
      assert.throws(() => strategy.ask(2), /results of the trials 0 were not told/);
      assert.throws(() => strategy.tell([{ index: 2, ...good }]), /trial 2 was not asked/);
      assert.throws(() => strategy.tell([{ index: 1, ...good }]), /trial 1 has a result already/);
      assert.throws(() => strategy.tell([{ index: 0, objectives: [1], violation: 0 }]), /expected 2 objectives, got 1/);
      assert.throws(() => strategy.tell([{ index: 0, objectives: [1, 2], violation: -1 }]), /negative/);
      strategy.tell([{ index: 0, ...good }]);
      assert.equal(strategy.ask(2).length, 2);
    });
  });

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
});
