import { readersWithin, withSubgraphs, type Graph } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { describeNode, type Node } from '../../../onnx/node.ts';
import type { Skipped } from '../../pass.ts';
import { filterNodes, nodeLabel, type NodeFilter } from '../node-filter.ts';
import type { Scope } from '../scope.ts';
import { sitesOf, type WeightSite } from './weight-site.ts';

/** One constant with everything that reads it: it is stored quantized once, or not at all. */
export interface SharedWeight {
  readonly sites: readonly WeightSite[];
}

export interface SiteRules {
  readonly blockSize: number;
  readonly filter: NodeFilter;
  /** Why the chosen format cannot hold a site; undefined where it can. */
  obstacle(site: WeightSite): string | undefined;
}

/**
 * The weights to quantize, in graph order, subgraphs included, and every node with a weight that is left alone, with the
 * reason. A weight is taken only when all that read it can do so in one way: a float copy beside the codes would make
 * the file larger.
 *
 * @throws CompressionError RECIPE_NO_MATCH when a glob of the filter matches no node
 */
export function findWeights(
  model: Model,
  rules: SiteRules,
): { readonly weights: readonly SharedWeight[]; readonly skipped: readonly Skipped[] } {
  const nodes: Node[] = [];
  for (const graph of withSubgraphs(model.graph)) nodes.push(...graph.nodes);
  const kept = filterNodes(nodes, rules.filter);
  const skipped: Skipped[] = [];
  const byConstant = new Map<Graph, Map<string, WeightSite[]>>();
  const visit = (scope: Scope): void => {
    for (const node of scope.graph.nodes) {
      for (const graph of node.subgraphs()) visit({ graph, outer: scope });
      for (const found of sitesOf(node, scope, rules.blockSize) ?? []) {
        const reason = !kept.has(node)
          ? 'excluded by the recipe'
          : 'reason' in found
            ? found.reason
            : rules.obstacle(found);
        if (reason !== undefined) skipped.push({ node: nodeLabel(node), reason });
        else if (!('reason' in found)) add(byConstant, found);
      }
    }
  };
  visit({ graph: model.graph });
  const weights: SharedWeight[] = [];
  for (const [owner, named] of byConstant) {
    const readers = readersWithin(owner);
    for (const [name, sites] of named) {
      const reason = sharingObstacle(name, sites, readers.get(name) ?? [], owner);
      if (reason === undefined) weights.push({ sites });
      else for (const { node } of sites) skipped.push({ node: nodeLabel(node), reason });
    }
  }
  return { weights, skipped };
}

function add(byConstant: Map<Graph, Map<string, WeightSite[]>>, site: WeightSite): void {
  const { owner, tensor } = site.constant;
  const named = byConstant.get(owner) ?? new Map<string, WeightSite[]>();
  byConstant.set(owner, named);
  const sites = named.get(tensor.name);
  if (sites === undefined) named.set(tensor.name, [site]);
  else sites.push(site);
}

function sharingObstacle(
  name: string,
  sites: readonly WeightSite[],
  readers: readonly Node[],
  owner: Graph,
): string | undefined {
  for (const graph of withSubgraphs(owner)) {
    if (graph.outputs.some((output) => output.name === name)) return `weight "${name}" is also an output of a graph`;
  }
  if (readers.length > sites.length) {
    const other = readers.find((reader) => !sites.some(({ node }) => node === reader)) ?? readers[0];
    return `weight "${name}" is also read by ${other === undefined ? 'a node' : describeNode(other)}, which stays in float`;
  }
  const [first, ...rest] = sites;
  const viewOf = (site: WeightSite | undefined): string => JSON.stringify([site?.view, site?.axis]);
  const unlike = rest.find((site) => viewOf(site) !== viewOf(first));
  return unlike === undefined
    ? undefined
    : `weight "${name}" is shared with ${describeNode(unlike.node)}, which sums it along another axis`;
}
