import type { GraphBuilder } from '../../onnx/graph-builder.ts';

/** Options as PyTorch names and means them. */
export type OptimizerSettings =
  | { readonly name: 'sgd'; readonly momentum: number; readonly nesterov: boolean; readonly weightDecay: number }
  | {
      readonly name: 'adam' | 'adamw';
      readonly beta1: number;
      readonly beta2: number;
      readonly epsilon: number;
      readonly weightDecay: number;
    };

/** A parameter with its gradient, as values of the graph. */
export interface Trained {
  readonly value: string;
  readonly gradient: string;
  /** Whether weight decay applies to it. */
  readonly decays: boolean;
  /** A moment of this parameter, zero at the start: a graph input of the parameter's shape. */
  moment(name: string): string;
}

export interface Updated {
  /** The new parameter. */
  readonly value: string;
  /** The new moments, by the name they were asked for. */
  readonly moments: ReadonlyMap<string, string>;
}

/**
 * The values of an optimizer's scalar inputs for one step, computed in float64: 1 - 0.999^t in float32 would be off by
 * 6e-5 at the first step.
 */
export interface OptimizerScalars {
  readonly names: readonly string[];
  /** @param step - counted from 1 */
  at(step: number, learningRate: number): Readonly<Record<string, number>>;
}

/** Declares float scalars as graph inputs, by their names. */
export type ScalarInput = (name: string) => string;

export interface OptimizerContext {
  readonly b: GraphBuilder;
  readonly scalar: ScalarInput;
}
