import type { Model } from '../onnx/model.ts';
import type { TrialResult, TrialSpec } from '../schemas/trial.ts';

/**
 * How a step that searches gets at its trials: jobs of their own, or whatever runs them. A step asks again for everything each
 * time it is run, in the same order for the same results: that is how a search goes on after an interruption.
 */
export interface TrialRunner {
  /**
   * Results in the order of the specs. While one is missing the attempt ends with this call, and the step is run anew when
   * all are there. When `concluding`, undefined stands for those that are not.
   */
  run(specs: readonly TrialSpec[]): Promise<readonly (TrialResult | undefined)[]>;
  /** The models that trials with a result made, each time read anew. May end the attempt as `run` does. */
  models(specs: readonly TrialSpec[]): Promise<readonly Model[]>;
  /** The search has to come to its end with what there is: asked for by a client, or by the deadline. */
  readonly concluding: boolean;
}
