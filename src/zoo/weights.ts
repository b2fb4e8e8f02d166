import { SeededRandom } from '../data/seeded-random.ts';
import { elementCount } from '../onnx/nd-array.ts';
import { Tensor } from '../onnx/tensor.ts';

/** How a weight starts. `std` and `bound` are in the weight's own units. */
export type Initialization =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'normal'; readonly std: number }
  /** Normal, drawn again outside two standard deviations. */
  | { readonly kind: 'truncated-normal'; readonly std: number }
  | { readonly kind: 'uniform'; readonly bound: number };

/** Gives every weight its first values, in the order of asking. */
export interface WeightSource {
  tensor(name: string, dims: readonly number[], initialization: Initialization): Tensor;
}

/** The same seed and the same order of weights give the same bytes on every machine. */
export function seededWeights(seed: number): WeightSource {
  const random = new SeededRandom(seed);
  return {
    tensor(name, dims, initialization) {
      const data = new Float32Array(elementCount(dims));
      fill(data, initialization, random);
      return Tensor.fromArray(name, { type: 'float', dims, data });
    },
  };
}

/** Zeros that all weights share: for counts and shapes, at the price of the largest weight's address space. */
export function zeroWeights(): WeightSource {
  let zeros = new Float32Array(0);
  return {
    tensor(name, dims) {
      const count = elementCount(dims);
      if (zeros.length < count) zeros = new Float32Array(count);
      return Tensor.fromArray(name, { type: 'float', dims, data: zeros.subarray(0, count) });
    },
  };
}

function fill(data: Float32Array, initialization: Initialization, random: SeededRandom): void {
  switch (initialization.kind) {
    case 'constant':
      data.fill(initialization.value);
      return;
    case 'normal':
      for (let index = 0; index < data.length; index += 1) data[index] = initialization.std * random.normal();
      return;
    case 'truncated-normal':
      for (let index = 0; index < data.length; index += 1) {
        let value = random.normal();
        while (Math.abs(value) > 2) value = random.normal();
        data[index] = initialization.std * value;
      }
      return;
    case 'uniform':
      for (let index = 0; index < data.length; index += 1) {
        data[index] = initialization.bound * (2 * random.uniform() - 1);
      }
  }
}
