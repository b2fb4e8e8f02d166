import { Graph } from '../../../src/onnx/graph.ts';
import { Model } from '../../../src/onnx/model.ts';
import { makeNode, type AttributeInit, type Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue, type Shape, type ValueInfo } from '../../../src/onnx/value-type.ts';

export function modelOf(
  opset: number,
  nodes: readonly Node[],
  io: { inputs: ValueInfo[]; outputs: ValueInfo[] },
  initializers: readonly Tensor[] = [],
): Model {
  return new Model({
    irVersion: opset < 9 ? 3 : 4,
    opsetImports: new Map([['', opset]]),
    graph: new Graph({
      name: 'g',
      nodes: [...nodes],
      // Before IR 4 initializers are inputs too.
      inputs:
        opset < 9
          ? [...io.inputs, ...initializers.map((tensor) => tensorValue(tensor.name, tensor.dataType, tensor.dims))]
          : io.inputs,
      outputs: io.outputs,
      initializers: new Map(initializers.map((tensor) => [tensor.name, tensor])),
    }),
  });
}

interface Case {
  readonly name: string;
  readonly opset: number;
  readonly op: string;
  readonly shape: readonly number[];
  readonly declared?: Shape;
  readonly attributes?: Record<string, AttributeInit>;
  readonly initializers?: readonly Tensor[];
  readonly outputs?: number;
  readonly outputType?: 'float' | 'int64';
}

/** One operator each, at an opset before a change of it. */
export const CASES: readonly Case[] = [
  ...(['Softmax', 'LogSoftmax', 'Hardmax'] as const).flatMap((op): Case[] => [
    { name: `${op} over the last axis`, opset: 7, op, shape: [3, 4], attributes: { axis: 1 } },
    { name: `${op} by default axis, flattening`, opset: 9, op, shape: [2, 3, 4] },
    { name: `${op} with trailing ones`, opset: 9, op, shape: [2, 5, 1, 1] },
    { name: `${op} at axis 0, flattening all`, opset: 11, op, shape: [2, 3, 2], attributes: { axis: 0 } },
    { name: `${op} at a negative axis`, opset: 11, op, shape: [2, 3, 2], attributes: { axis: -2 } },
    {
      name: `${op} with unknown sizes`,
      opset: 11,
      op,
      shape: [2, 3, 2],
      declared: ['n', 'm', 2],
      attributes: { axis: 1 },
    },
  ]),
  { name: 'Squeeze', opset: 7, op: 'Squeeze', shape: [1, 3, 1, 2], attributes: { axes: [0, 2] } },
  { name: 'Squeeze of all ones', opset: 7, op: 'Squeeze', shape: [1, 3, 1] },
  { name: 'Unsqueeze', opset: 7, op: 'Unsqueeze', shape: [3, 2], attributes: { axes: [0, 3] } },
  ...['L1', 'L2', 'LogSumExp', 'Max', 'Mean', 'Min', 'Prod', 'Sum', 'SumSquare'].flatMap((kind): Case[] => [
    { name: `Reduce${kind}`, opset: 7, op: `Reduce${kind}`, shape: [2, 3, 4], attributes: { axes: [1], keepdims: 0 } },
    { name: `Reduce${kind} of all`, opset: 11, op: `Reduce${kind}`, shape: [2, 3] },
  ]),
  { name: 'Split by sizes', opset: 7, op: 'Split', shape: [2, 5], attributes: { axis: 1, split: [2, 3] }, outputs: 2 },
  { name: 'Split in equal parts', opset: 11, op: 'Split', shape: [4, 2], outputs: 2 },
  { name: 'Slice', opset: 7, op: 'Slice', shape: [4, 5], attributes: { axes: [1], starts: [-3], ends: [1000] } },
  { name: 'Slice without axes', opset: 9, op: 'Slice', shape: [4, 5], attributes: { starts: [1, 0], ends: [3, -1] } },
  { name: 'Pad', opset: 7, op: 'Pad', shape: [2, 3], attributes: { pads: [1, 0, 0, 2], value: 1.5 } },
  { name: 'Pad with negative pads', opset: 10, op: 'Pad', shape: [3, 4], attributes: { pads: [-1, 1, 0, -1] } },
  {
    name: 'Pad by reflection',
    opset: 10,
    op: 'Pad',
    shape: [3, 4],
    attributes: { pads: [1, 1, 2, 0], mode: 'reflect' },
  },
  { name: 'Clip', opset: 7, op: 'Clip', shape: [3, 4], attributes: { min: -0.25, max: { float: 0 } } },
  { name: 'Clip from below', opset: 10, op: 'Clip', shape: [3, 4], attributes: { min: 0.125 } },
  { name: 'Clip from above', opset: 10, op: 'Clip', shape: [3, 4], attributes: { max: 0.125 } },
  { name: 'Clip without bounds', opset: 10, op: 'Clip', shape: [3, 4] },
  {
    name: 'Upsample nearest',
    opset: 7,
    op: 'Upsample',
    shape: [1, 2, 3, 4],
    attributes: { scales: { floats: [1, 1, 2, 3] } },
  },
  {
    name: 'Upsample nearest by a fraction',
    opset: 7,
    op: 'Upsample',
    shape: [1, 2, 3, 4],
    attributes: { scales: { floats: [1, 1, 1.5, 1.25] } },
  },
  {
    name: 'Upsample linear',
    opset: 8,
    op: 'Upsample',
    shape: [1, 2, 3, 4],
    attributes: { mode: 'linear', scales: { floats: [1, 1, 2, 1.5] } },
  },
  {
    name: 'Upsample with scales as an input',
    opset: 9,
    op: 'Upsample',
    shape: [1, 2, 3, 4],
    initializers: [Tensor.float('s', [1, 1, 2, 2])],
  },
  {
    name: 'Resize nearest, enlarging',
    opset: 10,
    op: 'Resize',
    shape: [1, 2, 3, 4],
    initializers: [Tensor.float('s', [1, 1, 1.7, 2.3])],
  },
  {
    name: 'Resize nearest, shrinking',
    opset: 10,
    op: 'Resize',
    shape: [1, 1, 7, 8],
    initializers: [Tensor.float('s', [1, 1, 0.6, 0.7])],
  },
  {
    name: 'Resize linear, shrinking',
    opset: 10,
    op: 'Resize',
    shape: [1, 1, 7, 8],
    attributes: { mode: 'linear' },
    initializers: [Tensor.float('s', [1, 1, 0.6, 0.7])],
  },
  { name: 'TopK', opset: 7, op: 'TopK', shape: [3, 5], attributes: { k: 2, axis: 1 }, outputs: 1 },
  { name: 'Dropout', opset: 7, op: 'Dropout', shape: [3, 5], attributes: { ratio: 0.3 } },
  {
    name: 'BatchNormalization',
    opset: 7,
    op: 'BatchNormalization',
    shape: [2, 3, 2, 2],
    attributes: { spatial: 1, epsilon: 0.001 },
    initializers: [
      Tensor.float('s', [1, 2, -1]),
      Tensor.float('b', [0, 0.5, 1]),
      Tensor.float('m', [0.1, -1, 2]),
      Tensor.float('v', [1, 0.5, 2]),
    ],
  },
  {
    name: 'MaxPool with ceil_mode',
    opset: 10,
    op: 'MaxPool',
    shape: [1, 2, 6, 7],
    attributes: { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 },
  },
  {
    name: 'MaxPool with dilations',
    opset: 10,
    op: 'MaxPool',
    shape: [1, 2, 7, 7],
    attributes: { kernel_shape: [2, 2], dilations: [2, 3] },
  },
  {
    name: 'AveragePool',
    opset: 7,
    op: 'AveragePool',
    shape: [1, 2, 6, 7],
    attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], count_include_pad: 1 },
  },
  {
    name: 'AveragePool without padding in the count',
    opset: 7,
    op: 'AveragePool',
    shape: [1, 2, 6, 7],
    attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  },
  {
    name: 'AveragePool with ceil_mode',
    opset: 10,
    op: 'AveragePool',
    shape: [1, 2, 6, 7],
    attributes: { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 },
  },
  {
    name: 'AveragePool with ceil_mode and padding',
    opset: 10,
    op: 'AveragePool',
    shape: [1, 2, 6, 6],
    attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], ceil_mode: 1 },
  },
  {
    name: 'AveragePool with ceil_mode and counted padding',
    opset: 10,
    op: 'AveragePool',
    shape: [1, 2, 6, 6],
    attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], ceil_mode: 1, count_include_pad: 1 },
  },
  {
    name: 'LpPool',
    opset: 11,
    op: 'LpPool',
    shape: [1, 2, 6, 7],
    attributes: { kernel_shape: [3, 3], strides: [2, 2] },
  },
  { name: 'ArgMax', opset: 7, op: 'ArgMax', shape: [3, 5], attributes: { axis: 1, keepdims: 0 }, outputType: 'int64' },
  { name: 'Flatten', opset: 7, op: 'Flatten', shape: [2, 3, 4], attributes: { axis: 2 } },
  {
    name: 'Scatter',
    opset: 9,
    op: 'Scatter',
    shape: [3, 3],
    initializers: [Tensor.int64('i', [1, 0, 2], [1, 3]), Tensor.float('u', [9, 8, 7], [1, 3])],
  },
  { name: 'PRelu', opset: 7, op: 'PRelu', shape: [2, 3], initializers: [Tensor.float('s', [0.1, 0.2, 0.3])] },
  {
    name: 'Gemm',
    opset: 9,
    op: 'Gemm',
    shape: [2, 3],
    attributes: { alpha: 0.5, beta: 2.5 },
    initializers: [Tensor.float('w', [1, 2, 3, 4, 5, 6], [3, 2]), Tensor.float('c', [1, -1])],
  },
  { name: 'MeanVarianceNormalization', opset: 9, op: 'MeanVarianceNormalization', shape: [2, 3, 2, 2] },
  { name: 'DepthToSpace', opset: 7, op: 'DepthToSpace', shape: [1, 8, 2, 3], attributes: { blocksize: 2 } },
  {
    name: 'Resize of opset 11 with a region',
    opset: 11,
    op: 'Resize',
    shape: [1, 1, 3, 4],
    initializers: [Tensor.float('r', []), Tensor.float('s', [1, 1, 2, 2])],
  },
  {
    name: 'Resize of opset 13 by half pixels',
    opset: 13,
    op: 'Resize',
    shape: [1, 1, 5, 4],
    attributes: { mode: 'cubic' },
    initializers: [Tensor.float('r', []), Tensor.float('s', [1, 1, 2, 0.5])],
  },
  {
    name: 'GridSample',
    opset: 16,
    op: 'GridSample',
    shape: [1, 1, 3, 4],
    attributes: { mode: 'bicubic' },
    initializers: [Tensor.float('grid', [-0.9, 0.1, 0.3, 0.7, 0, 0, 0.5, -0.5], [1, 2, 2, 2])],
  },
  {
    name: 'RoiAlign',
    opset: 11,
    op: 'RoiAlign',
    shape: [1, 1, 6, 6],
    attributes: { output_height: 2, output_width: 2 },
    initializers: [Tensor.float('rois', [0.5, 1, 4, 5], [1, 4]), Tensor.int64('batch', [0])],
  },
  {
    name: 'GroupNormalization',
    opset: 18,
    op: 'GroupNormalization',
    shape: [2, 4, 3],
    attributes: { num_groups: 2 },
    initializers: [Tensor.float('s', [1.5, -0.5]), Tensor.float('b', [0.25, 3])],
  },
  { name: 'DFT', opset: 17, op: 'DFT', shape: [1, 4, 2, 1], attributes: { axis: 2 } },
];

export function modelOfCase(given: Case): Model {
  const outputs = Array.from({ length: given.outputs ?? 1 }, (_, i) => `y${i}`);
  const inputs = ['x', ...(given.initializers ?? []).map((tensor) => tensor.name)];
  const node = makeNode(given.op, inputs, given.op === 'TopK' ? ['y0', 'indices'] : outputs, {
    attributes: given.attributes ?? {},
  });
  return modelOf(
    given.opset,
    [node],
    {
      inputs: [tensorValue('x', 'float', given.declared ?? given.shape)],
      outputs: outputs.map((name) => tensorValue(name, given.outputType ?? 'float')),
    },
    given.initializers,
  );
}
