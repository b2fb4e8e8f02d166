import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import { Graph } from '../../../src/onnx/graph.ts';
import { Model } from '../../../src/onnx/model.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import type { Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { calibrate } from '../../../src/passes/calibrate.ts';
import {
  NO_CHECKPOINT,
  type FeedSource,
  type Pass,
  type PassContext,
  type PassResult,
} from '../../../src/passes/pass.ts';
import { emptyCostTable } from '../../../src/passes/cost/kernel-cost-table.ts';
import { createRuntime } from '../../../src/runtime/onnxruntime.ts';

export const runtime = createRuntime('.');

/** Numbers in [-1, 1) that look random and are the same everywhere. */
export function noise(count: number, seed = 1): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

export function weight(name: string, dims: readonly number[], seed = 1, scale = 0.3): Tensor {
  const count = dims.reduce((product, dim) => product * dim, 1);
  return Tensor.float(
    name,
    noise(count, seed).map((value) => value * scale),
    dims,
  );
}

export interface NetParts {
  readonly nodes: readonly Node[];
  readonly tensors?: readonly Tensor[];
  readonly inputs: Readonly<Record<string, readonly (number | string)[]>>;
  readonly outputs: Readonly<Record<string, readonly (number | string)[]>>;
}

export function net({ nodes, tensors = [], inputs, outputs }: NetParts): Model {
  const values = (shapes: NetParts['inputs']) =>
    Object.entries(shapes).map(([name, shape]) => tensorValue(name, 'float', shape));
  const graph = new Graph({ name: 'net', nodes: [...nodes], inputs: values(inputs), outputs: values(outputs) });
  for (const tensor of tensors) graph.initializers.set(tensor.name, tensor);
  return new Model({ graph, irVersion: 10, opsetImports: new Map([['', 21]]) });
}

/** Eight samples of noise for one input, given one (or all) at a time. */
export function source(input: string, dims: readonly number[], amplitude = 1): FeedSource {
  const count = dims.reduce((product, dim) => product * dim, 1);
  return {
    samples: 8,
    async *batches() {
      for (let sample = 0; sample < 8; sample += 1) {
        const data = noise(count, 100 + sample).map((value) => value * amplitude);
        const array: NdArray = { type: 'float', dims, data };
        yield await Promise.resolve({ feeds: { [input]: array }, count: 1 });
      }
    },
  };
}

export function contextOf(calibration?: FeedSource, changes: Partial<PassContext> = {}): PassContext {
  return {
    runtime,
    threads: 1,
    seed: 0,
    targetCpu: 'portable',
    cpuFlags: new Set(),
    checkpoint: NO_CHECKPOINT,
    data: calibration === undefined ? {} : { calibration },
    costTable: emptyCostTable(),
    signal: new AbortController().signal,
    progress: () => undefined,
    log: () => undefined,
    ...changes,
  };
}

/** What the pass manager does, without its checks. */
export async function apply(pass: Pass, model: Model, options: unknown, context: PassContext): Promise<PassResult> {
  const parsed = pass.options.parse(options);
  const points = pass.observe?.(model, parsed, context) ?? [];
  const { calibration } = context.data;
  if (points.length === 0 || calibration === undefined) return pass.run(model, parsed, context);
  return pass.run(model, parsed, { ...context, observations: await calibrate(model, points, calibration, context) });
}

export async function outputOf(
  model: Model,
  feeds: Readonly<Record<string, NdArray>>,
  optimization: 'disabled' | 'all' = 'all',
): Promise<Float32Array> {
  const session = await runtime.createSession(model, { threads: 1, optimization });
  try {
    const [first] = (await session.run(feeds)).values();
    return Float32Array.from(first?.data as Float32Array);
  } finally {
    await session.release();
  }
}

export function cosine(a: Float32Array, b: Float32Array): number {
  let [dot, aa, bb] = [0, 0, 0];
  a.forEach((value, i) => {
    dot += value * (b[i] ?? 0);
    aa += value * value;
    bb += (b[i] ?? 0) ** 2;
  });
  return dot / Math.sqrt(aa * bb);
}

/** Operators of the main graph, counted. */
export function operators(model: Model): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { opType } of model.graph.nodes) counts[opType] = (counts[opType] ?? 0) + 1;
  return counts;
}

/** The model as ONNX Runtime has fused it. */
export async function optimizedModel(model: Model): Promise<Model> {
  const folder = mkdtempSync(join(tmpdir(), 'quantize-'));
  try {
    const path = join(folder, 'optimized.onnx');
    const session = await runtime.createSession(model, {
      threads: 1,
      optimization: 'extended',
      optimizedModelPath: path,
    });
    await session.release();
    return decodeModel(readFileSync(path));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Operators of the main graph as ONNX Runtime has fused it, counted. */
export async function optimizedOperators(model: Model): Promise<Record<string, number>> {
  return operators(await optimizedModel(model));
}
