import { CompressionError } from '../../errors.ts';
import { GraphBuilder } from '../../onnx/graph-builder.ts';
import { usesOf } from '../../onnx/graph.ts';
import { opsetOf, type Model } from '../../onnx/model.ts';
import type { NdArray } from '../../onnx/nd-array.ts';
import { makeNode, type Node } from '../../onnx/node.ts';
import { upgradeOpset } from '../../onnx/upgrade/upgrade-opset.ts';
import type { Runtime } from '../../runtime/session.ts';
import { tensorValue } from '../../onnx/value-type.ts';
import { sortTopologically } from '../../onnx/verify/topological-order.ts';
import { copyModel } from '../copy-model.ts';
import { fixNetwork } from '../fixed-network.ts';
import { parametersOf } from '../parameters.ts';
import { pruneGraph } from '../prune-graph.ts';
import { StaticTypes } from '../static-types.ts';

export interface ProbeContext {
  readonly runtime: Runtime;
  readonly threads: number;
  readonly signal: AbortSignal;
}

/** A layer with weights: what the proxies sum over. */
export interface ProbeLayer {
  readonly weight: string;
  /** The value that the layer gives, before normalization and activation. */
  readonly output: string;
  /** Axis of its channels. */
  readonly channelAxis: number;
}

/** A network that is looked at without being trained: a copy, with every size fixed. */
export interface ProbeNetwork {
  readonly model: Model;
  readonly b: GraphBuilder;
  readonly types: StaticTypes;
  readonly scores: string;
  readonly layers: readonly ProbeLayer[];
}

const PROBE_OPSET = 21;

/**
 * @param shapes - of a batch's arrays, by input name
 * @param normalization - `batch`: by the batch's own statistics, written out in plain operators, which can be differentiated
 *   twice; `none`: left out
 * @throws CompressionError MODEL_UNSUPPORTED, MODEL_INVALID
 */
export function probeNetwork(
  model: Model,
  shapes: Readonly<Record<string, readonly number[]>>,
  normalization: 'batch' | 'none',
): ProbeNetwork {
  const copy = copyModel(model);
  upgradeOpset(copy, PROBE_OPSET);
  if (opsetOf(copy) < 18) {
    throw new CompressionError(
      'MODEL_UNSUPPORTED',
      `proxies need opset 18 or newer, the model stays at ${opsetOf(copy)}; export it again`,
    );
  }
  const { model: fixed, scores } = fixNetwork(copy, shapes);
  const { graph } = fixed;
  const layers = layersOf(fixed);
  const b = new GraphBuilder(graph);
  const nodes = graph.nodes;
  graph.nodes = [];
  const replaced = nodes.map((node) => {
    if (node.domain !== '') return node;
    // Dropout is for training to the end; a single look would see its noise.
    if (node.opType === 'Dropout') return identity(node);
    if (node.opType !== 'BatchNormalization') return node;
    return normalization === 'none' ? identity(node) : normalizedByBatch(b, node);
  });
  graph.nodes.push(...replaced);
  graph.outputs = [];
  sortTopologically(graph);
  return { model: fixed, b, types: new StaticTypes(fixed), scores, layers };
}

function identity(node: Node): Node {
  return makeNode('Identity', [node.inputs[0] ?? ''], [node.outputs[0] ?? ''], { name: node.name });
}

/** (x - mean) / sqrt(var + eps) scale + bias, with the mean and the biased variance of the batch. */
function normalizedByBatch(b: GraphBuilder, node: Node): Node {
  const [x = '', scale = '', bias = ''] = node.inputs;
  const rank = b.ints('per_channel', [1, -1, 1, 1]);
  const axes = b.ints('batch_and_places', [0, 2, 3]);
  const mean = (value: string): string => b.op('ReduceMean', [value, axes], { attributes: { keepdims: 1 } });
  const centred = b.op('Sub', [x, mean(x)]);
  const variance = mean(b.op('Mul', [centred, centred]));
  const deviation = b.op('Sqrt', [b.op('Add', [variance, b.float('epsilon', node.float('epsilon', 1e-5))])]);
  const slope = b.op('Div', [b.op('Reshape', [scale, rank]), deviation]);
  return makeNode('Add', [b.op('Mul', [centred, slope]), b.op('Reshape', [bias, rank])], [node.outputs[0] ?? ''], {
    name: node.name,
  });
}

function layersOf(model: Model): ProbeLayer[] {
  const uses = usesOf(model.graph);
  return parametersOf(model).flatMap(({ name, role }) => {
    const node = uses.get(name)?.[0]?.node;
    if (role !== 'weight' || node === undefined) return [];
    return [{ weight: name, output: node.outputs[0] ?? '', channelAxis: node.opType === 'MatMul' ? -1 : 1 }];
  });
}

/** Runs the network once on the batch, for what was made a graph output. */
export async function runProbe(
  { model }: ProbeNetwork,
  feeds: Readonly<Record<string, NdArray>>,
  { runtime, threads, signal }: ProbeContext,
): Promise<ReadonlyMap<string, NdArray>> {
  signal.throwIfAborted();
  pruneGraph(model.graph);
  model.opsetImports.set('com.microsoft', 1);
  // Looking for fusions takes longer than they would save in one run.
  const session = await runtime.createSession(model, { threads, memoryPattern: false, optimization: 'disabled' });
  try {
    signal.throwIfAborted();
    const read = new Set(session.inputs.map(({ name }) => name));
    return await session.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => read.has(name))));
  } finally {
    await session.release();
  }
}

/** Makes a value an output of the network; its name. */
export function expose({ model }: ProbeNetwork, value: string): string {
  model.graph.outputs.push(tensorValue(value, 'float'));
  return value;
}

/** The only number of a result. */
export function scalarOf(results: ReadonlyMap<string, NdArray>, name: string | undefined): number {
  return Number(results.get(name ?? '')?.data[0] ?? NaN);
}
