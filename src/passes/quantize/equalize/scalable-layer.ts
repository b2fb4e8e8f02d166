import type { Tensor } from '../../../onnx/tensor.ts';
import type { MatrixLayout } from '../../layer-inputs/weight-targets.ts';
import type { Node } from '../../../onnx/node.ts';

/** A layer whose channels may be scaled: it alone reads its weight. */
export interface ScalableLayer {
  readonly node: Node;
  readonly label: string;
  /** The initializer that holds the weight. */
  readonly weight: Tensor;
  readonly layout: MatrixLayout;
}

/** Input channels of all groups together. */
export function inputChannels({ layout }: ScalableLayer): number {
  return layout.inputs * layout.groups;
}

/** One input and one output channel a group: the same channel on both sides. */
export function isDepthwise({ layout }: ScalableLayer): boolean {
  return layout.groups > 1 && layout.inputs === 1 && layout.outputs === layout.groups;
}

/** Calls back for each stretch of weights between one input and one output channel. */
export function visitKernels(
  layout: MatrixLayout,
  each: (input: number, output: number, from: number, to: number) => void,
): void {
  const { outputs, inputs, kernel, outputStride, inputStride, groups } = layout;
  const perGroup = outputs / groups;
  for (let output = 0; output < outputs; output += 1) {
    const first = Math.floor(output / perGroup) * inputs;
    for (let i = 0; i < inputs; i += 1) {
      const from = output * outputStride + i * inputStride;
      each(first + i, output, from, from + kernel);
    }
  }
}
