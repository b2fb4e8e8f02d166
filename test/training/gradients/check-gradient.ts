import { tmpdir } from 'node:os';
import { differentiate } from '../../../src/training/differentiate.ts';
import { StaticTypes } from '../../../src/training/static-types.ts';
import { SeededRandom } from '../../../src/data/seeded-random.ts';
import { defined } from '../../../src/errors.ts';
import { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import { elementCount, type NdArray } from '../../../src/onnx/nd-array.ts';
import type { GradientRule } from '../../../src/training/gradients/gradient-rule.ts';
import { createRuntime } from '../../../src/runtime/onnxruntime.ts';

export const runtime = createRuntime(tmpdir());

/** How the elements of a float input are drawn, so that no kink of the operator is within reach of the step. */
export type Draw = (random: SeededRandom, index: number, count: number) => number;

export interface CheckedInput {
  readonly shape: readonly number[];
  /** Default: standard normal. */
  readonly draw?: Draw;
  /** False: no gradient is asked for (integers, statistics). */
  readonly differentiated?: boolean;
  readonly integers?: readonly number[];
}

export interface GradientCase {
  readonly inputs: readonly CheckedInput[];
  /** Writes the operator; returns the float values whose weighted sum is the loss. */
  readonly build: (b: GraphBuilder, inputs: readonly string[]) => readonly string[];
  readonly seed: number;
  /** Step of the central difference; default 1e-2. */
  readonly step?: number;
  /** Default: the table of the project. */
  readonly rules?: ReadonlyMap<string, GradientRule>;
}

/**
 * Compares the gradient of L = sum of <v_j, Y_j>, v drawn at random, with central differences of L along one random
 * direction for each input, summed in float64 over what ONNX Runtime gives.
 *
 * @returns for each differentiated input |numeric - analytic| over the size the product may have: |dX| |u|. A wrong rule
 *   gives errors of the order of 1/sqrt(elements); rounding of the float32 outputs gives about 1e-7 |Y| / step
 */
export async function checkGradient(checked: GradientCase): Promise<{ maxRelativeError: number; errors: number[] }> {
  const random = new SeededRandom(checked.seed);
  const step = checked.step ?? 1e-2;
  const b = new GraphBuilder('case');
  const names = checked.inputs.map((input, index) =>
    b.input(`x${index}`, input.integers === undefined ? 'float' : 'int64', input.shape),
  );
  const values = checked.inputs.map((input): NdArray => {
    const { shape: dims, integers, draw } = input;
    if (integers !== undefined) return { type: 'int64', dims, data: BigInt64Array.from(integers, BigInt) };
    const count = elementCount(dims);
    const data = Float32Array.from({ length: count }, (_, index) => draw?.(random, index, count) ?? random.normal());
    return { type: 'float', dims, data };
  });
  const outputs = checked.build(b, names);
  const model = b.model(21, { 'com.microsoft': 1 });
  const types = new StaticTypes(model);
  const seeds = outputs.map((of, index) => ({ of, gradient: b.input(`v${index}`, 'float', types.shape(of)) }));
  const directions = seeds.map(({ of }) => randomArray(random, types.shape(of)));
  const wrt = names.filter((_, index) => isDifferentiated(checked.inputs[index]));
  const gradients = differentiate(b, {
    loss: seeds,
    wrt,
    types,
    ...(checked.rules === undefined ? {} : { rules: checked.rules }),
  });
  for (const output of outputs) b.output(output, `out_${output}`, 'float', types.shape(output));
  for (const name of wrt) {
    b.output(defined(gradients.get(name), `gradient of ${name}`), `grad_of_${name}`, 'float', types.shape(name));
  }
  const session = await runtime.createSession(model, { threads: 1 });
  try {
    const feeds: Record<string, NdArray> = {};
    names.forEach((name, index) => (feeds[name] = defined(values[index], name)));
    seeds.forEach(({ gradient }, index) => (feeds[gradient] = defined(directions[index], gradient)));
    const lossAt = async (changed: Record<string, NdArray>): Promise<number> => {
      const results = await session.run(
        { ...feeds, ...changed },
        outputs.map((output) => `out_${output}`),
      );
      return outputs.reduce((sum, output, index) => sum + dot(results.get(`out_${output}`), directions[index]), 0);
    };
    const analytic = await session.run(
      feeds,
      wrt.map((name) => `grad_of_${name}`),
    );
    const errors: number[] = [];
    for (const name of wrt) {
      const value = defined(feeds[name], name);
      const u = randomArray(random, value.dims);
      const numeric =
        ((await lossAt({ [name]: moved(value, u, step) })) - (await lossAt({ [name]: moved(value, u, -step) }))) /
        (2 * step);
      const gradient = defined(analytic.get(`grad_of_${name}`), name);
      if (gradient.dims.join() !== value.dims.join()) {
        throw new Error(`gradient of ${name} is [${gradient.dims.join()}], the value [${value.dims.join()}]`);
      }
      const size = Math.sqrt(dot(gradient, gradient) * dot(u, u));
      errors.push(Math.abs(numeric - dot(gradient, u)) / Math.max(size, 1e-6));
    }
    return { maxRelativeError: Math.max(...errors), errors };
  } finally {
    await session.release();
  }
}

function isDifferentiated(input: CheckedInput | undefined): boolean {
  return input?.integers === undefined && input?.differentiated !== false;
}

export function randomArray(random: SeededRandom, dims: readonly number[]): NdArray {
  return { type: 'float', dims, data: Float32Array.from({ length: elementCount(dims) }, () => random.normal()) };
}

function numbersOf(array: NdArray | undefined): Float32Array {
  const data = array?.data;
  if (!(data instanceof Float32Array)) throw new Error('expected a float array');
  return data;
}

/** Inner product in float64. */
export function dot(a: NdArray | undefined, b: NdArray | undefined): number {
  const [left, right] = [numbersOf(a), numbersOf(b)];
  if (left.length !== right.length) throw new Error(`lengths ${left.length} and ${right.length} differ`);
  let sum = 0;
  for (let index = 0; index < left.length; index += 1) sum += (left[index] ?? 0) * (right[index] ?? 0);
  return sum;
}

function moved(array: NdArray, direction: NdArray, step: number): NdArray {
  const [data, along] = [numbersOf(array), numbersOf(direction)];
  return { type: 'float', dims: array.dims, data: data.map((value, index) => value + step * (along[index] ?? 0)) };
}

/** |x| at least `gap`: away from a kink at 0. */
export function awayFromZero(gap: number): Draw {
  return (random) => {
    const value = random.normal();
    return value + Math.sign(value) * gap;
  };
}

/** Uniform in [low, high], none within `gap` of a kink: a draw too near is moved to the other side of the gap. */
export function between(low: number, high: number, kinks: readonly number[] = [], gap = 0.1): Draw {
  return (random) => {
    for (;;) {
      const value = low + (high - low) * random.uniform();
      if (kinks.every((kink) => Math.abs(value - kink) > gap)) return value;
    }
  };
}

/** A shuffled grid of step `spacing`: no two elements of one input are near each other, so no maximum changes place. */
export function distinct(spacing: number): Draw {
  let order: number[] = [];
  return (random, index, count) => {
    if (index === 0) {
      order = Array.from({ length: count }, (_, position) => position);
      for (let last = count - 1; last > 0; last -= 1) {
        const other = Math.floor(random.uniform() * (last + 1));
        [order[last], order[other]] = [order[other] ?? 0, order[last] ?? 0];
      }
    }
    return ((order[index] ?? 0) - count / 2) * spacing;
  };
}
