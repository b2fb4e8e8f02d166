import { askTell, type Trial } from './ask-tell.ts';
import { maximinOfSeen } from './maximin.ts';
import { firstObjective, type Scalarize } from './scalar-order.ts';
import type { SearchSpace } from './space.ts';
import type { Strategy, StrategyOptions } from './strategy.ts';

export interface PolicyGradientOptions extends StrategyOptions {
  /** Step of the logits along the gradient. */
  readonly learningRate?: number;
  /** How much of the moving average of the rewards stays with each trial. */
  readonly baselineDecay?: number;
  /** Weight of the policy's entropy, which keeps it from settling early. */
  readonly entropyWeight?: number;
  /** What is minimized: the reward is its negative. Without it several objectives count by the maximin fitness. */
  readonly scalarize?: Scalarize;
}

/** Values of a dimension up to which each has a probability of its own; more, and reals, are taken in as many stretches. */
const MAX_ARMS = 32;
const REAL_ARMS = 16;
/** Bounds of an advantage, in standard deviations of the rewards: one outlier must not settle the policy. */
const MAX_ADVANTAGE = 3;

/**
 * Policy gradient (REINFORCE): an independent softmax policy for each dimension, moved towards what brought more than the
 * moving average of the rewards. Advantages are in standard deviations, so the scale of the objective does not matter. An
 * infeasible trial counts 1 to 2 deviations below the average, by its violation; a failed one 2. With several objectives the reward
 * is how far a trial lies before the front of the earlier ones: what is found already pays less each time, so that the policy moves on
 * along the front.
 * @see Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", 1992; for
 * architectures Zoph & Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017; the reward of several
 * objectives is Balling, "The Maximin Fitness Function", EMO 2003
 */
export function policyGradient(space: SearchSpace, options: PolicyGradientOptions): Strategy {
  const { learningRate = 0.3, baselineDecay = 0.9, entropyWeight = 0.05, scalarize } = options;
  return askTell(space, options, (rng) => {
    const policies = space.dimensions.map((_, d) => new Float64Array(armsOf(space.count(d))));
    const advantageOf = advantages(scalarize, baselineDecay);
    return {
      propose: () =>
        policies.map((logits, d) => {
          const arm = draw(softmax(logits), rng.uniform());
          return withinArm(arm, logits.length, space.count(d), rng.uniform());
        }),
      observe(batch) {
        // Each trial is a step: small and large batches learn as much of as many trials.
        for (const trial of batch) {
          const advantage = advantageOf(trial);
          policies.forEach((logits, d) => {
            const arm = armOf(trial.coordinates[d] ?? 0, logits.length, space.count(d));
            step(logits, arm, advantage, { learningRate, entropyWeight });
          });
        }
      },
    };
  });
}

/** Gradient of advantage log p(arm) + entropyWeight H: advantage (1[i = arm] - p_i) - entropyWeight p_i (log p_i + H). */
function step(
  logits: Float64Array,
  arm: number,
  advantage: number,
  { learningRate, entropyWeight }: { readonly learningRate: number; readonly entropyWeight: number },
): void {
  const p = softmax(logits);
  let entropy = 0;
  for (const share of p) if (share > 0) entropy -= share * Math.log(share);
  for (let i = 0; i < p.length; i += 1) {
    const share = p[i] ?? 0;
    const towards = advantage * ((i === arm ? 1 : 0) - share);
    const spread = share > 0 ? share * (Math.log(share) + entropy) : 0;
    logits[i] = (logits[i] ?? 0) + learningRate * (towards - entropyWeight * spread);
  }
}

/** Rewards beside their moving average; the average itself is of feasible trials only. */
function advantages(given: Scalarize | undefined, decay: number): (trial: Trial) => number {
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

function armsOf(count: number): number {
  return count === Infinity ? REAL_ARMS : Math.min(count, MAX_ARMS);
}

/** The stretch of the dimension that a coordinate lies in. */
function armOf(coordinate: number, arms: number, count: number): number {
  return Math.min(arms - 1, Math.floor((coordinate * arms) / (count === Infinity ? 1 : count)));
}

/** A coordinate of the stretch, evenly by `u` in [0, 1). */
function withinArm(arm: number, arms: number, count: number, u: number): number {
  if (count === Infinity) return (arm + u) / arms;
  const from = Math.ceil((arm * count) / arms);
  const to = Math.ceil(((arm + 1) * count) / arms);
  return from + Math.floor(u * (to - from));
}

function softmax(logits: Float64Array): Float64Array {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const p = logits.map((logit) => Math.exp(logit - largest));
  const sum = p.reduce((a, b) => a + b, 0);
  return p.map((value) => value / sum);
}

function draw(p: Float64Array, u: number): number {
  let left = u;
  for (let i = 0; i < p.length; i += 1) {
    left -= p[i] ?? 0;
    if (left < 0) return i;
  }
  return p.length - 1;
}
