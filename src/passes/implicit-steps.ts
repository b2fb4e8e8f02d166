import { needsOf } from './inner-steps.ts';
import type { Pass } from './pass.ts';

/** A step with its pass and its options, defaults filled. */
export interface StepOf {
  readonly pass: Pass;
  readonly options: unknown;
}

export interface ScheduledStep extends StepOf {
  /** Not in the recipe, but always run. */
  readonly implicit: boolean;
  /** Index of the recipe's step that this is, or that it prepares the model for. */
  readonly recipeIndex: number;
  /** A later step has the model compute in 8-bit integers. */
  readonly int8Ahead: boolean;
  /** The recipe has steps after this one. */
  readonly stepsAhead: boolean;
}

/**
 * The steps as they run. Canonicalize comes first, named or not; it keeps BatchNormalization where a later step trains it or
 * chooses by it (`foldBatchNormalization: "auto"`), and runs once more after the last such step when others follow, which need it folded:
 * a quantizer between a convolution and its normalization costs accuracy.
 *
 * @param canonicalize - undefined only where a table without it is tried out
 */
export function withImplicitSteps(
  steps: readonly StepOf[],
  canonicalize: Pass | undefined,
  passes: readonly Pass[],
): readonly ScheduledStep[] {
  const lastInt8 = steps.findLastIndex(({ pass, options }) => pass.makesInt8?.(options) === true);
  const lastNormalized = steps.findLastIndex(
    (step) => step.pass.keepsNormalization?.(step.options) ?? needsOf(step, passes).includes('training'),
  );
  const scheduled: ScheduledStep[] = [];
  const implicit = (recipeIndex: number, foldBatchNormalization: boolean): void => {
    if (canonicalize === undefined) return;
    const options = canonicalize.options.parse({ foldBatchNormalization });
    scheduled.push({
      pass: canonicalize,
      options,
      implicit: true,
      recipeIndex,
      int8Ahead: recipeIndex <= lastInt8,
      stepsAhead: true,
    });
  };
  if (steps[0]?.pass !== canonicalize) implicit(0, lastNormalized < 0);
  for (const [recipeIndex, { pass, options }] of steps.entries()) {
    const settled = pass === canonicalize ? settle(options, lastNormalized < 0) : options;
    const stepsAhead = recipeIndex + 1 < steps.length;
    scheduled.push({
      pass,
      options: settled,
      implicit: false,
      recipeIndex,
      int8Ahead: recipeIndex < lastInt8,
      stepsAhead,
    });
    if (recipeIndex === lastNormalized && stepsAhead) implicit(recipeIndex + 1, true);
  }
  return scheduled;
}

function settle(options: unknown, fold: boolean): unknown {
  const given = Object(options) as Record<string, unknown>;
  return given['foldBatchNormalization'] === 'auto' ? { ...given, foldBatchNormalization: fold } : options;
}
