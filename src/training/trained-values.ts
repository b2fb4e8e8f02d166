import type { Model } from '../onnx/model.ts';
import { Tensor } from '../onnx/tensor.ts';
import { copyModel } from './copy-model.ts';
import type { TrainingState } from './training-state.ts';

/** Values of a model's initializers, by name. */
export type TrainedValues = ReadonlyMap<string, Float32Array>;

/**
 * Copies of what training has made of the model's initializers: the moving averages where there are some. Masked weights are
 * exactly zero where their masks are.
 */
export function trainedValues(state: TrainingState): TrainedValues {
  const values = new Map<string, Float32Array>();
  for (const kinds of [['parameter', 'statistic'], ['average']]) {
    for (const { name, kind, of, isModel } of state.tensors) {
      if (isModel && kinds.includes(kind)) values.set(of, Float32Array.from(state.values(name)));
    }
  }
  for (const { name, kind, of } of state.tensors) {
    const masked = kind === 'mask' ? values.get(of) : undefined;
    if (masked === undefined) continue;
    const mask = state.values(name);
    for (let i = 0; i < masked.length; i += 1) if (mask[i] === 0) masked[i] = 0;
  }
  return values;
}

/**
 * Puts trained values into the model's initializers, which keep their shapes.
 *
 * @returns how many initializers have other bytes than before
 */
export function applyTrained(model: Model, values: TrainedValues): number {
  let changed = 0;
  for (const [name, trained] of values) {
    const before = model.graph.initializers.get(name);
    if (before === undefined) continue;
    const old = before.floats();
    if (trained.every((value, i) => Object.is(value, old[i]))) continue;
    model.graph.initializers.set(name, Tensor.float(name, trained, before.dims));
    changed += 1;
  }
  return changed;
}

/** A copy of the model with trained values in it. */
export function withTrained(model: Model, values: TrainedValues): Model {
  const copy = copyModel(model);
  applyTrained(copy, values);
  return copy;
}
