import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CONTENDERS, bestErrors, frontVolumes } from '../../bench/search/contest.ts';
import { mannWhitney } from '../../src/search/mann-whitney.ts';

/** The landscape is described in bench/search/landscape.ts: 3 million points of choices and integers. */
const CONTEST = { trials: 100, batch: 5, seeds: 20 };

describe('strategies on a landscape of choices and integers', () => {
  const random = bestErrors('random', CONTEST);
  for (const name of CONTENDERS.filter((contender) => contender !== 'random'))
    it(`${name} finds better points than random search with as many trials`, () => {
      const { pValue } = mannWhitney(bestErrors(name, CONTEST), random, 'less');
      assert.ok(pValue < 0.05, `p = ${pValue}`);
    });
});

describe('strategies on two objectives of that landscape, its error and a cost', () => {
  const random = frontVolumes('random', CONTEST);
  for (const name of CONTENDERS.filter((contender) => contender !== 'random'))
    it(`${name} finds a front of more hypervolume than random search with as many trials`, () => {
      const { pValue } = mannWhitney(frontVolumes(name, CONTEST), random, 'greater');
      assert.ok(pValue < 0.05, `p = ${pValue}`);
    });
});
