import { Graph } from '../onnx/graph.ts';
import { Model } from '../onnx/model.ts';
import type { ValueType } from '../onnx/value-type.ts';

/** What a value of unknown shape counts for when groups are made. */
const UNKNOWN_VALUE_BYTES = 4 * 2 ** 20;

/** Cuts a list into groups, in its order, so that the bytes of each add up to no more than the limit (or it is one item). */
export function groupsOf<T>(items: readonly T[], bytesOf: (item: T) => number, groupBytes: number): T[][] {
  const groups: T[][] = [];
  let group: T[] = [];
  let bytes = 0;
  for (const item of items) {
    const size = bytesOf(item);
    if (group.length > 0 && bytes + size > groupBytes) {
      groups.push(group);
      group = [];
      bytes = 0;
    }
    group.push(item);
    bytes += size;
  }
  groups.push(group);
  return groups;
}

/** Bytes of a value for one sample, as far as its type tells. */
export function valueBytes(type: ValueType | undefined): number {
  if (type?.kind !== 'tensor' || type.shape === undefined) return UNKNOWN_VALUE_BYTES;
  let elements = 1;
  for (const [axis, dim] of type.shape.entries()) {
    if (typeof dim === 'number') elements *= dim;
    else if (axis > 0) return UNKNOWN_VALUE_BYTES;
  }
  return 4 * elements;
}

/** The model with more of its values as outputs; shares nodes and tensors with it. */
export function withOutputs(model: Model, names: readonly string[]): Model {
  const present = new Set(model.graph.outputs.map((output) => output.name));
  const added = names.filter((name) => !present.has(name)).map((name) => ({ name }));
  const graph = Object.assign(new Graph({ name: model.graph.name }), model.graph, {
    outputs: [...model.graph.outputs, ...added],
  });
  return Object.assign(new Model({ graph, opsetImports: model.opsetImports }), model, { graph });
}
