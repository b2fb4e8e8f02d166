import type { Trial } from './ask-tell.ts';
import { maximinOfSeen } from './maximin.ts';
import { firstObjective, type Scalarize } from './scalar-order.ts';

/** Parts of strategies that learn a softmax policy by its gradient (REINFORCE). */

/** Values of a dimension up to which each has a probability of its own; more, and reals, are taken in as many stretches. */
const MAX_ARMS = 32;
const REAL_ARMS = 16;
/** Bounds of an advantage, in standard deviations of the rewards: one outlier must not settle the policy. */
const MAX_ADVANTAGE = 3;

/** Of logits: the gradient of advantage log p(arm) + entropyWeight H: advantage (1[i = arm] - p_i) - entropyWeight p_i (log p_i + H). */
export function gradientOf(p: Float64Array, arm: number, advantage: number, entropyWeight: number): Float64Array {
  let entropy = 0;
  for (const share of p) if (share > 0) entropy -= share * Math.log(share);
  return p.map((share, i) => {
    const towards = advantage * ((i === arm ? 1 : 0) - share);
    const spread = share > 0 ? share * (Math.log(share) + entropy) : 0;
    return towards - entropyWeight * spread;
  });
}

/** A step of the logits along their gradient. */
export function step(
  logits: Float64Array,
  arm: number,
  advantage: number,
  { learningRate, entropyWeight }: { readonly learningRate: number; readonly entropyWeight: number },
): void {
  const gradient = gradientOf(softmax(logits), arm, advantage, entropyWeight);
  for (const [i, slope] of gradient.entries()) logits[i] = (logits[i] ?? 0) + learningRate * slope;
}

/**
 * Rewards beside their moving average; the average itself is of feasible trials only.
 *
 * @param given - what is minimized; undefined: the one objective, or how far a trial lies behind the front of those before it
 */
export function advantages(given: Scalarize | undefined, decay: number): (trial: Trial) => number {
  const maximin = maximinOfSeen();
  let count = 0;
  let baseline = 0;
  let mean = 0;
  let squares = 0;
  return ({ objectives, violation }) => {
    if (violation > 0) return -(1 + Math.min(1, violation));
    const scalarize = given ?? (objectives.length === 1 ? firstObjective : maximin);
    const reward = -scalarize(objectives);
    const deviation = count > 1 ? Math.sqrt(squares / (count - 1)) : 0;
    const advantage = deviation > 0 ? (reward - baseline) / deviation : 0;
    count += 1;
    const delta = reward - mean;
    mean += delta / count;
    squares += delta * (reward - mean);
    // A plain mean until there are enough for the moving one.
    baseline += Math.max(1 - decay, 1 / count) * (reward - baseline);
    return Math.max(-MAX_ADVANTAGE, Math.min(MAX_ADVANTAGE, advantage));
  };
}

export function armsOf(count: number): number {
  return count === Infinity ? REAL_ARMS : Math.min(count, MAX_ARMS);
}

/** The stretch of the dimension that a coordinate lies in. */
export function armOf(coordinate: number, arms: number, count: number): number {
  return Math.min(arms - 1, Math.floor((coordinate * arms) / (count === Infinity ? 1 : count)));
}

/** A coordinate of the stretch, evenly by `u` in [0, 1). */
export function withinArm(arm: number, arms: number, count: number, u: number): number {
  if (count === Infinity) return (arm + u) / arms;
  const from = Math.ceil((arm * count) / arms);
  const to = Math.ceil(((arm + 1) * count) / arms);
  return from + Math.floor(u * (to - from));
}

export function softmax(logits: Float64Array): Float64Array {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const p = logits.map((logit) => Math.exp(logit - largest));
  const sum = p.reduce((a, b) => a + b, 0);
  return p.map((value) => value / sum);
}

export function draw(p: Float64Array, u: number): number {
  let left = u;
  for (let i = 0; i < p.length; i += 1) {
    left -= p[i] ?? 0;
    if (left < 0) return i;
  }
  return p.length - 1;
}
