import { Graph } from '../../../src/onnx/graph.ts';
import { Model } from '../../../src/onnx/model.ts';
import type { Node } from '../../../src/onnx/node.ts';
import type { Tensor } from '../../../src/onnx/tensor.ts';
import type { ValueInfo } from '../../../src/onnx/value-type.ts';
import { canonicalize } from '../../../src/passes/canonicalize/canonicalize.ts';
import type { PassContext, PassResult } from '../../../src/passes/pass.ts';

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
  runtime: { version: 'none', createSession: () => Promise.reject(new Error('no session is needed here')) },
  threads: 1,
  seed: 1,
  targetCpu: 'portable',
  data: {},
  costTable: { hash: '', cpuKind: '', runtimeVersion: '', threads: 1, entries: [] },
  cpuFlags: new Set<string>(),
  signal: new AbortController().signal,
  progress: () => undefined,
  log: () => undefined,
};

export async function canonicalized(model: Model, options: object = {}): Promise<PassResult> {
  return canonicalize.run(model, canonicalize.options.parse(options), context);
}
