import { withSubgraphs } from '../graph.ts';
import type { Model } from '../model.ts';

/** The first IR version that goes with each opset. @see ONNX docs/Versioning.md, released versions */
const IR_VERSION_BY_OPSET: readonly (readonly [opset: number, irVersion: number])[] = [
  [26, 13],
  [25, 13],
  [24, 12],
  [23, 11],
  [21, 10],
  [19, 9],
  [15, 8],
  [12, 7],
  [11, 6],
  [10, 5],
  [9, 4],
  [0, 3],
];

export function irVersionForOpset(opset: number): number {
  return IR_VERSION_BY_OPSET.find(([first]) => opset >= first)?.[1] ?? 3;
}

/**
 * Raises the IR version; never lowers it. Before IR 4 every initializer had to be listed as an input though callers could
 * not set it, and from 4 on a listed one is an offer to override it: so the listing goes when the version passes 4, and
 * the inputs that are left are the ones callers always had.
 *
 * @returns whether anything changed
 */
export function raiseIrVersion(model: Model, irVersion: number): boolean {
  if (model.irVersion >= irVersion) return false;
  if (model.irVersion < 4) {
    for (const graph of withSubgraphs(model.graph)) {
      const { initializers, inputs } = graph;
      if (inputs.some((input) => initializers.has(input.name))) {
        graph.inputs = inputs.filter((input) => !initializers.has(input.name));
      }
    }
  }
  model.irVersion = irVersion;
  return true;
}
