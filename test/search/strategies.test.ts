import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { evolution } from '../../src/search/evolution.ts';
import { nsga2 } from '../../src/search/nsga2.ts';
import { policyGradient } from '../../src/search/policy-gradient.ts';
import { randomSearch } from '../../src/search/random.ts';
import type { SearchSpace } from '../../src/search/space.ts';
import type { Strategy, StrategyOptions } from '../../src/search/strategy.ts';
import { tpe } from '../../src/search/tpe.ts';
import { evaluateMixed, mixedSpace, run, smallSpace } from './helpers.ts';

/** Options that leave start-up early, so that a short run gets to what the strategy is about. */
const STRATEGIES: Readonly<Record<string, (space: SearchSpace, options: StrategyOptions) => Strategy>> = {
  random: randomSearch,
  evolution: (space, options) => evolution(space, { ...options, population: 6, tournament: 3 }),
  nsga2: (space, options) => nsga2(space, { ...options, population: 8 }),
  tpe: (space, options) => tpe(space, { ...options, startup: 8 }),
  'policy gradient': policyGradient,
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

    it('gives more candidates of the same batch, until something of it is told', () => {
      const strategy = create(smallSpace(), { seed: 1 });
      const asked = [...strategy.ask(2), ...strategy.more(2), ...strategy.more(1)];
      assert.deepEqual(
        asked.map(({ index }) => index),
        [0, 1, 2, 3, 4],
      );
      assert.equal(new Set(asked.map(({ point }) => JSON.stringify(point))).size, 5);
      const good = { objectives: [1, 2], violation: 0 };
      strategy.tell(asked.slice(0, 2).map(({ index }) => ({ index, ...good })));
      assert.throws(() => strategy.more(1), /results of the trials 0, 1 were told/);
      assert.throws(() => strategy.ask(1), /results of the trials 2, 3, 4 were not told/);
      strategy.tell(asked.slice(2).map(({ index }) => ({ index, ...good })));
      assert.equal(strategy.ask(1)[0]?.index, 5);
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
