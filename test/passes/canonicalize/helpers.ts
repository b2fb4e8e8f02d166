import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import { Graph } from '../../../src/onnx/graph.ts';
import { Model } from '../../../src/onnx/model.ts';
import { elementCount, type NdArray } from '../../../src/onnx/nd-array.ts';
import type { Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import type { ValueInfo } from '../../../src/onnx/value-type.ts';
import { canonicalize } from '../../../src/passes/canonicalize/canonicalize.ts';
import { NO_CHECKPOINT, type PassContext, type PassResult } from '../../../src/passes/pass.ts';
import { createRuntime } from '../../../src/runtime/onnxruntime.ts';
import type { Feeds } from '../../../src/runtime/session.ts';

interface GraphParts {
  readonly name?: string;
  readonly nodes: readonly Node[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly initializers?: readonly Tensor[];
}

export function graphOf(parts: GraphParts): Graph {
  return new Graph({
    name: parts.name ?? 'g',
    nodes: [...parts.nodes],
    inputs: [...parts.inputs],
    outputs: [...parts.outputs],
    initializers: new Map((parts.initializers ?? []).map((tensor) => [tensor.name, tensor])),
  });
}

export function modelOf(parts: GraphParts, opset = 21, irVersion = 10): Model {
  return new Model({ graph: graphOf(parts), opsetImports: new Map([['', opset]]), irVersion });
}

export const context: PassContext = {
  runtime: createRuntime(tmpdir()),
  threads: 1,
  seed: 1,
  targetCpu: 'portable',
  data: {},
  costTable: { hash: '', cpuKind: '', runtimeVersion: '', threads: 1, entries: [] },
  cpuFlags: new Set<string>(),
  checkpoint: NO_CHECKPOINT,
  signal: new AbortController().signal,
  progress: () => undefined,
  log: () => undefined,
};

export async function canonicalized(model: Model, options: object = {}): Promise<PassResult> {
  return canonicalize.run(model, canonicalize.options.parse(options), context);
}

/** Numbers between -1 and 1 that repeat for the same seed (a linear congruential generator, Numerical Recipes). */
export function numbers(count: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

export function weight(name: string, dims: readonly number[], seed = 1): Tensor {
  return Tensor.float(name, numbers(elementCount(dims), seed), dims);
}

export function feed(dims: readonly number[], seed = 9): NdArray {
  return { type: 'float', dims, data: Float32Array.from(numbers(elementCount(dims), seed)) };
}

export async function run(model: Model, feeds: Feeds): Promise<Map<string, NdArray>> {
  const session = await context.runtime.createSession(model, { threads: 1, optimization: 'disabled' });
  try {
    return new Map(await session.run(feeds));
  } finally {
    await session.release();
  }
}

/**
 * Canonicalizes a copy and holds it against the original in ONNX Runtime; the second run must find nothing to do and
 * leave the bytes as they are.
 *
 * @param tolerance - relative to the largest value (at least 1); 0 asks for equal bits
 */
export async function checked(
  model: Model,
  feeds: Feeds,
  { tolerance = 0, options = {} }: { tolerance?: number; options?: object } = {},
): Promise<{ model: Model; result: PassResult }> {
  const copy = decodeModel(encodeModel(model).slice());
  const result = await canonicalized(copy, options);
  verifyModel(copy);
  const bytes = encodeModel(copy);
  assert.equal((await canonicalized(copy, options)).changes, 0, 'a second run changes something');
  assert.deepEqual(encodeModel(copy), bytes);
  assert.deepEqual(
    copy.graph.outputs.map((output) => output.name),
    model.graph.outputs.map((output) => output.name),
  );
  const expected = await run(model, feeds);
  const actual = await run(copy, feeds);
  for (const [name, array] of expected) {
    const other = actual.get(name);
    if (tolerance === 0) assert.deepEqual(other, array);
    else {
      assert.deepEqual(other?.dims, array.dims);
      const values = Array.from(array.data, Number);
      const size = Math.max(1, ...values.map(Math.abs));
      values.forEach((value, i) => {
        const difference = Math.abs(value - Number(other.data[i]));
        assert.ok(difference <= tolerance * size, `${name}[${i}]: ${value} became ${String(other.data[i])}`);
      });
    }
  }
  return { model: copy, result };
}
