import { describeNode, type Node } from '../../../onnx/node.ts';
import type { Skipped } from '../../pass.ts';
import { Merged, unitCount, type Mark } from './labels.ts';
import { Obstacle } from './obstacle.ts';
import { spread, type GraphFacts, type Spread } from './spread.ts';

/** One attention with its heads, or one dense block with its hidden features. */
export interface Site {
  readonly kind: 'heads' | 'features';
  /** The product of shares and values, or the layer that makes the features. */
  readonly node: Node;
  readonly units: number;
  /** Heads a unit holds: more than one where heads share keys and values. */
  readonly headsPerUnit: number;
  readonly spread: Spread;
  readonly weights: readonly WeightUse[];
}

/** A layer that makes the units (columns of its weight) or takes them in (rows). */
export interface WeightUse {
  readonly node: Node;
  readonly side: 'makes' | 'takes';
  /** Of the value outside of the weight: the layer's output or input, last axis. */
  readonly mark: Mark;
  /** Axis of the weight (input 1) that belongs to the units. */
  readonly axis: number;
}

export interface FoundSites {
  readonly sites: readonly Site[];
  readonly skipped: readonly Skipped[];
}

const BETWEEN: ReadonlySet<string> = new Set(['Dropout', 'Identity', 'Cast', 'Reshape', 'Transpose', 'Mul', 'Where']);
const FUSED: ReadonlySet<string> = new Set([
  ':Attention',
  'com.microsoft:Attention',
  'com.microsoft:MultiHeadAttention',
  'com.microsoft:GroupQueryAttention',
  'com.microsoft:PackedAttention',
  'com.microsoft:QAttention',
]);
const MAX_RESTARTS = 8;

/** Every attention written as softmax(Q K) V, in graph order. Changes nothing. */
export function findHeads(facts: GraphFacts): FoundSites {
  const sites: Site[] = [];
  const skipped: Skipped[] = [];
  for (const node of facts.graph.nodes) {
    if (FUSED.has(`${node.domain}:${node.opType}`)) {
      skipped.push({ node: describeNode(node), reason: 'attention in one fused operator is not taken apart' });
    }
    const [shares = '', values = ''] = node.inputs;
    if (node.opType !== 'MatMul' || facts.constant(values) !== undefined || !comesFromSoftmax(facts, shares)) continue;
    const found = trySite(facts, { kind: 'heads', node, value: shares, mark: headsOf(facts, shares) });
    if (typeof found === 'string') skipped.push({ node: describeNode(node), reason: found });
    else sites.push(found);
  }
  return { sites, skipped };
}

/** Hidden features between two dense layers with an activation, in graph order; gated ones once for both layers. Changes nothing. */
export function findFeatures(facts: GraphFacts, heads: readonly Site[]): FoundSites {
  const taken = new Set(heads.flatMap(({ weights }) => weights.map(({ node }) => node)));
  const sites: Site[] = [];
  const reasons = new Map<Node, string>();
  for (const node of facts.graph.nodes) {
    if (!isDense(facts, node) || taken.has(node)) continue;
    const [value = ''] = node.outputs;
    const shape = facts.types.shape(value);
    if (shape === undefined) continue;
    const axis = shape.length - 1;
    const mark = { axis, labels: Int32Array.from({ length: shape[axis] ?? 0 }, (_, at) => at) };
    const found = trySite(facts, { kind: 'features', node, value, mark });
    if (typeof found === 'string') reasons.set(node, `its outputs stay: ${found}`);
    else {
      sites.push(found);
      for (const use of found.weights) if (use.side === 'makes') taken.add(use.node);
    }
  }
  // The second layer of a block writes what goes on through the network: that it stays is no news.
  for (const { weights } of sites) for (const { node } of weights) reasons.delete(node);
  const skipped = [...reasons].map(([node, reason]) => ({ node: describeNode(node), reason }));
  return { sites, skipped };
}

function isDense(facts: GraphFacts, node: Node): boolean {
  return (
    node.domain === '' &&
    (node.opType === 'MatMul' || node.opType === 'Gemm') &&
    facts.constant(node.inputs[1])?.dims.length === 2
  );
}

function comesFromSoftmax(facts: GraphFacts, value: string): boolean {
  let name = value;
  for (let steps = 0; steps < 8; steps += 1) {
    const node = facts.producer(name);
    if (node === undefined) return false;
    if (node.opType === 'Softmax') return true;
    if (!BETWEEN.has(node.opType)) return false;
    name = node.inputs.find((input) => facts.producer(input) !== undefined && facts.types.isFloat(input)) ?? '';
  }
  return false;
}

/** [batch, heads, queries, keys], or [batch * heads, queries, keys]; undefined when there is one head, or no telling. */
function headsOf(facts: GraphFacts, shares: string): Mark | undefined {
  const shape = facts.types.shape(shares);
  if (shape === undefined || shape.length < 3) return undefined;
  const axis = Math.max(shape.length - 3, 0);
  const size = shape[axis] ?? 0;
  const batch = shape.length === 3 ? batchSize(facts) : 1;
  const heads = size / batch;
  return Number.isInteger(heads) && heads > 1
    ? { axis, labels: Int32Array.from({ length: size }, (_, at) => at % heads) }
    : undefined;
}

function batchSize({ graph, types }: GraphFacts): number {
  const input = graph.inputs.find(({ name }) => !graph.initializers.has(name));
  return (input === undefined ? undefined : types.shape(input.name)?.[0]) ?? types.batch;
}

interface Start {
  readonly kind: Site['kind'];
  readonly node: Node;
  readonly value: string;
  readonly mark: Mark | undefined;
}

/** The site, or why there is none. */
function trySite(facts: GraphFacts, { kind, node, value, mark }: Start): Site | string {
  if (mark === undefined) return 'it has one head, or its heads cannot be told';
  let { labels } = mark;
  const all = unitCount(labels);
  try {
    for (let restart = 0; restart < MAX_RESTARTS; restart += 1) {
      const found = spread(facts, value, { axis: mark.axis, labels });
      if (found instanceof Merged) {
        const { classes } = found;
        labels = labels.map((label) => (label < 0 ? label : (classes[label] ?? -1)));
        continue;
      }
      const weights = weightsOf(facts, found);
      const obstacle =
        kind === 'features'
          ? notDense(found, weights)
          : weights.length === 0
            ? 'no weights belong to its heads'
            : undefined;
      if (obstacle !== undefined) return obstacle;
      const units = unitCount(labels);
      return { kind, node, units, headsPerUnit: all / units, spread: found, weights };
    }
    return 'its units cannot be told apart';
  } catch (error) {
    if (error instanceof Obstacle) return error.message;
    throw error;
  }
}

/** @throws Obstacle when a weight matrix has other readers: it would have to be stored twice */
function weightsOf(facts: GraphFacts, { marks, nodes }: Spread): WeightUse[] {
  const found: WeightUse[] = [];
  for (const node of nodes) {
    if (!isDense(facts, node)) continue;
    const [rows, columns] = node.opType === 'Gemm' && node.int('transB', 0) !== 0 ? [1, 0] : [0, 1];
    for (const [side, value, axis] of [
      ['makes', node.outputs[0], columns],
      ['takes', node.inputs[0], rows],
    ] as const) {
      const mark = marks.get(value ?? '');
      if (mark?.axis !== (facts.types.shape(value ?? '')?.length ?? 0) - 1) continue;
      if (facts.uses(node.inputs[1] ?? '').length > 1)
        throw new Obstacle(`the weight of ${describeNode(node)} is shared`);
      found.push({ node, side, mark, axis });
    }
  }
  return found;
}

/** What a hidden layer must not run into: attention, or nothing that takes it in. */
function notDense({ nodes, marks }: Spread, weights: readonly WeightUse[]): string | undefined {
  for (const node of nodes) {
    const isProduct = node.opType === 'MatMul' && !weights.some((use) => use.node === node);
    if (isProduct || ['Softmax', 'Transpose', 'Concat', 'Split', 'Gather'].includes(node.opType)) {
      return `they go into ${describeNode(node)}`;
    }
  }
  if (!weights.some(({ side }) => side === 'takes')) return 'no dense layer takes them in';
  const widths = new Set([...marks.values()].map(({ labels }) => labels.length));
  return widths.size > 1 ? 'they change their width on the way' : undefined;
}
