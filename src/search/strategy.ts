import type { Budget } from './budget.ts';
import type { Point } from './space.ts';

/** A point to try. */
export interface Candidate {
  /** 0, 1, 2, ... in the order they were asked. */
  readonly index: number;
  readonly point: Point;
}

export interface TrialResult {
  /** The candidate's. */
  readonly index: number;
  /** All minimized, as many in every trial. A trial with a number that is not finite has failed: it counts as worse than any other. */
  readonly objectives: readonly number[];
  /** Sum of the relative violations of the constraints; 0 = feasible. */
  readonly violation: number;
}

/**
 * Chooses what to try next by what the earlier trials brought.
 *
 * A strategy is a deterministic function of its space, its options, its seed and the results told so far: who repeats the
 * same asks and tells (from a log, say) gets the same candidates. That is how a search is taken up again. No point is
 * asked twice; when the space has no further ones, `ask` returns fewer, at last none.
 */
export interface Strategy {
  /**
   * The next `n` candidates, chosen together.
   * @throws RangeError while results of earlier candidates are missing
   */
  ask(n: number): readonly Candidate[];
  /** `n` more candidates for the batch that was asked last, for some of it that are known to be no use; nothing has been told of it yet. */
  more(n: number): readonly Candidate[];
  /**
   * Results of candidates that were asked, in any order, all at once or one by one.
   * @throws RangeError for a candidate that was not asked or has a result, a number of objectives unlike the others', or
   * a negative violation
   */
  tell(results: readonly TrialResult[]): void;
}

/** What all strategies take. */
export interface StrategyOptions {
  readonly seed: number;
  /** Points to try before all others, in this order. */
  readonly initial?: readonly Point[];
  /** Every point, before it is asked, walks down until it is within. */
  readonly budget?: Budget;
}
