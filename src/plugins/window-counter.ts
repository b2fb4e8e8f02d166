/** What is left of an allowance. */
export interface Allowance {
  readonly allowed: boolean;
  readonly remaining: number;
  /** Seconds until the window starts anew, rounded up. */
  readonly resetSeconds: number;
}

const MAX_NAMES = 10_000;

/**
 * Counts events by name in fixed windows. Bounded memory: when too many names are known, those whose window is over are
 * forgotten, and then the oldest.
 */
export class WindowCounter {
  readonly limit: number;
  readonly #windowMs: number;
  readonly #windows = new Map<string, { start: number; count: number }>();

  constructor(limit: number, windowMs: number) {
    this.limit = limit;
    this.#windowMs = windowMs;
  }

  /** Counts one event. @param now - milliseconds of a clock that never jumps back */
  take(name: string, now = performance.now()): Allowance {
    let window = this.#windows.get(name);
    if (window === undefined || now - window.start >= this.#windowMs) {
      if (this.#windows.size >= MAX_NAMES) this.#forget(now);
      window = { start: now, count: 0 };
      // Re-inserted, so that the map stays ordered by start.
      this.#windows.delete(name);
      this.#windows.set(name, window);
    }
    window.count += 1;
    return {
      allowed: window.count <= this.limit,
      remaining: Math.max(0, this.limit - window.count),
      resetSeconds: Math.max(1, Math.ceil((window.start + this.#windowMs - now) / 1000)),
    };
  }

  #forget(now: number): void {
    for (const [name, window] of this.#windows) {
      if (now - window.start < this.#windowMs && this.#windows.size < MAX_NAMES) return;
      this.#windows.delete(name);
    }
  }
}
