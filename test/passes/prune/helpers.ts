import assert from 'node:assert/strict';
import { SeededRandom } from '../../../src/data/seeded-random.ts';
import { NameScope } from '../../../src/onnx/graph.ts';
import type { Model } from '../../../src/onnx/model.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { elementCount } from '../../../src/onnx/nd-array.ts';
import { makeNode, type Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { removeChannels } from '../../../src/passes/prune/channels/remove-channels.ts';
import { analyzeChannels, type ChannelAnalysis } from '../../../src/passes/prune/groups/analyze-channels.ts';
import type { Axes } from '../../../src/passes/prune/groups/axis.ts';
import { channelGroups } from '../../../src/passes/prune/groups/channel-groups.ts';
import { copyModel } from '../../../src/training/copy-model.ts';
import { isAdder } from '../../../src/zoo/adder2d.ts';
import { net, runtime, type NetParts } from '../quantize/helpers.ts';

/**
 * Operators that only move values or keep zero at zero: a channel that is zero ahead of them is zero behind them. Those
 * that give integers or truth values cannot be multiplied by a mask; their readers are. Where a weight is what they move (the
 * table of an embedding), they make values as a layer does.
 */
const KEEPS_ZERO =
  /^(Relu|Identity|Reshape|Flatten|Transpose|Concat|Split|Slice|Pad|Gather|Squeeze|Unsqueeze|MaxPool|AveragePool|GlobalAveragePool|GlobalMaxPool|HardSwish|Gelu|Dropout|Cast|Expand|Tile|Tanh|Neg|Abs|ReduceMean|QuantizeLinear|Greater)$/;

/**
 * The original with the removed channels held at zero where they are made: a product with a mask of zeros and ones behind
 * every node that makes values. What only moves values must carry the zeros itself, so that a wrong map between axes shows.
 * An adder layer sees |x - w| of a zero channel, so there the weights of the channel are zero too. Changes the model.
 */
export function maskRemoved(model: Model, { axes, atoms }: ChannelAnalysis, removed: Uint8Array): void {
  const { graph } = model;
  const names = new NameScope(graph);
  const isKept = (atom: number): boolean => removed[atoms.root(atom)] !== 1;
  const nodes: Node[] = [];
  for (const node of graph.nodes) {
    nodes.push(node);
    if (isAdder(node)) zeroColumns(model, node, axes.get(node.inputs[1] ?? ''), isKept);
    const movesWeight = node.inputs.some((name) => graph.initializers.has(name) && hasChannels(axes.get(name)));
    if (KEEPS_ZERO.test(node.opType) && !movesWeight) continue;
    for (const [index, output] of node.outputs.entries()) {
      const own = axes.get(output);
      if (own === undefined) continue;
      const factors = maskFactors(own, isKept);
      if (factors.length === 0) continue;
      let value = names.fresh(`${output}_made`);
      node.outputs[index] = value;
      factors.forEach((mask, position) => {
        const name = names.fresh(`${output}_mask`);
        graph.initializers.set(name, mask.renamed(name));
        const next = position === factors.length - 1 ? output : names.fresh(`${output}_part`);
        nodes.push(makeNode('Mul', [value, name], [next], { name: names.fresh('mask') }));
        value = next;
      });
    }
  }
  graph.nodes = nodes;
}

function hasChannels(axes: Axes | undefined): boolean {
  return axes?.some(({ kind }) => kind === 'channels') ?? false;
}

/** One tensor of zeros and ones for each axis that loses channels, shaped to broadcast. */
function maskFactors(axes: Axes, isKept: (atom: number) => boolean): Tensor[] {
  return axes.flatMap((axis, at) => {
    if (axis.kind === 'fixed' || axis.atoms.every(isKept)) return [];
    const dims = axes.map((_, other) => (other === at ? axis.atoms.length : 1));
    return [
      Tensor.float(
        'mask',
        Array.from(axis.atoms, (atom) => (isKept(atom) ? 1 : 0)),
        dims,
      ),
    ];
  });
}

function zeroColumns(model: Model, node: Node, axes: Axes | undefined, isKept: (atom: number) => boolean): void {
  const name = node.inputs[1] ?? '';
  const tensor = model.graph.initializers.get(name);
  const axis = axes?.[1];
  if (tensor === undefined || axis?.kind !== 'channels') return;
  const values = Float32Array.from(tensor.floats());
  const [, columns = 1, ...kernel] = tensor.dims;
  const inner = elementCount(kernel);
  for (let i = 0; i < values.length; i += 1) {
    if (!isKept(axis.atoms[Math.floor(i / inner) % columns] ?? 0)) values[i] = 0;
  }
  model.graph.initializers.set(name, Tensor.float(name, values, tensor.dims));
}

/** Statistics, scales and biases as a trained network has them; a fresh one's zeros would hide mistakes. */
export function randomizeVectors(model: Model, seed: number): void {
  const random = new SeededRandom(seed);
  const variances = new Set<string>();
  for (const node of model.graph.nodes) if (node.opType === 'BatchNormalization') variances.add(node.inputs[4] ?? '');
  for (const [name, tensor] of model.graph.initializers) {
    if (tensor.dataType !== 'float' || tensor.dims.length !== 1) continue;
    const values = Float32Array.from({ length: tensor.elementCount }, () =>
      variances.has(name) ? 0.5 + random.uniform() : 0.3 * random.normal() + (name.endsWith('weight') ? 1 : 0),
    );
    model.graph.initializers.set(name, Tensor.float(name, values, tensor.dims));
  }
}

/** Noise for every input; open sizes become `batch`. */
export function noiseFeeds(model: Model, seed: number, batch = 1): Record<string, NdArray> {
  const random = new SeededRandom(seed);
  const feeds: Record<string, NdArray> = {};
  for (const { name, type } of model.graph.inputs) {
    if (model.graph.initializers.has(name) || type?.kind !== 'tensor') continue;
    const dims = (type.shape ?? []).map((size) => (typeof size === 'number' ? size : batch));
    feeds[name] = {
      type: 'float',
      dims,
      data: Float32Array.from({ length: elementCount(dims) }, () => random.normal()),
    };
  }
  return feeds;
}

export async function run(model: Model, feeds: Readonly<Record<string, NdArray>>): Promise<Float32Array[]> {
  const session = await runtime.createSession(model, { threads: 1, optimization: 'disabled' });
  try {
    return [...(await session.run(feeds)).values()].map(({ data }) => Float32Array.from(data as Float32Array));
  } finally {
    await session.release();
  }
}

/** Largest difference over the largest value of the reference. */
export function relativeDifference(reference: readonly Float32Array[], got: readonly Float32Array[]): number {
  let [difference, scale] = [0, 0];
  reference.forEach((values, index) => {
    const other = got[index];
    if (other?.length !== values.length) difference = Infinity;
    values.forEach((value, i) => {
      difference = Math.max(difference, Math.abs(value - (other?.[i] ?? NaN)));
      if (Number.isNaN(value - (other?.[i] ?? NaN))) difference = NaN;
      scale = Math.max(scale, Math.abs(value));
    });
  });
  return difference / (scale || 1);
}

/** Takes a random share of every group's channels; at least one stays. */
export function randomRemoval(
  analysis: ChannelAnalysis,
  groups: readonly { readonly roots: Int32Array }[],
  { share, seed }: { share: number; seed: number },
): Uint8Array {
  const random = new SeededRandom(seed);
  const removed = new Uint8Array(analysis.atoms.count);
  for (const { roots } of groups) {
    const order = Array.from(roots).map((root) => ({ root, key: random.uniform() }));
    order.sort((a, b) => a.key - b.key);
    const count = Math.min(roots.length - 1, Math.floor(roots.length * share + random.uniform()));
    for (const { root } of order.slice(0, count)) removed[root] = 1;
  }
  return removed;
}

/** A network whose channels can go, and the sizes of its groups in order of first use. */
export interface RemovableCase {
  readonly parts: NetParts;
  readonly groups: readonly number[];
}

/**
 * Random channels removed at several shares give the outputs of the network with the same channels held at zero.
 *
 * @param sizes - of the groups, in order of first use
 */
export async function assertRemovable(parts: NetParts, sizes: readonly number[]): Promise<void> {
  for (const share of [0.3, 0.6, 0.9]) {
    // Nodes are changed in place, and the table holds one of each.
    const model = copyModel(net(parts));
    const masked = copyModel(model);
    const analysis = analyzeChannels(model);
    const { groups } = channelGroups(analysis);
    assert.deepEqual(
      groups.map(({ roots }) => roots.length),
      sizes,
    );
    const removed = randomRemoval(analysis, groups, { share, seed: Math.round(share * 10) });
    maskRemoved(masked, analysis, removed);
    assert.ok(removeChannels(analysis, removed) > 0);
    verifyModel(model);
    const feeds = noiseFeeds(model, 1);
    const difference = relativeDifference(await run(masked, feeds), await run(model, feeds));
    // The same sums in float32 without the zeros: rounding only.
    assert.ok(difference < 1e-5, `relative difference ${difference} at share ${share}`);
  }
}
