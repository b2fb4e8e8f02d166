import { withSubgraphs } from '../graph.ts';
import type { Model } from '../model.ts';
import type { ValueInfo } from '../value-type.ts';
import { inferTypes, type InferOptions } from './infer-types.ts';

/**
 * Writes the inferred type of every inner value into the graphs' value infos and drops those of values that no longer
 * exist. Inputs and outputs, the interface, stay as they are.
 * @returns the number of value infos that were added, changed or dropped
 */
export function annotate(model: Model, options: InferOptions = {}): number {
  const table = inferTypes(model, options);
  let changes = 0;
  for (const graph of withSubgraphs(model.graph)) {
    const interfaceNames = new Set([...graph.inputs, ...graph.outputs].map((info) => info.name));
    const infos = new Map<string, ValueInfo>();
    for (const node of graph.nodes) {
      for (const name of node.outputs) {
        if (name === '' || interfaceNames.has(name)) continue;
        const before = graph.valueInfos.get(name);
        const type = table.of(graph, name) ?? before?.type;
        if (type === undefined) continue;
        if (before === undefined || JSON.stringify(before.type) !== JSON.stringify(type)) changes += 1;
        infos.set(name, before === undefined ? { name, type } : { ...before, type });
      }
    }
    for (const name of graph.valueInfos.keys()) if (!infos.has(name)) changes += 1;
    graph.valueInfos = infos;
  }
  return changes;
}
