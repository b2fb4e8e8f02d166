import type { Model } from '../../../onnx/model.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { Masks } from './choose-masks.ts';
import { sparseBytes } from './sparse-size.ts';
import { targetLabel, type WeightTarget } from '../../layer-inputs/weight-targets.ts';

/** Said once in each report of a step that zeroes single weights. */
export const NO_SPEED =
  'ONNX Runtime has no sparse kernels on CPU: zeros inside a weight make no inference faster and leave the file as long as it was. ' +
  'They make it smaller when it is compressed or stored sparse (see compressed and sparse sizes); prune.channels makes a network faster.';

/** Zeroes what the masks say. @returns how many initializers have other bytes than before */
export function applyMasks(model: Model, masks: Masks): number {
  let changed = 0;
  for (const [name, mask] of masks) {
    const tensor = model.graph.initializers.get(name);
    if (tensor === undefined) continue;
    const before = tensor.floats();
    let copy: Float32Array | undefined;
    for (let i = 0; i < mask.length; i += 1) {
      if (mask[i] !== 0 || before[i] === 0) continue;
      copy ??= Float32Array.from(before);
      copy[i] = 0;
    }
    if (copy === undefined) continue;
    model.graph.initializers.set(name, Tensor.float(name, copy, tensor.dims));
    changed += 1;
  }
  return changed;
}

/** What the report says of the weights as they are now: exact counts, density of each layer, sizes in sparse formats. */
export function describeSparsity(model: Model, targets: readonly WeightTarget[]): Readonly<Record<string, unknown>> {
  let weights = 0;
  let zeros = 0;
  const bytes = { dense: 0, bitmap: 0, csr: 0 };
  const layers = targets.map((target) => {
    const values = model.graph.initializers.get(target.name)?.floats() ?? new Float32Array(0);
    let own = 0;
    for (const value of values) if (value === 0) own += 1;
    weights += values.length;
    zeros += own;
    const rows = Math.max(1, target.layout.outputs);
    const sizes = sparseBytes({ rows, columns: values.length / rows }, values.length - own, 4);
    bytes.dense += 4 * values.length;
    bytes.bitmap += sizes.bitmap;
    bytes.csr += sizes.csr;
    const density = values.length === 0 ? 1 : (values.length - own) / values.length;
    return { layer: targetLabel(target), weight: target.name, weights: values.length, zeros: own, density };
  });
  return {
    weights,
    zeros,
    sparsity: weights === 0 ? 0 : zeros / weights,
    denseBytes: bytes.dense,
    sparseBytes: { bitmap: bytes.bitmap, csr: bytes.csr },
    layers,
  };
}
