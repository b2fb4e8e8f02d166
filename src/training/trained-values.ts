import type { Model } from '../onnx/model.ts';
import { Tensor } from '../onnx/tensor.ts';
import type { TrainingState } from './training-state.ts';

/** Values of a model's initializers, by name. */
export type TrainedValues = ReadonlyMap<string, Float32Array>;

/** Copies of what training has made of the model's initializers: the moving averages where there are some. */
export function trainedValues(state: TrainingState): TrainedValues {
  const values = new Map<string, Float32Array>();
  for (const kinds of [['parameter', 'statistic'], ['average']]) {
    for (const { name, kind, of, isModel } of state.tensors) {
      if (isModel && kinds.includes(kind)) values.set(of, Float32Array.from(state.values(name)));
    }
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
