import type { QueuePlace } from './job-queue.ts';

/** An entry's place in line: rounds in order, within a round by arrival. */
export interface Turn {
  readonly round: number;
  readonly arrival: number;
}

export interface Standing {
  readonly place: QueuePlace;
  turn: Turn;
  /** It has been delivered before: it keeps the turn it had. */
  readonly isReturned: boolean;
}

/** Of entries that go ahead of all. */
const AHEAD = 0;
const FIRST_ROUND = 1;

/**
 * Start-time fair queueing (Goyal, Vin, Cheng 1996), with one job as the unit: each tenant has one turn in a round, and a tenant that comes
 * takes part from the round that is being served. So a job waits for one job at most of each other tenant and of its own tenant for each job
 * ahead of it, however much the others have posted. Priorities count within a tenant: who comes with a higher one takes the turn of the
 * first that is behind it, and each of those the turn of its next.
 *
 * `redis-turns.ts` does the same in Redis.
 */
export class FairTurns {
  #now = FIRST_ROUND;
  /** The latest round that was ever given. */
  #top = FIRST_ROUND;
  readonly #last = new Map<string, number>();

  /** Gives the entry its turn, at the cost of turns of the same tenant only. `waiting`: the other entries, in order. */
  place(entry: Standing, waiting: readonly Standing[]): void {
    const { tenant, priority, turn } = entry.place;
    const { arrival } = entry.turn;
    if (turn === 'ahead') {
      entry.turn = { round: AHEAD, arrival };
      return;
    }
    const head = waiting.find((other) => other.turn.round !== AHEAD);
    this.#now = Math.max(this.#now, head === undefined ? this.#top : head.turn.round - 1);
    const own = waiting.filter(
      ({ place, isReturned }) => place.tenant === tenant && place.turn === 'own' && !isReturned,
    );
    const behind = own.filter(({ place }) => place.priority < priority);
    const [next] = behind;
    if (turn === 'shared' && next !== undefined) {
      entry.turn = { round: next.turn.round, arrival };
      return;
    }
    const round = this.#free(tenant, own.at(-1));
    entry.turn = { round, arrival };
    if (turn === 'shared') return;
    this.#last.set(tenant, round);
    this.#top = Math.max(this.#top, round);
    for (const other of behind.reverse()) [other.turn, entry.turn] = [entry.turn, other.turn];
  }

  /**
   * The first round in which the tenant has no turn yet. Turns of later rounds that nobody waits for any more are forgiven; the round that
   * is being served is `now` or the next.
   */
  #free(tenant: string, tail: Standing | undefined): number {
    const had = this.#last.get(tenant) ?? Number.NEGATIVE_INFINITY;
    return Math.max(this.#now, Math.min(had, this.#now + 1) + 1, tail === undefined ? 0 : tail.turn.round + 1);
  }
}
