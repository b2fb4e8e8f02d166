import { tmpdir } from 'node:os';
import { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import { float32Array, type NdArray } from '../../../src/onnx/nd-array.ts';
import { createRuntime } from '../../../src/runtime/onnxruntime.ts';
import type { LossFragment, StaticTensor } from '../../../src/training/losses/loss.ts';

export const runtime = createRuntime(tmpdir());

export function floats(values: readonly number[], dims: readonly number[]): NdArray {
  return float32Array(Float32Array.from(values), dims);
}

export function labels(values: readonly number[]): NdArray {
  return { type: 'int64', dims: [values.length], data: BigInt64Array.from(values, BigInt) };
}

export interface EvaluatedLoss {
  readonly value: number;
  /** The fused gradients, by the value they are the gradient of. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

/** Builds the loss over graph inputs of the given arrays and runs it. */
export async function evaluateLoss(
  inputs: Readonly<Record<string, NdArray>>,
  build: (b: GraphBuilder, tensors: (name: string) => StaticTensor) => LossFragment,
): Promise<EvaluatedLoss> {
  const b = new GraphBuilder('loss');
  for (const [name, array] of Object.entries(inputs)) b.input(name, array.type, array.dims);
  const fragment = build(b, (name) => ({ value: name, shape: inputs[name]!.dims }));
  b.output(fragment.value, 'loss', 'float', []);
  fragment.gradients.forEach(({ of, gradient }, index) => {
    b.output(gradient, `gradient_${index}`, 'float', inputs[of]!.dims);
  });
  const session = await runtime.createSession(b.model(21), { threads: 1 });
  try {
    const results = await session.run(inputs);
    const read = (name: string): Float32Array => Float32Array.from(results.get(name)!.data as Float32Array);
    return {
      value: read('loss')[0]!,
      gradients: new Map(fragment.gradients.map(({ of }, index) => [of, read(`gradient_${index}`)])),
    };
  } finally {
    await session.release();
  }
}

/** Central differences of a loss at one of its inputs, in float32: the error is about 1e-3 of the loss's size. */
export async function numericGradient(
  inputs: Readonly<Record<string, NdArray>>,
  at: string,
  build: Parameters<typeof evaluateLoss>[1],
  step = 1e-2,
): Promise<Float32Array> {
  const base = Float32Array.from(inputs[at]!.data as Float32Array);
  const gradient = new Float32Array(base.length);
  for (let i = 0; i < base.length; i += 1) {
    const sides: number[] = [];
    for (const sign of [1, -1]) {
      const moved = Float32Array.from(base);
      moved[i] = base[i]! + sign * step;
      const { value } = await evaluateLoss({ ...inputs, [at]: float32Array(moved, inputs[at]!.dims) }, build);
      sides.push(value);
    }
    gradient[i] = (sides[0]! - sides[1]!) / (2 * step);
  }
  return gradient;
}
