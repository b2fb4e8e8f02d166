import { producersOf, usesOf, type Use } from '../../onnx/graph.ts';
import type { DataType } from '../../onnx/data-type.ts';
import type { Model } from '../../onnx/model.ts';
import type { Node } from '../../onnx/node.ts';
import type { Tensor } from '../../onnx/tensor.ts';
import { inferTypes } from '../../onnx/inference/infer-types.ts';

/** What planning asks of the main graph, computed once. A snapshot: it does not follow edits. */
export interface GraphView {
  readonly nodes: readonly Node[];
  producerOf(value: string): Node | undefined;
  /** Reads of a value by nodes; reads from inside subgraphs have inputIndex -1. */
  readersOf(value: string): readonly Use[];
  isOutput(value: string): boolean;
  /** The initializer a name stands for; undefined when a caller may override it, too. */
  constantOf(value: string): Tensor | undefined;
  typeOf(value: string): DataType | undefined;
  /** Known sizes; a symbolic or unknown size counts as `assumed`. Undefined when the rank is unknown. */
  sizesOf(value: string, assumed: number): readonly number[] | undefined;
}

export function viewOf(model: Model): GraphView {
  const { graph } = model;
  const producers = producersOf(graph);
  const uses = usesOf(graph);
  const outputs = new Set(graph.outputs.map((output) => output.name));
  const inputs = new Set(graph.inputs.map((input) => input.name));
  const types = inferTypes(model);
  return {
    nodes: graph.nodes,
    producerOf: (value) => producers.get(value),
    readersOf: (value) => uses.get(value) ?? [],
    isOutput: (value) => outputs.has(value),
    constantOf: (value) => (inputs.has(value) ? undefined : graph.initializers.get(value)),
    typeOf(value) {
      const type = types.of(graph, value);
      return type?.kind === 'tensor' ? type.elementType : undefined;
    },
    sizesOf: (value, assumed) =>
      types.shape(graph, value)?.map((size, axis) => (typeof size === 'number' ? size : axis === 0 ? 1 : assumed)),
  };
}
