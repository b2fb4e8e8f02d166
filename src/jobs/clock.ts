/** Time as the jobs folder sees it; a test passes its own. */
export interface Clock {
  /** Wall clock, milliseconds since 1970: for what people read. May jump. */
  now(): number;
  /** Milliseconds that only rise: for durations. */
  monotonic(): number;
}

export const SYSTEM_CLOCK: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

export function timestamp(clock: Clock): string {
  return new Date(clock.now()).toISOString();
}
