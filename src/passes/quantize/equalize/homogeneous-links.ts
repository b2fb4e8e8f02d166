import { usesOf, type Use } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import { weightTargets, targetLabel } from '../../layer-inputs/weight-targets.ts';
import type { Skipped } from '../../pass.ts';
import { inputChannels, type ScalableLayer } from './scalable-layer.ts';

/**
 * Two layers with nothing between them but operators that scale along: f(s x) = s f(x) for every s > 0, channel by channel. So
 * a channel that the first makes smaller and the second makes larger leaves the network what it was.
 */
export interface Link {
  readonly first: ScalableLayer;
  readonly second: ScalableLayer;
  /** Channels that the first makes. */
  readonly channels: number;
  /** Input channels of the second for each of them: above 1 where a Flatten lies between. */
  readonly repeats: number;
  /** The operators between, in order. */
  readonly between: readonly Node[];
}

/** Operators that scale along with each channel. Pad only with zeros. */
const HOMOGENEOUS: ReadonlySet<string> = new Set([
  'Relu',
  'LeakyRelu',
  'PRelu',
  'Identity',
  'MaxPool',
  'AveragePool',
  'GlobalAveragePool',
  'GlobalMaxPool',
  'Flatten',
]);

/** All links of the main graph, in graph order, and the layers that lead to none, with the reason. O(nodes). */
export function findLinks(model: Model): { readonly links: readonly Link[]; readonly skipped: readonly Skipped[] } {
  const { targets } = weightTargets(model, { exclude: [] });
  const layers = new Map<Node, ScalableLayer>();
  const skipped: Skipped[] = [];
  for (const target of targets) {
    const [node, other] = target.nodes;
    const weight = model.graph.initializers.get(target.name);
    if (node === undefined || weight === undefined) continue;
    const label = targetLabel(target);
    if (other === undefined) layers.set(node, { node, label, weight, layout: target.layout });
    else skipped.push({ node: label, reason: 'not equalized: several layers share its weight' });
  }
  const uses = usesOf(model.graph);
  const outputs = new Set(model.graph.outputs.map(({ name }) => name));
  const reader = (value: string): Use | string => {
    const [use, second] = uses.get(value) ?? [];
    if (outputs.has(value)) return `"${value}" is an output of the graph`;
    if (use === undefined) return `nothing reads "${value}"`;
    return second === undefined ? use : `"${value}" has several readers`;
  };
  const links: Link[] = [];
  for (const first of layers.values()) {
    const link = biasObstacle(model, first) ?? follow(first, layers, reader);
    if (typeof link === 'string') skipped.push({ node: first.label, reason: `not equalized: ${link}` });
    else links.push(link);
  }
  return { links, skipped };
}

function follow(
  first: ScalableLayer,
  layers: ReadonlyMap<Node, ScalableLayer>,
  reader: (value: string) => Use | string,
): Link | string {
  if (first.node.opType !== 'Conv' && first.node.opType !== 'ConvTranspose' && first.node.opType !== 'Gemm') {
    return 'a product of matrices has its channels on the last axis';
  }
  const channels = first.layout.outputs;
  const between: Node[] = [];
  let value = first.node.outputs[0] ?? '';
  for (;;) {
    const use = reader(value);
    if (typeof use === 'string') return use;
    if (use.inputIndex !== 0) return `${use.node.opType} reads it as its input ${use.inputIndex}`;
    const second = layers.get(use.node);
    if (second !== undefined) return linkOf({ first, second, channels, between });
    const { opType, domain } = use.node;
    if (domain !== '' || !HOMOGENEOUS.has(opType)) return `${opType} behind it does not scale along`;
    if (opType === 'Flatten' && use.node.int('axis', 1) !== 1) return 'a Flatten behind it mixes samples';
    if (use.node.outputs.length > 1) return `${opType} behind it gives indices, too`;
    between.push(use.node);
    value = use.node.outputs[0] ?? '';
  }
}

function linkOf(link: Omit<Link, 'repeats'>): Link | string {
  const { first, second, channels, between } = link;
  const inputs = inputChannels(second);
  const flattens = between.some(({ opType }) => opType === 'Flatten');
  const repeats = inputs / channels;
  const changesKind = isConvolution(first.node) !== isConvolution(second.node);
  if (changesKind !== flattens || !Number.isInteger(repeats) || (repeats !== 1 && !flattens)) {
    return `${second.label} does not read its ${channels} channels as they are`;
  }
  if (second.node.opType === 'Gemm' && second.node.int('transA', 0) === 1) return `${second.label} reads it transposed`;
  return { ...link, repeats };
}

function isConvolution({ opType }: Node): boolean {
  return opType === 'Conv' || opType === 'ConvTranspose';
}

/** Why a layer's bias cannot be scaled; undefined where there is none, or a constant with one value a channel. */
function biasObstacle({ graph }: Model, { node, layout }: ScalableLayer): string | undefined {
  const name = node.inputs[2] ?? '';
  if (name === '') return undefined;
  const tensor = graph.initializers.get(name);
  const isConstant = tensor?.dataType === 'float' && !graph.inputs.some((input) => input.name === name);
  if (isConstant && tensor.elementCount === layout.outputs && tensor.dims.at(-1) === layout.outputs) return undefined;
  return `its bias "${name}" is no constant with one value a channel`;
}
