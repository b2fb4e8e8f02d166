import { awayFromZero, distinct } from './check-gradient.ts';
import { fixed, float, integers, one, positive, type RuleCase } from './rule-case.ts';

const image = float([2, 3, 6, 6]);

/** Normalization, pools, shape operators, reductions, indexing, convolutions. */
export const STRUCTURE_CASES: readonly RuleCase[] = [
  // normalization
  {
    op: ':BatchNormalization',
    name: 'training mode',
    inputs: [float([4, 3, 5, 2]), float([3]), float([3]), fixed([3], positive), fixed([3], positive)],
    build: (b, x) => {
      const attributes = { training_mode: 1, momentum: { float: 0 }, epsilon: { float: 1e-3 } };
      return [b.ops('BatchNormalization', x, 3, { attributes })[0] ?? ''];
    },
  },
  {
    op: ':BatchNormalization',
    name: 'training mode with momentum, statistics not read',
    inputs: [float([6, 3]), float([3]), float([3]), fixed([3], positive), fixed([3], positive)],
    build: (b, x) => [b.op('BatchNormalization', x, { attributes: { training_mode: 1 } })],
  },
  one('BatchNormalization', [float([4, 3, 5]), float([3]), float([3]), float([3]), float([3], positive)], {
    name: 'inference mode',
  }),
  one('LayerNormalization', [float([4, 3, 5]), float([5]), float([5])]),
  one('LayerNormalization', [float([4, 3, 5]), float([3, 5])], { name: 'two axes, no bias', attributes: { axis: 1 } }),
  one('SimplifiedLayerNormalization', [float([4, 6]), float([6])]),
  one('InstanceNormalization', [float([2, 3, 4, 5]), float([3]), float([3])]),
  one('GroupNormalization', [float([2, 6, 4]), float([6]), float([6])], { attributes: { num_groups: 3 } }),
  one('LpNormalization', [float([3, 5])], { attributes: { axis: 1, p: 2 } }),
  one('LpNormalization', [float([3, 5], awayFromZero(0.1))], { name: 'L1', attributes: { axis: 0, p: 1 } }),
  // pools: a grid of 0.02 keeps every maximum in its place under a step of 1e-4
  one('MaxPool', [float([2, 3, 6, 6], distinct(0.02))], {
    step: 1e-4,
    tolerance: 2e-2,
    name: 'side by side',
    attributes: { kernel_shape: [2, 2], strides: [2, 2] },
  }),
  one('MaxPool', [float([2, 3, 7, 6], distinct(0.02))], {
    step: 1e-4,
    tolerance: 2e-2,
    name: 'overlapping, padded',
    attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  }),
  one('MaxPool', [float([2, 3, 7, 8], distinct(0.02))], {
    step: 1e-4,
    tolerance: 2e-2,
    name: 'ceil_mode, dilated',
    attributes: { kernel_shape: [2, 3], strides: [3, 2], dilations: [2, 1], ceil_mode: 1 },
  }),
  one('MaxPool', [float([2, 3, 9], distinct(0.02))], {
    step: 1e-4,
    tolerance: 2e-2,
    name: 'one axis, SAME_LOWER',
    attributes: { kernel_shape: [2], strides: [2], auto_pad: 'SAME_LOWER' },
  }),
  one('AveragePool', [image], { name: 'side by side', attributes: { kernel_shape: [2, 3], strides: [2, 3] } }),
  one('AveragePool', [float([2, 3, 7, 6])], {
    name: 'padded',
    attributes: { kernel_shape: [3, 3], strides: [2, 1], pads: [1, 1, 1, 1] },
  }),
  one('AveragePool', [float([2, 3, 7, 6])], {
    name: 'padding counted',
    attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 0, 1, 1], count_include_pad: 1 },
  }),
  one('AveragePool', [float([2, 3, 7, 8])], {
    name: 'ceil_mode',
    attributes: { kernel_shape: [2, 2], strides: [2, 3], ceil_mode: 1 },
  }),
  one('AveragePool', [float([1, 2, 5, 4, 6])], {
    name: 'three axes',
    attributes: { kernel_shape: [2, 2, 2], strides: [1, 2, 2] },
  }),
  one('GlobalAveragePool', [image]),
  one('GlobalMaxPool', [float([2, 3, 4, 4], distinct(0.02))], { step: 1e-4, tolerance: 2e-2 }),
  // shape
  one('Reshape', [float([2, 6])], { ints: [[3, 4]] }),
  one('Flatten', [float([2, 3, 4])], { attributes: { axis: 2 } }),
  one('Squeeze', [float([2, 1, 3])], { ints: [[1]] }),
  one('Unsqueeze', [float([2, 3])], { ints: [[0, 3]] }),
  one('Transpose', [float([2, 3, 4])], { attributes: { perm: [2, 0, 1] } }),
  one('Transpose', [float([2, 3, 4])], { name: 'default reverses' }),
  one('Expand', [float([3, 1])], { ints: [[2, 3, 4]] }),
  one('Tile', [float([2, 3])], { ints: [[2, 3]] }),
  one('Concat', [float([2, 3]), float([2, 1]), float([2, 2])], { attributes: { axis: 1 } }),
  {
    op: ':Concat',
    name: 'one input asked for',
    inputs: [fixed([2, 3], positive), float([2, 4])],
    build: (b, x) => [b.op('Concat', x, { attributes: { axis: -1 } })],
  },
  {
    op: ':Split',
    name: 'one piece unread',
    inputs: [float([2, 6])],
    build: (b, [x = '']) => {
      const [first = '', , third = ''] = b.ops('Split', [x, b.ints('sizes', [1, 3, 2])], 3, {
        attributes: { axis: 1 },
      });
      return [first, third];
    },
  },
  one('Slice', [float([5, 6])], {
    ints: [
      [1, -3],
      [4, 6],
      [0, 1],
    ],
  }),
  one('Slice', [float([7, 9])], {
    name: 'steps',
    ints: [
      [1, 0],
      [7, 9],
      [0, 1],
      [2, 4],
    ],
  }),
  one('Slice', [float([7, 9])], {
    name: 'negative steps',
    ints: [
      [-1, 7],
      [-100, 1],
      [0, 1],
      [-1, -3],
    ],
  }),
  one('Pad', [float([2, 3])], { ints: [[1, 0, 2, -1]] }),
  ...['reflect', 'edge', 'wrap'].map((mode) =>
    one('Pad', [float([2, 4, 3])], { name: mode, attributes: { mode }, ints: [[0, 2, 1, 0, 3, 2]] }),
  ),
  one('DepthToSpace', [float([1, 8, 2, 3])], { attributes: { blocksize: 2 } }),
  one('DepthToSpace', [float([1, 8, 2, 3])], { name: 'CRD', attributes: { blocksize: 2, mode: 'CRD' } }),
  one('SpaceToDepth', [float([1, 2, 4, 6])], { attributes: { blocksize: 2 } }),
  one('Trilu', [float([2, 4, 4])], { attributes: { upper: 0 } }),
  ...[
    { mode: 'nearest', nearest_mode: 'floor', coordinate_transformation_mode: 'asymmetric' },
    { mode: 'nearest' },
    { mode: 'linear' },
    { mode: 'linear', coordinate_transformation_mode: 'align_corners' },
    { mode: 'linear', coordinate_transformation_mode: 'pytorch_half_pixel' },
    { mode: 'cubic', cubic_coeff_a: { float: -0.6 } },
    { mode: 'cubic', exclude_outside: 1 },
  ].flatMap((attributes) =>
    [
      [7, 8],
      [3, 10],
    ].map((sizes): RuleCase => ({
      op: ':Resize',
      name: `${Object.values(attributes).join(' ')} to ${sizes.join('x')}`,
      inputs: [float([1, 2, 4, 5])],
      build: (b, [x = '']) => [b.op('Resize', [x, '', '', b.ints('sizes', [1, 2, ...sizes])], { attributes })],
    })),
  ),
  // reductions
  ...['ReduceSum', 'ReduceMean', 'ReduceSumSquare', 'ReduceL2', 'ReduceProd', 'ReduceLogSumExp'].flatMap((op) => [
    one(op, [float([2, 3, 4])], { ints: [[0, -1]] }),
    one(op, [float([2, 3])], { name: 'all, kept out', attributes: { keepdims: 0 } }),
  ]),
  one('ReduceL1', [float([3, 4], awayFromZero(0.1))], { ints: [[1]], attributes: { keepdims: 0 } }),
  one('ReduceLogSum', [float([3, 4], positive)], { ints: [[1]] }),
  one('ReduceMax', [float([4, 5], distinct(0.02))], { step: 1e-4, tolerance: 2e-2, ints: [[1]] }),
  one('ReduceMin', [float([4, 5], distinct(0.02))], {
    step: 1e-4,
    tolerance: 2e-2,
    ints: [[0]],
    attributes: { keepdims: 0 },
  }),
  {
    op: ':ReduceProd',
    name: 'with a zero',
    inputs: [float([2, 3], (random, index) => (index === 1 ? 0 : 1 + random.uniform()))],
    build: (b, [x = '']) => [b.op('ReduceProd', [x, b.ints('axes', [1])])],
  },
  ...[
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ].map(([exclusive = 0, reverse = 0]): RuleCase => ({
    op: ':CumSum',
    name: `exclusive ${exclusive} reverse ${reverse}`,
    inputs: [float([3, 4])],
    build: (b, [x = '']) => [b.op('CumSum', [x, b.ints('axis', [1])], { attributes: { exclusive, reverse } })],
  })),
  // indexing
  one('Gather', [float([5, 3]), integers([2, 2], [1, 4, 1, -1])]),
  one('Gather', [float([2, 5, 3]), integers([3], [0, 0, 4])], { name: 'inner axis', attributes: { axis: 1 } }),
  one('Gather', [float([2, 600, 3]), integers([3], [0, 599, 599])], { name: 'large table', attributes: { axis: 1 } }),
  one('Gather', [float([4]), integers([2, 3, 2], [0, 1, 1, 3, 2, 0, 0, 1, 3, 3, 3, 1])], { name: 'codebook' }),
  one('GatherElements', [float([3, 4]), integers([3, 2], [0, 3, 1, 1, 2, -4])], { attributes: { axis: 1 } }),
  one('GatherND', [float([3, 4, 2]), integers([3, 2], [0, 3, 2, -4, 0, 3])]),
  ...['none', 'add'].flatMap((reduction): RuleCase[] => [
    one('ScatterElements', [float([3, 4]), integers([3, 2], [0, 3, 1, 2, 2, 0]), float([3, 2])], {
      name: reduction,
      attributes: { axis: 1, reduction },
    }),
    one('ScatterND', [float([4, 3]), integers([2, 1], [1, 3]), float([2, 3])], {
      name: reduction,
      attributes: { reduction },
    }),
  ]),
  {
    op: ':TopK',
    inputs: [float([3, 6], distinct(0.02))],
    build: (b, [x = '']) => [b.ops('TopK', [x, b.ints('k', [2])], 2, { attributes: { axis: 1 } })[0] ?? ''],
    step: 1e-4,
    tolerance: 2e-2,
  },
  {
    op: ':OneHot',
    inputs: [integers([3], [0, 2, 2]), float([2])],
    build: (b, [i = '', values = '']) => [b.op('OneHot', [i, b.ints('depth', [4]), values])],
  },
  // convolutions: the matrix of shapes is in convolution.test.ts
  one('Conv', [float([2, 3, 5, 5]), float([4, 3, 3, 3]), float([4])], { attributes: { pads: [1, 1, 1, 1] } }),
  one('Conv', [float([2, 3, 6, 5]), float([4, 3, 3, 2]), float([4])], {
    name: 'SAME_LOWER',
    attributes: { auto_pad: 'SAME_LOWER', strides: [2, 2] },
  }),
  one('ConvTranspose', [float([2, 4, 5, 5]), float([4, 3, 3, 3]), float([3])], { attributes: { strides: [2, 2] } }),
];
