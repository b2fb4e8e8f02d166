import type { Graph } from '../../onnx/graph.ts';
import type { ValueType } from '../../onnx/value-type.ts';
import type { Scope } from './scope.ts';

/** Finds declared types: of graph inputs and outputs, initializers and recorded inner values, from the inside out. */
export function typeLookup(): (scope: Scope, name: string) => ValueType | undefined {
  const tables = new Map<Graph, Map<string, ValueType>>();
  const tableOf = (graph: Graph): Map<string, ValueType> => {
    const present = tables.get(graph);
    if (present !== undefined) return present;
    const table = new Map<string, ValueType>();
    for (const info of [...graph.valueInfos.values(), ...graph.outputs, ...graph.inputs]) {
      if (info.type !== undefined) table.set(info.name, info.type);
    }
    for (const [name, tensor] of graph.initializers) {
      table.set(name, { kind: 'tensor', elementType: tensor.dataType, shape: tensor.dims });
    }
    tables.set(graph, table);
    return table;
  };
  return (scope, name) => {
    for (let level: Scope | undefined = scope; level !== undefined; level = level.outer) {
      const type = tableOf(level.graph).get(name);
      if (type !== undefined) return type;
    }
    return undefined;
  };
}
