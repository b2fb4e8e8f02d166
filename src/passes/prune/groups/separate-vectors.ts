import { NameScope, usesOf, type Graph } from '../../../onnx/graph.ts';

/**
 * Gives every reader of a shared vector (a bias, gammas of ones: canonicalize stores equal ones once) a copy of its own, so
 * that layers are not tied to each other by it. The copies view the same bytes. Large weights stay shared: their readers
 * are tied for good.
 *
 * @returns undoes it, for a caller that then changes nothing
 */
export function separateVectors(graph: Graph): () => void {
  const names = new NameScope(graph);
  const undo: (() => void)[] = [];
  for (const [name, readers] of usesOf(graph)) {
    const tensor = graph.initializers.get(name);
    if (tensor === undefined || readers.length < 2) continue;
    if (!/^(float|float16|bfloat16|double)$/.test(tensor.dataType)) continue;
    if (tensor.elementCount < 2 || !tensor.dims.includes(tensor.elementCount)) continue;
    for (const { node, inputIndex } of readers.slice(1)) {
      if (inputIndex < 0) continue;
      const copy = names.fresh(name);
      graph.initializers.set(copy, tensor.renamed(copy));
      node.inputs[inputIndex] = copy;
      undo.push(() => {
        graph.initializers.delete(copy);
        node.inputs[inputIndex] = name;
      });
    }
  }
  return () => undo.forEach((step) => step());
}
