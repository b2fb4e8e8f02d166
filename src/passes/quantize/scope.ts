import { usesOf, type Graph } from '../../onnx/graph.ts';
import type { Tensor } from '../../onnx/tensor.ts';

/** A graph with the graphs around it: what a name means at this place. */
export interface Scope {
  readonly graph: Graph;
  readonly outer?: Scope;
}

/** A constant and the graph that holds it. */
export interface Constant {
  readonly tensor: Tensor;
  readonly owner: Graph;
}

/**
 * The initializer a name stands for at this place; undefined when a node or a caller makes the value. An initializer
 * that is listed as an input is only a default the caller may override, so it is no constant.
 */
export function constantOf(scope: Scope, name: string): Constant | undefined {
  const { graph } = scope;
  if (graph.inputs.some((input) => input.name === name)) return undefined;
  const tensor = graph.initializers.get(name);
  if (tensor !== undefined) return { tensor, owner: graph };
  if (graph.nodes.some((node) => node.outputs.includes(name))) return undefined;
  return scope.outer === undefined ? undefined : constantOf(scope.outer, name);
}

/** Why `constantOf` found nothing, in words for the report. */
export function whyNotConstant(scope: Scope, name: string): string {
  const isInput = scope.graph.inputs.some((input) => input.name === name);
  if (isInput && scope.graph.initializers.has(name)) {
    return `weight "${name}" is also a graph input, so a caller may replace it`;
  }
  return `weight "${name}" is not an initializer`;
}

/** Drops those of the named initializers that nothing reads any more. */
export function dropUnread(owner: Graph, names: Iterable<string>): void {
  const uses = usesOf(owner);
  for (const name of names) {
    if (uses.has(name)) continue;
    if (owner.outputs.some((output) => output.name === name) || owner.inputs.some((input) => input.name === name))
      continue;
    owner.initializers.delete(name);
    owner.valueInfos.delete(name);
  }
}
