import { describeNode, type Node } from '../../onnx/node.ts';
import type { Skipped } from '../pass.ts';
import { passesThrough } from './no-op.ts';
import { Names, Reads, type Scope, type Workspace } from './scope.ts';

/**
 * Removes nodes that give back one of their inputs bit for bit. The value behind such a node keeps its name, except when
 * the node's output is a graph output: then the producer takes the output's name over. Where neither works (a graph
 * input or a value of an outer graph goes straight to a graph output) the node stays.
 *
 * @param options.keepDropout - Dropout, which acts in training only, is left to a step that trains
 */
export function removeIdentities(
  scope: Scope,
  workspace: Workspace,
  skipped: Skipped[],
  { keepDropout }: { readonly keepDropout: boolean },
): number {
  const { graph } = scope;
  const names = new Names(scope, workspace.overridable);
  const outputs = new Set(graph.outputs.map((output) => output.name));
  const producers = new Map<string, Node>();
  for (const node of graph.nodes) for (const output of node.outputs) producers.set(output, node);
  const removed = new Set<Node>();

  const reads = new Reads(graph);
  for (const node of graph.nodes) {
    const through = passesThrough(node, {
      constant: (name) => names.constant(name),
      typeOf: (name) => workspace.typeOf(scope, name),
      producer: (name) => producers.get(name),
    });
    if (through === undefined || (keepDropout && node.opType === 'Dropout')) continue;
    const [output, ...others] = node.outputs;
    const source = through.from;
    if (output === undefined || source === '') continue;
    if (others.some((name) => name !== '' && (reads.count(name) > 0 || outputs.has(name)))) continue;
    if (!outputs.has(output)) {
      if (reads.isReturned(output)) continue;
      reads.redirect(output, source);
      graph.valueInfos.delete(output);
      removed.add(node);
      continue;
    }
    const producer = producers.get(source);
    if (producer === undefined || removed.has(producer) || outputs.has(source) || reads.isReturned(source)) {
      skipped.push({
        node: describeNode(node),
        reason: 'it gives a graph input, a constant or another output to a graph output, which keeps its name',
      });
      continue;
    }
    producer.outputs = producer.outputs.map((name) => (name === source ? output : name));
    producers.set(output, producer);
    producers.delete(source);
    node.outputs = ['']; // the name belongs to the producer now
    reads.redirect(source, output);
    graph.valueInfos.delete(source);
    removed.add(node);
  }
  if (removed.size > 0) graph.nodes = graph.nodes.filter((node) => !removed.has(node));
  return removed.size;
}
