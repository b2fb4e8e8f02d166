/** How many deliveries may be under way at once. */
export interface LaneLimits {
  readonly overall: number;
  readonly perTenant: number;
  readonly perLane: number;
}

export const LANE_LIMITS: LaneLimits = { overall: 256, perTenant: 64, perLane: 4 };

const MAX_FAILING = 10_000;

/**
 * Keeps slow endpoints from delaying others. All deliveries to one endpoint share a lane, and so do the webhooks of a
 * tenant's jobs to one host. A lane whose last delivery failed gets one place only until one succeeds, so a hundred dead
 * endpoints hold a hundred places of the 256, not all.
 */
export class Lanes {
  readonly #limits: LaneLimits;
  readonly #counts = new Map<string, number>();
  readonly #failing = new Set<string>();

  constructor(limits: LaneLimits = LANE_LIMITS) {
    this.#limits = limits;
  }

  /** Whether not one more delivery may start, of whomever. */
  get full(): boolean {
    return this.#count('all') >= this.#limits.overall;
  }

  /** Takes a place; undefined when there is none. The function given back frees it. */
  enter(tenant: string, lane: string): ((succeeded: boolean | undefined) => void) | undefined {
    const own = `lane ${tenant} ${lane}`;
    const laneLimit = this.#failing.has(own) ? 1 : this.#limits.perLane;
    const places: readonly (readonly [string, number])[] = [
      ['all', this.#limits.overall],
      [`tenant ${tenant}`, this.#limits.perTenant],
      [own, laneLimit],
    ];
    if (places.some(([name, limit]) => this.#count(name) >= limit)) return undefined;
    for (const [name] of places) this.#counts.set(name, this.#count(name) + 1);
    return (succeeded) => {
      for (const [name] of places) this.#release(name);
      if (succeeded === true) this.#failing.delete(own);
      if (succeeded === false) this.#remember(own);
    };
  }

  #count(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  #release(name: string): void {
    const left = this.#count(name) - 1;
    if (left > 0) this.#counts.set(name, left);
    else this.#counts.delete(name);
  }

  #remember(lane: string): void {
    const oldest = this.#failing.values().next();
    if (this.#failing.size >= MAX_FAILING && oldest.done !== true) this.#failing.delete(oldest.value);
    this.#failing.add(lane);
  }
}
