import { usesOf, type Graph } from '../../../onnx/graph.ts';
import { DATA_TYPES } from '../../../onnx/data-type.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { ChannelAnalysis } from '../groups/analyze-channels.ts';
import { Surgery } from '../groups/surgery.ts';

/**
 * Takes channels out of the model that was analyzed: weights are cut, attributes and shape constants rewritten, recorded
 * types renewed. The graph computes what it computed before with these channels held at zero.
 *
 * @param removed - by root atom: 1 where the channel goes
 * @returns how many initializers were cut
 */
export function removeChannels(analysis: ChannelAnalysis, removed: Uint8Array): number {
  const { model, axes } = analysis;
  const { graph } = model;
  const surgery = new Surgery(model, analysis.atoms, removed);
  let cut = 0;
  for (const [name, tensor] of [...graph.initializers]) {
    const own = axes.get(name);
    if (own === undefined) continue;
    const kept = own.map((axis) => (surgery.changes(axis) ? surgery.kept(axis) : undefined));
    if (kept.every((positions) => positions === undefined)) continue;
    graph.initializers.set(name, takePositions(tensor, kept));
    cut += 1;
  }
  if (cut === 0) return 0;
  for (const rewrite of analysis.rewrites) rewrite(surgery);
  surgery.finish();
  dropUnreadInitializers(graph);
  // Recorded shapes are of the old sizes, and inference would take them where it knows no better.
  graph.valueInfos = new Map();
  return cut;
}

/** The tensor with only these positions of each axis (undefined: all). O(elements kept); one copy an axis. */
export function takePositions(tensor: Tensor, kept: readonly (readonly number[] | undefined)[]): Tensor {
  if (tensor.dataType === 'string') throw new TypeError(`tensor "${tensor.name}" holds strings`);
  const width = DATA_TYPES[tensor.dataType].bits / 8;
  let bytes = tensor.bytes();
  const dims = [...tensor.dims];
  kept.forEach((positions, axis) => {
    if (positions === undefined) return;
    const size = dims[axis] ?? 1;
    const inner = dims.slice(axis + 1).reduce((product, dim) => product * dim, width);
    const outer = dims.slice(0, axis).reduce((product, dim) => product * dim, 1);
    const target = new Uint8Array(outer * positions.length * inner);
    let to = 0;
    for (let o = 0; o < outer; o += 1) {
      // Runs of neighbours are copied at once.
      for (let p = 0; p < positions.length;) {
        const from = positions[p] ?? 0;
        let run = 1;
        while (positions[p + run] === from + run) run += 1;
        const start = (o * size + from) * inner;
        target.set(bytes.subarray(start, start + run * inner), to);
        to += run * inner;
        p += run;
      }
    }
    bytes = target;
    dims[axis] = positions.length;
  });
  const { name, dataType, docString, metadata, unknownFields } = tensor;
  return new Tensor({ name, dataType, dims, storage: { kind: 'bytes', bytes }, docString, metadata, unknownFields });
}

/** The opposite of `takePositions`: writes the part's values to the kept positions of each axis (undefined: all) of `whole`. */
export function putPositions(
  whole: Float32Array,
  dims: readonly number[],
  part: {
    readonly values: Float32Array;
    readonly dims: readonly number[];
    readonly kept: readonly (readonly number[] | undefined)[];
  },
): void {
  const rank = dims.length;
  const at = new Array<number>(rank).fill(0);
  for (const value of part.values) {
    let index = 0;
    for (let axis = 0; axis < rank; axis += 1) {
      const position = at[axis] ?? 0;
      index = index * (dims[axis] ?? 1) + (part.kept[axis]?.[position] ?? position);
    }
    whole[index] = value;
    for (let axis = rank - 1; axis >= 0; axis -= 1) {
      at[axis] = (at[axis] ?? 0) + 1;
      if ((at[axis] ?? 0) < (part.dims[axis] ?? 1)) break;
      at[axis] = 0;
    }
  }
}

/** Shape constants that a rewrite replaced. */
function dropUnreadInitializers(graph: Graph): void {
  const uses = usesOf(graph);
  const listed = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name));
  for (const name of [...graph.initializers.keys()]) {
    if (!uses.has(name) && !listed.has(name)) graph.initializers.delete(name);
  }
}
