/**
 * `npm run bench -- search [--trials N] [--batch N] [--seeds N]`: what the search strategies find. NSGA-II on problems whose fronts are
 * known, then every strategy on a landscape of choices and integers, each with the same number of trials. Deterministic.
 */
import { parseArgs } from 'node:util';
import { median, quantile } from '../../src/evaluation/statistics.ts';
import { hypervolume } from '../../src/search/hypervolume.ts';
import { mannWhitney, type Alternative } from '../../src/search/mann-whitney.ts';
import { nsga2 } from '../../src/search/nsga2.ts';
import { randomSearch } from '../../src/search/random.ts';
import type { Strategy, TrialResult } from '../../src/search/strategy.ts';
import { CONTENDERS, bestErrors, frontVolumes } from './contest.ts';
import { ZDT, ZDT_REFERENCE, zdtSpace, type ZdtProblem } from './zdt.ts';

const POPULATION = 100;
const GENERATIONS = 250;

export function main(args: readonly string[]): void {
  const { values } = parseArgs({
    args: [...args],
    options: {
      trials: { type: 'string', default: '100' },
      batch: { type: 'string', default: '5' },
      seeds: { type: 'string', default: '20' },
    },
  });
  fronts();
  const contest = { trials: Number(values.trials), batch: Number(values.batch), seeds: Number(values.seeds) };
  contend(contest);
}

function fronts(): void {
  console.log(
    `Fronts: 30 reals, ${POPULATION * GENERATIONS} trials; hypervolume up to (1.1, 1.1), and share of the true front's`,
  );
  console.log('problem    true     nsga2             random            seconds');
  for (const problem of ZDT) {
    const started = performance.now();
    const reached = frontOf(nsga2(zdtSpace, { seed: 1, population: POPULATION }), problem);
    const seconds = (performance.now() - started) / 1000;
    const random = frontOf(randomSearch(zdtSpace, { seed: 1 }), problem);
    const share = (value: number): string =>
      `${value.toFixed(4)} (${((100 * value) / problem.hypervolume).toFixed(2)} %)`.padEnd(18);
    console.log(
      `${problem.name.padEnd(10)} ${problem.hypervolume.toFixed(4)}   ${share(reached)}${share(random)}${seconds.toFixed(1)}`,
    );
  }
}

function frontOf(strategy: Strategy, { evaluate }: ZdtProblem): number {
  const objectives: (readonly number[])[] = [];
  for (let generation = 0; generation < GENERATIONS; generation += 1) {
    const results = strategy
      .ask(POPULATION)
      .map(({ index, point }): TrialResult => ({ index, objectives: evaluate(point), violation: 0 }));
    strategy.tell(results);
    objectives.push(...results.map((result) => result.objectives));
  }
  return hypervolume(objectives, ZDT_REFERENCE);
}

function contend(contest: { readonly trials: number; readonly batch: number; readonly seeds: number }): void {
  const { trials, batch, seeds } = contest;
  console.log(
    `\nLandscape (bench/search/landscape.ts): ${trials} trials, batches of ${batch}, ${seeds} seeds; p against random, one-sided (Mann-Whitney)`,
  );
  ranking('lowest error', 'less', (name) => bestErrors(name, contest));
  ranking('hypervolume of error and cost', 'greater', (name) => frontVolumes(name, contest));
}

function ranking(what: string, better: Alternative, valuesOf: (name: (typeof CONTENDERS)[number]) => number[]): void {
  console.log(`\n${what}\nstrategy          median   quartiles         p`);
  const random = valuesOf('random');
  for (const name of CONTENDERS) {
    const values = valuesOf(name);
    const sorted = values.toSorted((a, b) => a - b);
    const quartiles = `${quantile(sorted, 0.25).toFixed(3)}-${quantile(sorted, 0.75).toFixed(3)}`;
    const p = name === 'random' ? '' : mannWhitney(values, random, better).pValue.toExponential(1);
    console.log(`${name.padEnd(17)} ${median(values).toFixed(3).padStart(6)}   ${quartiles.padEnd(17)} ${p}`);
  }
}
