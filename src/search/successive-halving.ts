import { bestFirst } from './order.ts';
import type { Scalarize } from './scalar-order.ts';
import type { TrialResult } from './strategy.ts';

export interface HalvingOptions {
  /** Of each rung one in `eta` goes on, with `eta` times the budget. 3 unless given. */
  readonly eta?: number;
  /** Share of the full budget that the first rung gets, in (0, 1]. */
  readonly minBudget: number;
  /** One number to go by. Without it several objectives are ordered by front, and in a front by the room around. */
  readonly scalarize?: Scalarize;
}

export interface Rung {
  /** Share of the full budget that a trial has had when the rung is done; 1 in the last. */
  readonly budget: number;
  /** Trials that run in it. */
  readonly trials: number;
}

/** A trial to run, or to run on: from `from` to `budget`, both shares of the full budget. */
export interface HalvingTask {
  readonly index: number;
  readonly from: number;
  readonly budget: number;
}

/** What became of a trial: its result where it was stopped, and the share of the budget it had. */
export interface HalvingResult extends TrialResult {
  readonly budget: number;
}

export interface SuccessiveHalving {
  /** What the rung that is under way asks for; empty when all rungs are done. */
  tasks(): readonly HalvingTask[];
  /**
   * Results of tasks, in any order, all at once or one by one; the next rung begins with the last of them.
   * @throws RangeError for a trial that is not in the rung or has a result in it
   */
  tell(results: readonly TrialResult[]): void;
  /** Every trial that has a result, by rising index: what to tell the strategy that asked for them. */
  results(): readonly HalvingResult[];
}

/**
 * The rungs of a bracket: budgets from `minBudget` up by `eta` to 1, and of the trials one in `eta` each time, at least one.
 * @param trials - candidates that start
 * @throws RangeError when an option is out of its range
 */
export function halvingRungs(trials: number, { eta = 3, minBudget }: HalvingOptions): readonly Rung[] {
  if (!Number.isInteger(trials) || trials < 1 || !(eta > 1) || !(minBudget > 0 && minBudget <= 1))
    throw new RangeError(
      `successive halving: expected whole trials >= 1, eta > 1 and minBudget in (0, 1], got ${trials}, ${eta}, ${minBudget}`,
    );
  // A third is 1/3 but for rounding: log_3 of it must not become 0.9999.
  const steps = Math.floor(Math.log(1 / minBudget) / Math.log(eta) + 1e-9);
  return Array.from({ length: steps + 1 }, (_, k) => ({
    budget: eta ** (k - steps),
    trials: Math.max(1, Math.floor(trials / eta ** k + 1e-9)),
  }));
}

/**
 * Successive halving: all candidates get a little of the budget, the best third thrice as much, and so on. Deterministic: the same
 * results lead to the same promotions.
 *
 * @param indices - of the candidates that start
 * @see Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016
 */
export function successiveHalving(indices: readonly number[], options: HalvingOptions): SuccessiveHalving {
  const rungs = halvingRungs(indices.length, options);
  const latest = new Map<number, HalvingResult>();
  let rung = 0;
  let members = [...indices];
  let done = new Set<number>();

  const budgetOf = (k: number): number => rungs[k]?.budget ?? 0;

  return {
    tasks: () =>
      members
        .filter((index) => !done.has(index))
        .map((index) => ({ index, from: rung === 0 ? 0 : budgetOf(rung - 1), budget: budgetOf(rung) })),
    tell(results) {
      for (const result of results) {
        if (!members.includes(result.index) || done.has(result.index))
          throw new RangeError(`trial ${result.index} is not waited for in rung ${rung}`);
        latest.set(result.index, { ...result, budget: budgetOf(rung) });
        done.add(result.index);
        if (done.size < members.length) continue;
        rung += 1;
        const next = rungs[rung];
        members =
          next === undefined
            ? []
            : promoted(
                members.flatMap((index) => latest.get(index) ?? []),
                next.trials,
                options,
              );
        done = new Set();
      }
    },
    results: () => [...latest.values()].sort((a, b) => a.index - b.index),
  };
}

/** Indices of the best `count`, rising. Failed trials are not promoted, even if there are fewer others. */
function promoted(results: readonly TrialResult[], count: number, { scalarize }: HalvingOptions): number[] {
  const alive = results.filter(
    ({ objectives, violation }) => objectives.every(Number.isFinite) && Number.isFinite(violation),
  );
  return bestFirst(alive, scalarize)
    .slice(0, count)
    .map(({ index }) => index)
    .sort((a, b) => a - b);
}
