import { usesOf, type Graph } from '../onnx/graph.ts';
import type { Node } from '../onnx/node.ts';
import { elementCount } from '../onnx/nd-array.ts';
import type { Tensor } from '../onnx/tensor.ts';

/** Weights of one bit, or of two planes of bits (three values), as quantize.binary and quantize.ternary store them. */
export interface PackedSigns {
  /** The plane of positive weights. */
  readonly tensor: Tensor;
  readonly elements: number;
  /** The value that layers read. */
  readonly value: string;
  /** What else the weights take: the plane of negative ones. */
  readonly companions: readonly Tensor[];
}

/**
 * Finds bits in uint8 [bytes, 1] that standard operators unpack: BitwiseAnd with the masks of eight bits, Cast, Reshape (with a
 * Slice before it where a byte is not full), Where.
 */
export function packedSigns(graph: Graph, constants: ReadonlyMap<string, Tensor>): PackedSigns[] {
  const uses = usesOf(graph);
  const next = (value: string | undefined): Node | undefined => uses.get(value ?? '')?.[0]?.node;
  const found: PackedSigns[] = [];
  /** Planes whose choice is another choice's alternative: the negative weights of three values. */
  const negative = new Map<string, Tensor>();
  const planes: { readonly tensor: Tensor; readonly elements: number; readonly choice: Node }[] = [];
  for (const node of graph.nodes) {
    const tensor = constants.get(node.inputs[0] ?? '');
    if (node.opType !== 'BitwiseAnd' || tensor?.dataType !== 'uint8') continue;
    let shaped = next(next(node.outputs[0])?.outputs[0]);
    let choice = next(shaped?.outputs[0]);
    while (choice !== undefined && choice.opType !== 'Where' && ['Slice', 'Reshape'].includes(choice.opType)) {
      shaped = choice;
      choice = next(shaped.outputs[0]);
    }
    const dims = constants.get(shaped?.inputs[1] ?? '');
    if (shaped?.opType !== 'Reshape' || choice?.opType !== 'Where' || dims?.dataType !== 'int64') continue;
    planes.push({ tensor, elements: elementCount(dims.integers()), choice });
  }
  for (const { tensor, choice } of planes) {
    const outer = next(choice.outputs[0]);
    if (outer?.opType === 'Where' && outer.inputs[2] === choice.outputs[0])
      negative.set(outer.outputs[0] ?? '', tensor);
  }
  const companions = new Set(negative.values());
  for (const { tensor, elements, choice } of planes) {
    if (companions.has(tensor)) continue;
    const chosen = choice.outputs[0] ?? '';
    const scaled = next(chosen);
    const other = negative.get(chosen);
    const value = other === undefined && scaled?.opType === 'Mul' ? (scaled.outputs[0] ?? chosen) : chosen;
    found.push({ tensor, elements, value, companions: other === undefined ? [] : [other] });
  }
  return found;
}

/** The masks that bits are read with: a tool, no parameters. */
export function bitMasks(graph: Graph, constants: ReadonlyMap<string, Tensor>): readonly Tensor[] {
  const masks = graph.nodes.flatMap((node) => {
    const tensor = node.opType === 'BitwiseAnd' ? constants.get(node.inputs[1] ?? '') : undefined;
    return tensor?.dataType === 'uint8' ? [tensor] : [];
  });
  return [...new Set(masks)];
}
