import type { Model } from '../../../../src/onnx/model.ts';
import { makeNode } from '../../../../src/onnx/node.ts';
import { net, weight } from '../helpers.ts';

export const DIMS = [1, 4, 8, 8];
const pads = [1, 1, 1, 1];

/** Layers of many sizes, one of them behind a skip connection. */
export function network(): Model {
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { attributes: { pads }, name: 'conv1' }),
      makeNode('Relu', ['c1'], ['r1'], { name: 'relu1' }),
      makeNode('Conv', ['r1', 'w2', 'b2'], ['c2'], { attributes: { pads }, name: 'conv2' }),
      makeNode('Add', ['c2', 'r1'], ['a'], { name: 'add' }),
      makeNode('Relu', ['a'], ['r2'], { name: 'relu2' }),
      makeNode('Conv', ['r2', 'w3'], ['c3'], { attributes: { pads, strides: [2, 2] }, name: 'conv3' }),
      makeNode('Relu', ['c3'], ['r3'], { name: 'relu3' }),
      makeNode('Flatten', ['r3'], ['f'], { name: 'flatten' }),
      makeNode('Gemm', ['f', 'w4', 'b4'], ['y'], { attributes: { transB: 1 }, name: 'head' }),
    ],
    tensors: [
      weight('w1', [8, 4, 3, 3], 1),
      weight('b1', [8], 2),
      weight('w2', [8, 8, 3, 3], 3, 0.1),
      weight('b2', [8], 4),
      weight('w3', [12, 8, 3, 3], 5),
      weight('w4', [6, 192], 7),
      weight('b4', [6], 8),
    ],
    inputs: { x: DIMS },
    outputs: { y: [1, 6] },
  });
}

export interface Choice {
  readonly node: string;
  readonly weights: number;
  readonly choice: { readonly weights: string; readonly activations: string } | 'float';
  readonly candidates: readonly { readonly choice: string; readonly cost: number; readonly loss: number }[];
}

export interface BudgetReport {
  readonly before: number;
  readonly limit: number;
  readonly after: number;
  readonly gap: number;
}

export const labelOf = ({ choice }: Choice): string =>
  choice === 'float' ? choice : `${choice.weights}/${choice.activations}`;

/** What a layer costs as what was chosen for it. */
export function costOf(layer: Choice): number {
  return layer.candidates.find(({ choice }) => choice === labelOf(layer))!.cost;
}

/** The least summed loss of all ways to choose, those beyond the limit left out; and that of what was chosen. */
export function bruteForce(choices: readonly Choice[], limit: number): { least: number; chosen: number } {
  let least = Infinity;
  const visit = (at: number, cost: number, loss: number): void => {
    if (cost > limit) return;
    const layer = choices[at];
    if (layer === undefined) least = Math.min(least, loss);
    else for (const candidate of layer.candidates) visit(at + 1, cost + candidate.cost, loss + candidate.loss);
  };
  visit(0, 0, 0);
  const chosen = choices.map((layer) => layer.candidates.find(({ choice }) => choice === labelOf(layer))!.loss);
  return { least, chosen: chosen.reduce((sum, loss) => sum + loss, 0) };
}
