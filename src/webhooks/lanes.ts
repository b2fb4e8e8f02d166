/** How many deliveries may be under way at once. */
interface LaneLimits {
  readonly overall: number;
  /** More than a tenant may have endpoints, so that all of them being dead is no reason to wait either. */
  readonly perTenant: number;
  readonly perLane: number;
}

const LANE_LIMITS: LaneLimits = { overall: 256, perTenant: 128, perLane: 4 };

const MAX_PROVEN = 10_000;

/**
 * Keeps slow endpoints from delaying others. All deliveries to one endpoint share a lane, and so do the webhooks of a
 * tenant's jobs to one host. A lane has one place only until a delivery came through, and again after one that did not,
 * so a hundred dead endpoints hold a hundred places of the 256, however many deliveries wait for them.
 */
export class Lanes {
  readonly #limits: LaneLimits;
  readonly #counts = new Map<string, number>();
  readonly #proven = new Set<string>();

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
    const places: readonly (readonly [name: string, limit: number])[] = [
      ['all', this.#limits.overall],
      [`tenant ${tenant}`, this.#limits.perTenant],
      [own, this.#proven.has(own) ? this.#limits.perLane : 1],
    ];
    if (places.some(([name, limit]) => this.#count(name) >= limit)) return undefined;
    for (const [name] of places) this.#counts.set(name, this.#count(name) + 1);
    return (succeeded) => {
      for (const [name] of places) this.#release(name);
      if (succeeded === true) this.#remember(own);
      if (succeeded === false) this.#proven.delete(own);
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
    const oldest = this.#proven.values().next();
    if (this.#proven.size >= MAX_PROVEN && oldest.done !== true) this.#proven.delete(oldest.value);
    this.#proven.add(lane);
  }
}
