import type { ScheduledStep } from '../src/passes/implicit-steps.ts';
import { needsOf } from '../src/passes/inner-steps.ts';
import { PASSES } from '../src/passes/registry.ts';

/** What the parts of a job take of each other's time, roughly: training and searches take nearly all of it. */
const INPUT_WORK = 5;
const RESULT_WORK = 10;

/** How much of a job is done, 0..1. Its parts weigh what they usually take, so that the bar moves with the time. */
export class JobProgress {
  readonly #works: readonly number[];
  readonly #total: number;

  /** @param steps - all of the job, those that an earlier attempt has done included */
  constructor(steps: readonly ScheduledStep[]) {
    this.#works = steps.map(workOf);
    this.#total = INPUT_WORK + sum(this.#works) + RESULT_WORK;
  }

  /**
   * @param index - of a step; the number of all steps is the end of the last
   * @param fraction - of the step; what lies outside of 0..1 is taken as the bound
   */
  inStep(index: number, fraction: number): number {
    const before = INPUT_WORK + sum(this.#works.slice(0, index));
    return (before + (this.#works[index] ?? 0) * bounded(fraction)) / this.#total;
  }

  /** While the result is measured and written. */
  inResult(fraction: number): number {
    return 1 - (RESULT_WORK * (1 - bounded(fraction))) / this.#total;
  }
}

function workOf({ pass, options, implicit }: ScheduledStep): number {
  if (implicit) return 1;
  if (pass.stage === 'search') return 200;
  return needsOf({ pass, options }, PASSES).includes('training') ? 100 : 5;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function bounded(fraction: number): number {
  return Math.min(Math.max(fraction, 0), 1);
}
