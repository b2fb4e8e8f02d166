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
  /**
   * Sizes for one sample, symbolic ones assumed: images 224 pixels wide, other open axes 64. Undefined when the rank is
   * unknown.
   */
  readonly sizesOf: (value: string) => readonly number[] | undefined;
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
    sizesOf: assumedSizes(model),
  };
}

const IMAGE_SIZE = 224;
const OTHER_SIZE = 64;

/** Shapes follow from assumed sizes of the inputs, so that what comes behind a stride is smaller than what came before. */
function assumedSizes(model: Model): GraphView['sizesOf'] {
  const { graph } = model;
  const inputShapes: Record<string, readonly number[]> = {};
  for (const { name, type } of graph.inputs) {
    if (type?.kind !== 'tensor' || type.shape === undefined) continue;
    const rank = type.shape.length;
    const open = (axis: number): number => (axis === 0 ? 1 : rank === 4 && axis > 1 ? IMAGE_SIZE : OTHER_SIZE);
    inputShapes[name] = type.shape.map((size, axis) => (typeof size === 'number' && size > 0 ? size : open(axis)));
  }
  const types = inferTypes(model, { inputShapes });
  return (value) =>
    types.shape(graph, value)?.map((size, axis) => (typeof size === 'number' ? size : axis === 0 ? 1 : OTHER_SIZE));
}
