/** Exponents of latency over target: `within` where the target is kept, `above` where it is missed. */
export interface RewardExponents {
  readonly within: number;
  readonly above: number;
}

/** Twice the latency has to bring 5 % more accuracy, on both sides of the target. */
export const SOFT_REWARD = { within: -0.07, above: -0.07 } as const satisfies RewardExponents;
/** Accuracy alone while the target is kept; a sharp penalty above it. */
export const HARD_REWARD = { within: 0, above: -1 } as const satisfies RewardExponents;

/**
 * accuracy (latency / target)^w: one number, to maximize, for accuracy against latency (or MACs, bytes: any cost).
 *
 * @param accuracy - 0..1
 * @param latency - > 0, in the unit of `target`
 * @see Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019, eq. 2 and 3
 */
export function mnasnetReward(
  accuracy: number,
  latency: number,
  target: number,
  exponents: RewardExponents = SOFT_REWARD,
): number {
  return accuracy * (latency / target) ** (latency <= target ? exponents.within : exponents.above);
}
