import { randomBytes } from 'node:crypto';
import { SYSTEM_CLOCK } from './clock.ts';
import type { Clock } from './clock.ts';

export interface JobIds {
  jobId(): string;
  /** Of a job that is a trial of a search. */
  trialId(): string;
  /** A word that no other claim has, to tell one's own write from that of another. */
  token(): string;
}

const TIME_DIGITS = 9;
const LAST_TIME = 36 ** TIME_DIGITS - 1; // year 5188
const COUNT_DIGITS = 2;
const LAST_COUNT = 36 ** COUNT_DIGITS - 1;

/** No time counted down begins with it before the year 5188 is near. */
const TRIAL_DIGIT = '0';
const TRIAL_PREFIX = `job_${TRIAL_DIGIT}`;
/** Above the ids of all trials, below those of all other jobs. */
export const AFTER_TRIALS = 'job_1';

export function isTrialId(id: string): boolean {
  return id.startsWith(TRIAL_PREFIX);
}

/**
 * `job_` + milliseconds counted down (9 digits, base 36) + a count down within the millisecond (2) + 80 random bits
 * (16): a plain ascending listing has the newest job first, also for jobs that one process makes in one millisecond. Of trials
 * a 0 stands before that: a listing has them together, ahead of all other jobs, however many a search has made.
 */
export function createJobIds(clock: Clock = SYSTEM_CLOCK): JobIds {
  let lastMs = 0;
  let count = 0;
  const next = (): string => {
    const nowMs = Math.floor(clock.now());
    count = nowMs === lastMs ? Math.min(count + 1, LAST_COUNT) : 0;
    lastMs = nowMs;
    const time = (LAST_TIME - nowMs).toString(36).padStart(TIME_DIGITS, '0');
    const within = (LAST_COUNT - count).toString(36).padStart(COUNT_DIGITS, '0');
    return `${time}${within}${randomBase36(10)}`;
  };
  return {
    jobId: () => `job_${next()}`,
    trialId: () => TRIAL_PREFIX + next(),
    token: () => randomBytes(8).toString('hex'),
  };
}

function randomBase36(bytes: number): string {
  const digits = Math.ceil((bytes * 8) / Math.log2(36));
  return BigInt(`0x${randomBytes(bytes).toString('hex')}`)
    .toString(36)
    .padStart(digits, '0');
}
