import { producersOf, usesOf } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { describeNode, type Node } from '../../../onnx/node.ts';
import type { Skipped } from '../../pass.ts';
import { concreteTypes, type Sizes } from '../removal/concrete-types.ts';

/** A residual branch: `sum` adds what layers make of `shortcut` to `shortcut` itself. */
export interface Branch {
  readonly sum: Node;
  readonly shortcut: string;
  /** The other input of `sum`. */
  readonly residual: string;
  /** What goes on behind the sum: its output, or that of the one activation that reads it. */
  readonly output: string;
  readonly rank: number;
  /** Layers with weights between shortcut and residual, in graph order. */
  readonly layers: readonly Node[];
  /** Whether it holds an attention: a Softmax, or a fused operator. */
  readonly attends: boolean;
}

export interface FoundBranches {
  /** In graph order. */
  readonly branches: readonly Branch[];
  /** Sums that join two paths from one value and cannot be taken out. */
  readonly kept: readonly Skipped[];
}

/** What makes a branch a layer: an Add inside an activation (the cubic of GELU, say) is none. */
const LAYER_OPS: ReadonlySet<string> = new Set([
  'Conv',
  'ConvTranspose',
  'MatMul',
  'Gemm',
  'Einsum',
  'RNN',
  'GRU',
  'LSTM',
  'Attention',
  'MultiHeadAttention',
  'GroupQueryAttention',
]);

const ATTENDS = /^(Softmax|.*Attention)$/;

const ACTIVATIONS: ReadonlySet<string> = new Set([
  'Relu',
  'LeakyRelu',
  'Clip',
  'Elu',
  'Selu',
  'Sigmoid',
  'Tanh',
  'HardSwish',
  'HardSigmoid',
  'Gelu',
  'Mish',
  'Swish',
]);

/**
 * Sums whose one input is computed from the other, with layers in between, and both of one shape: the graph stays whole when
 * the sum is replaced by its shortcut. Changes nothing. O(nodes) for each sum.
 */
export function findBranches(model: Model): FoundBranches {
  const { graph } = model;
  const types = concreteTypes(model);
  const index = new Map(graph.nodes.map((node, at) => [node, at]));
  const producers = producersOf(graph);
  const uses = usesOf(graph);
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const branches: Branch[] = [];
  const kept: Skipped[] = [];

  for (const sum of graph.nodes) {
    if (sum.domain !== '' || (sum.opType !== 'Add' && sum.opType !== 'Sum') || sum.inputs.length !== 2) continue;
    const [a = '', b = ''] = sum.inputs;
    const output = sum.outputs[0] ?? '';
    if (a === b || !isComputed(a) || !isComputed(b) || !types.isFloat(output)) continue;
    const shape = types.shape(output);
    // A sum that broadcasts one side (a bias, a mask) is no place where two paths meet.
    if (shape === undefined || ![a, b].every((value) => equal(types.shape(value), shape))) continue;
    const found = between(a, b) ?? between(b, a);
    if (found === undefined) {
      const reason = whyNoShortcut(a, b, shape);
      if (reason !== undefined) kept.push({ node: describeNode(sum), reason });
      continue;
    }
    if (found.layers.length === 0) continue;
    if ((uses.get(output) ?? []).some(({ inputIndex }) => inputIndex < 0)) {
      kept.push({ node: describeNode(sum), reason: 'a nested graph (If, Loop or Scan) reads its output' });
    } else {
      branches.push({ ...found, sum, output: behind(output), rank: shape.length });
    }
  }
  return { branches, kept };

  function isComputed(value: string): boolean {
    return producers.has(value) || graph.inputs.some(({ name }) => name === value && !graph.initializers.has(name));
  }

  /** The layers that lead from `shortcut` to `residual`; undefined when `residual` does not depend on `shortcut`. */
  function between(
    shortcut: string,
    residual: string,
  ): Pick<Branch, 'shortcut' | 'residual' | 'layers' | 'attends'> | undefined {
    const first = producers.get(shortcut);
    const start = first === undefined ? -1 : (index.get(first) ?? -1);
    const order = ancestors(residual, start);
    const reached = new Set<string>([shortcut]);
    const layers: Node[] = [];
    let attends = false;
    for (const node of order) {
      if (!readsOf(node).some((name) => reached.has(name))) continue;
      for (const name of node.outputs) reached.add(name);
      if (isLayer(node)) layers.push(node);
      attends ||= ATTENDS.test(node.opType);
    }
    return reached.has(residual) ? { shortcut, residual, layers, attends } : undefined;
  }

  /** Nodes behind position `start` that `value` is computed by, in graph order. */
  function ancestors(value: string, start: number): Node[] {
    const found = new Set<Node>();
    const open = [value];
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      const node = producers.get(name);
      if (node === undefined || found.has(node) || (index.get(node) ?? -1) <= start) continue;
      found.add(node);
      open.push(...readsOf(node));
    }
    return [...found].sort((x, y) => (index.get(x) ?? 0) - (index.get(y) ?? 0));
  }

  /** Where both inputs come from one computed float value, over layers: a block whose shortcut is no plain connection. */
  function whyNoShortcut(a: string, b: string, shape: Sizes): string | undefined {
    const [left, right] = [new Set(ancestors(a, -1)), ancestors(b, -1)];
    const common = right.filter((node) => left.has(node) && node.outputs.some((name) => types.isFloat(name)));
    const last = common.at(-1);
    const own = [...left, ...right].some((node) => isLayer(node) && !common.includes(node));
    if (last === undefined || !own) return undefined;
    const fork = last.outputs[0] ?? '';
    const from = types.shape(fork);
    const change = from === undefined || equal(from, shape) ? '' : `, ${text(from)} becomes ${text(shape)}`;
    return `both of its inputs are computed from "${fork}"${change}: no plain shortcut would stay`;
  }

  function behind(output: string): string {
    const [use, ...others] = uses.get(output) ?? [];
    if (use === undefined || others.length > 0 || outputs.has(output)) return output;
    return ACTIVATIONS.has(use.node.opType) && use.node.domain === '' ? (use.node.outputs[0] ?? output) : output;
  }
}

/** Whether the node multiplies with weights or attends, by its operator. */
export function isLayer({ opType }: Node): boolean {
  return LAYER_OPS.has(opType);
}

function readsOf(node: Node): string[] {
  return node.inputs.filter((name) => name !== '');
}

function equal(a: Sizes | undefined, b: Sizes): boolean {
  return a?.length === b.length && a.every((size, axis) => size === b[axis]);
}

function text(shape: Sizes): string {
  return `[${shape.join(', ')}]`;
}
