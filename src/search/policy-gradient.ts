import { askTell } from './ask-tell.ts';
import type { Scalarize } from './scalar-order.ts';
import { advantages, armOf, armsOf, draw, softmax, step, withinArm } from './softmax-policy.ts';
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
