import type { Node } from '../../onnx/node.ts';
import type { Tensor } from '../../onnx/tensor.ts';
import { takeOver } from './fold-backward.ts';
import { foldSite, type FoldSite } from './fold-site.ts';
import type { Scope, Workspace } from './scope.ts';

/**
 * Makes an Add of a constant for each output channel behind a Conv or ConvTranspose its bias, as some exporters write it. Where there was
 * a bias the sum is rounded once. Left as it is where somebody else reads what lies between.
 *
 * @returns how many were folded
 */
export function foldBiases(scope: Scope, workspace: Workspace): number {
  let folded = 0;
  for (let before = -1; before !== folded;) {
    before = folded;
    const replaced = new Set<Node>();
    const touched = new Set<string>();
    const site = foldSite(scope, workspace, (node) => replaced.add(node));
    for (const node of scope.graph.nodes) {
      if (node.opType !== 'Add' || node.domain !== '') continue;
      // The index of reads is stale around a node that was folded in this round; its neighbour waits for the next one.
      if ([...node.inputs, ...node.outputs].some((name) => touched.has(name)) || !foldOne(node, site)) continue;
      for (const name of [...node.inputs, ...node.outputs]) touched.add(name);
      folded += 1;
    }
    if (replaced.size > 0) scope.graph.nodes = scope.graph.nodes.filter((node) => !replaced.has(node));
  }
  return folded;
}

function foldOne(add: Node, site: FoldSite): boolean {
  const constantAt = site.names.constant(add.inputs[1]) === undefined ? 0 : 1;
  const constant = site.weights.read(add, constantAt);
  const value = add.inputs[1 - constantAt] ?? '';
  const conv = site.producers.get(value);
  if (typeof constant === 'string' || conv === undefined) return false;
  if (conv.domain !== '' || !/^(Conv|ConvTranspose)$/.test(conv.opType)) return false;
  if (site.outputs.has(value) || site.reads.only(value) !== add) return false;
  const weight = site.names.constant(conv.inputs[1]);
  if (weight === undefined) return false;
  const channels = conv.opType === 'Conv' ? weight.dims[0] : (weight.dims[1] ?? 0) * conv.int('group', 1);
  if (channels === undefined || !isPerChannel(constant.tensor.dims, channels, weight.dims.length)) return false;
  const hasBias = (conv.inputs[2] ?? '') !== '';
  const old = hasBias ? site.weights.read(conv, 2) : undefined;
  if (typeof old === 'string') return false;
  const { values, tensor } = constant;
  const bias = Float64Array.from(
    { length: channels },
    (_, c) => (values[values.length === 1 ? 0 : c] ?? 0) + (old?.values[c] ?? 0),
  );
  const edit = { node: conv, input: 2, values: bias, dims: [channels], name: `${conv.inputs[1] ?? ''}_bias` };
  return takeOver(add, conv, site, site.weights.write([edit], typeOf(tensor))) === undefined;
}

/** Dimensions that broadcast to `[N, channels, 1, ...]` of `rank` axes without making it larger. */
function isPerChannel(dims: readonly number[], channels: number, rank: number): boolean {
  const missing = rank - dims.length;
  return missing >= 0 && dims.every((size, axis) => size === 1 || (axis + missing === 1 && size === channels));
}

function typeOf({ dataType }: Tensor): 'float' | 'double' {
  return dataType === 'double' ? 'double' : 'float';
}
