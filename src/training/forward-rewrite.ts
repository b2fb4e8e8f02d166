import type { GraphBuilder } from '../onnx/graph-builder.ts';
import type { Model } from '../onnx/model.ts';

/** A parameter that a rewrite brings along, such as a quantizer's scale: an initializer of the training graph. */
export interface OwnParameter {
  readonly name: string;
  /** Factor on its gradient. */
  readonly gradientScale: number;
  /** What is added to its gradient, times its value; weight decay leaves it alone. */
  readonly l2: number;
}

/** What a parameter is held to after each update. */
export interface Bounds {
  readonly low?: number;
  readonly high?: number;
}

export interface ForwardRewrite {
  /** Trained with the model. Their values are handed out with those of the model, under their names. */
  readonly parameters: readonly OwnParameter[];
  /** By parameter, the model's or the rewrite's own. */
  readonly bounds: ReadonlyMap<string, Bounds>;
  /** Parameters of the model that weight decay leaves alone. */
  readonly withoutDecay?: ReadonlySet<string>;
  /** Values that another one has taken the place of for every reader, by their old name. */
  readonly replaced: ReadonlyMap<string, string>;
}

/**
 * Changes what a training graph computes before it is differentiated: puts quantizers between its nodes, or the signs of weights in
 * their place. Nodes may be appended in any order. BatchNormalization is in training form by then, or folded into the
 * convolution before it.
 */
export type RewriteForward = (b: GraphBuilder, model: Model) => ForwardRewrite;

export const NO_REWRITE: ForwardRewrite = { parameters: [], bounds: new Map(), replaced: new Map() };
