import { makeNode, type AttributeInit, type Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { weight, type NetParts } from '../quantize/helpers.ts';

/** A node named after its operator and first output. */
export const op = (
  opType: string,
  inputs: readonly string[],
  output: string | readonly string[],
  attributes: Readonly<Record<string, AttributeInit>> = {},
): Node => makeNode(opType, inputs, [output].flat(), { attributes, name: `${opType}_${[output].flat()[0] ?? ''}` });

/** A convolution x [2, 3, 6, 6] to a [2, 8, 6, 6] ahead of `nodes`, one from `last` [2, channels, h, w] to y behind them. */
export function between(
  nodes: readonly Node[],
  tensors: readonly Tensor[],
  { last, channels, size = [6, 6] }: { last: string; channels: number; size?: readonly [number, number] },
): NetParts {
  return {
    nodes: [
      op('Conv', ['x', 'w_in', 'b_in'], 'a', { pads: [1, 1, 1, 1] }),
      ...nodes,
      op('Conv', [last, 'w_out'], 'y', { pads: [1, 1, 1, 1] }),
    ],
    tensors: [
      weight('w_in', [8, 3, 3, 3], 1),
      weight('b_in', [8], 2),
      weight('w_out', [4, channels, 3, 3], 3),
      ...tensors,
    ],
    inputs: { x: [2, 3, 6, 6] },
    outputs: { y: [2, 4, ...size] },
  };
}

/** For variances. */
export const positive = (name: string, count: number): Tensor =>
  Tensor.float(
    name,
    Array.from({ length: count }, (_, i) => 0.5 + (i % 5) / 5),
  );
