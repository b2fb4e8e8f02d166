import { CompressionError } from '../errors.ts';
import { elementCount } from '../onnx/nd-array.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import type { Model } from '../onnx/model.ts';
import { makeNode, type Node } from '../onnx/node.ts';
import type { Runtime } from '../runtime/session.ts';
import { StaticTypes } from './static-types.ts';

/** Domain of the layout in which ONNX Runtime's fastest convolutions work: [N, C / block, H, W, block]. */
const BLOCKED = 'com.microsoft.nchwc';
/** Beyond this the reordering of weights, anew in each step, costs what the kernel gains. */
const MAX_WEIGHTS = 2 ** 20;

const blocks = new WeakMap<Runtime, Promise<number>>();

/**
 * Channels that the blocked kernels of ONNX Runtime take at a time on this CPU (16 with AVX-512, 8 with AVX2), or 1 where it
 * has none. Asked of the runtime itself: one channel, reordered, comes back as a whole block.
 */
export function convolutionBlock(runtime: Runtime): Promise<number> {
  const known = blocks.get(runtime) ?? probe(runtime);
  blocks.set(runtime, known);
  return known;
}

async function probe(runtime: Runtime): Promise<number> {
  const b = new GraphBuilder('probe');
  const x = b.input('x', 'float', [1, 4, 1, 1]);
  b.graph.outputs.push({ name: b.op('ReorderInput', [x], { domain: BLOCKED }), type: undefined });
  try {
    const session = await runtime.createSession(b.model(21, { [BLOCKED]: 1 }), { threads: 1 });
    try {
      const results = await session.run({ x: { type: 'float', dims: [1, 4, 1, 1], data: new Float32Array(4) } });
      return [...results.values()][0]?.dims[1] ?? 1;
    } finally {
      await session.release();
    }
  } catch (error) {
    if (error instanceof CompressionError && ['MODEL_LOAD', 'MODEL_RUN'].includes(error.code)) return 1;
    throw error;
  }
}

/**
 * Puts convolutions on ONNX Runtime's blocked kernels, which it uses by itself only where weights are constant; in a training
 * step they are inputs. Inputs, weights and outputs are reordered around each node, so the graph around it stays as it is.
 * A lowering for a session, done last: such a model is for this CPU.
 *
 * Gains, AVX-512, two threads, reordering included, ms: 128x16x16x32 k3 3.6 -> 2.9, 128x32x32x16 2.4 -> 1.7, 128x64x64x8 2.0 -> 1.6,
 * 16x64x64x56 11.4 -> 8.7, 16x256x256x14 14.6 -> 8.7; none for 1x1 kernels and for 16x512x512x7.
 *
 * @param block - of `convolutionBlock`
 * @returns number of nodes lowered
 */
export function blockConvolutions(model: Model, block: number): number {
  if (block <= 1) return 0;
  const { graph } = model;
  const types = new StaticTypes(model);
  const b = new GraphBuilder(graph);
  const nodes = graph.nodes;
  graph.nodes = [];
  const reordered = new Map<string, string>();
  let lowered = 0;
  for (const node of nodes) {
    const [input = '', weights = ''] = node.inputs;
    const isFree = isCandidate(node) && !graph.initializers.has(weights) && types.elementType(weights) === 'float';
    const shape = isFree ? types.knownShape(weights) : undefined;
    if (shape === undefined || !fits(shape, block)) {
      graph.nodes.push(node);
      continue;
    }
    const [maps = 1] = shape;
    let x = reordered.get(input);
    if (x === undefined) {
      x = b.op('ReorderInput', [input], { domain: BLOCKED, name: `${node.name}_reorder` });
      reordered.set(input, x);
    }
    const blocked = b.fresh(`${node.name}_blocked`);
    const inputs = [x, blockedWeights(b, { name: node.name, weights, shape }, block), ...node.inputs.slice(2)];
    const conv = makeNode('Conv', inputs, [blocked], { name: node.name, domain: BLOCKED });
    for (const [name, value] of node.attributes) conv.attributes.set(name, value);
    graph.nodes.push(
      conv,
      makeNode('ReorderOutput', [blocked], node.outputs, {
        name: b.fresh(`${node.name}_restore`),
        domain: BLOCKED,
        attributes: { channels: maps },
      }),
    );
    lowered += 1;
  }
  if (lowered > 0) model.opsetImports.set(BLOCKED, 1);
  return lowered;
}

function isCandidate(node: Node): boolean {
  return node.opType === 'Conv' && node.domain === '' && node.int('group', 1) === 1;
}

/** Two spatial axes, a window to walk over, whole blocks of channels on both sides. */
function fits(weights: readonly number[], block: number): boolean {
  const [maps = 1, channels = 1, ...kernel] = weights;
  const isWindow = kernel.length === 2 && elementCount(kernel) > 1;
  return isWindow && maps % block === 0 && channels % block === 0 && elementCount(weights) <= MAX_WEIGHTS;
}

/** [M, C, kh, kw] -> [M / block, C / block, kh, kw, block of C, block of M], under the shape [M, C, kh, kw]. */
function blockedWeights(
  b: GraphBuilder,
  { name, weights, shape }: { readonly name: string; readonly weights: string; readonly shape: readonly number[] },
  block: number,
): string {
  const [maps = 1, channels = 1, height = 1, width = 1] = shape;
  const split = b.ints('split', [maps / block, block, channels / block, block, height, width]);
  const parts = b.op('Reshape', [weights, split], { name: `${name}_split` });
  const ordered = b.op('Transpose', [parts], { name: `${name}_order`, attributes: { perm: [0, 2, 4, 5, 3, 1] } });
  return b.op('Reshape', [ordered, b.ints('joined', shape)], { name: `${name}_weights` });
}
