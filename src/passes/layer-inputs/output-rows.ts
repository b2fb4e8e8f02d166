import type { NdArray } from '../../onnx/nd-array.ts';
import { makeNode, type Node } from '../../onnx/node.ts';
import { inputRows, type InputRows, type RowSampling } from './input-rows.ts';
import type { MatrixLayout } from './weight-targets.ts';

/** Rows of the samples that are no padding of a fixed batch. */
export function realRows(rows: InputRows, { dims }: NdArray, count: number): InputRows {
  const batch = dims.length > 1 ? (dims[0] ?? 1) : 1;
  return count >= batch || rows.count % batch !== 0 ? rows : { ...rows, count: (rows.count / batch) * count };
}

/** A layer's output at the places where `inputRows` takes its input: the input of a 1x1 convolution, so to say. */
export function outputRows(node: Node, output: NdArray, sampling: RowSampling): InputRows {
  const isConvolution = node.opType === 'Conv';
  const channels = (isConvolution ? output.dims[1] : output.dims.at(-1)) ?? 1;
  const layout: MatrixLayout = {
    outputs: 1,
    inputs: channels,
    kernel: 1,
    outputStride: channels,
    inputStride: 1,
    groups: 1,
  };
  const kernelShape = isConvolution ? output.dims.slice(2).map(() => 1) : [];
  const reader = makeNode(isConvolution ? 'Conv' : 'MatMul', [], []);
  return inputRows(reader, { input: output, layout, kernelShape }, 0, sampling);
}
