import assert from 'node:assert/strict';
import { SeededRandom } from '../../../../src/data/seeded-random.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { buildArchitecture } from '../../../../src/zoo/build-architecture.ts';

/** A network of the zoo whose normalizations have statistics, scales and biases that are not those of a fresh one. */
export function livelyNetwork(request: { readonly architecture: string; readonly [option: string]: unknown }): Model {
  const model = buildArchitecture(request, 3);
  const random = new SeededRandom(5);
  for (const [name, tensor] of model.graph.initializers) {
    if (!/\.(bias|running_mean|running_var)$/.test(name) && !/bn\d?\.weight$/.test(name)) continue;
    const isPositive = name.endsWith('running_var') || name.endsWith('.weight');
    const values = Float32Array.from(tensor.floats(), () =>
      isPositive ? 0.5 + random.uniform() : 0.3 * random.normal(),
    );
    model.graph.initializers.set(name, Tensor.float(name, values, tensor.dims));
  }
  return model;
}

/** Standard normal values. */
export function noise(
  dims: readonly number[],
  seed = 9,
): { type: 'float'; dims: readonly number[]; data: Float32Array } {
  const random = new SeededRandom(seed);
  const count = dims.reduce((product, size) => product * size, 1);
  return { type: 'float', dims, data: Float32Array.from({ length: count }, () => random.normal()) };
}

export function largestDifference(one: ArrayLike<number>, other: ArrayLike<number>): number {
  assert.equal(one.length, other.length);
  let largest = 0;
  for (let i = 0; i < one.length; i += 1) largest = Math.max(largest, Math.abs((one[i] ?? 0) - (other[i] ?? 0)));
  return largest;
}
