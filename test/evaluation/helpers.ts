import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import { Graph } from '../../src/onnx/graph.ts';
import { Model } from '../../src/onnx/model.ts';
import type { NdArray } from '../../src/onnx/nd-array.ts';
import { makeNode, type Node } from '../../src/onnx/node.ts';
import type { Tensor } from '../../src/onnx/tensor.ts';
import type { ValueInfo } from '../../src/onnx/value-type.ts';
import type { FeedSource } from '../../src/passes/pass.ts';
import type { Session, SessionValue } from '../../src/runtime/session.ts';
import type { EvaluationContext, Subject } from '../../src/evaluation/evaluation-context.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';

export function model(fields: {
  nodes: Node[];
  inputs: ValueInfo[];
  outputs: ValueInfo[];
  initializers?: Tensor[];
  opset?: number;
}): Model {
  return new Model({
    irVersion: 8,
    opsetImports: new Map([['', fields.opset ?? 13]]),
    graph: new Graph({
      name: 'g',
      nodes: fields.nodes,
      inputs: fields.inputs,
      outputs: fields.outputs,
      initializers: new Map((fields.initializers ?? []).map((tensor) => [tensor.name, tensor])),
    }),
  });
}

export { makeNode };

/** Samples one by one from rows of one float input `x`; labels as given. */
export function rows(
  values: readonly (readonly number[])[],
  labels?: { type: 'int64' | 'float'; values: readonly number[] },
  batchSize = 4,
): FeedSource {
  const width = values[0]?.length ?? 0;
  const each = (labels?.values.length ?? 0) / values.length;
  return {
    samples: values.length,
    async *batches(size = batchSize) {
      for (let from = 0; from < values.length; from += size) {
        const part = values.slice(from, from + size);
        const some = labels?.values.slice(from * each, (from + size) * each);
        yield await Promise.resolve({
          feeds: { x: float(part.flat(), [part.length, width]) },
          count: part.length,
          ...(some === undefined || labels === undefined ? {} : { labels: labelArray(labels.type, some, part.length) }),
        });
      }
    },
  };
}

function labelArray(type: 'int64' | 'float', values: readonly number[], count: number): NdArray {
  return type === 'int64'
    ? { type, dims: [count], data: BigInt64Array.from(values, BigInt) }
    : float(values, [count, values.length / count]);
}

export function float(values: readonly number[], dims: readonly number[] = [values.length]): NdArray {
  return { type: 'float', dims, data: Float32Array.from(values) };
}

/** A session whose outputs a function makes from the feeds: for what no real model does on demand (NaN, text). */
export function fakeSession(
  outputs: readonly SessionValue[],
  run: (feeds: Readonly<Record<string, NdArray>>) => Readonly<Record<string, NdArray>>,
): Session {
  return {
    inputs: [{ name: 'x', type: 'float', shape: [null, null] }],
    outputs,
    run: (feeds) => Promise.resolve(new Map(Object.entries(run(feeds)))),
    endProfiling: () => undefined,
    release: () => Promise.resolve(),
  };
}

/** A private folder with the models in files, and a context on ONNX Runtime; removed afterwards. */
export async function withContext<T>(
  use: (context: EvaluationContext, write: (name: string, model: Model) => Promise<Subject>) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'tersor-evaluation-'));
  try {
    const context = { runtime: createRuntime(folder), threads: 1, seed: 0, folder, latencyBudgetMs: 60 };
    return await use(context, async (name, written) => {
      const path = join(folder, name);
      await writeFile(path, encodeModel(written));
      return { model: written, path };
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
