import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import type { AttributeInit } from '../../../src/onnx/node.ts';
import { GRADIENT_RULES } from '../../../src/training/gradients/rules.ts';
import { awayFromZero, between, checkGradient, distinct, type CheckedInput, type Draw } from './check-gradient.ts';

type Attributes = Readonly<Record<string, AttributeInit>>;
interface RuleCase {
  readonly op: string;
  readonly name?: string;
  readonly inputs: readonly CheckedInput[];
  readonly build: (b: GraphBuilder, x: readonly string[]) => readonly string[];
  readonly step?: number;
  readonly tolerance?: number;
}

const float = (shape: readonly number[], draw?: Draw): CheckedInput =>
  draw === undefined ? { shape } : { shape, draw };
const fixed = (shape: readonly number[], draw: Draw): CheckedInput => ({ shape, draw, differentiated: false });
const integers = (shape: readonly number[], values: readonly number[]): CheckedInput => ({ shape, integers: values });

/** One node on float inputs; with the default opset's operator of that name. */
function one(
  op: string,
  inputs: readonly CheckedInput[],
  options: {
    attributes?: Attributes;
    name?: string;
    step?: number;
    tolerance?: number;
    domain?: string;
    ints?: readonly (readonly number[])[];
  } = {},
): RuleCase {
  const { attributes = {}, domain = '', ints = [], ...rest } = options;
  return {
    op: `${domain}:${op}`,
    inputs,
    build: (b, x) => [b.op(op, [...x, ...ints.map((values) => b.ints('ints', values))], { attributes, domain })],
    ...rest,
  };
}

const SMALL = [3, 4];
const positive = between(0.5, 2);
const image = float([2, 3, 6, 6]);

const CASES: readonly RuleCase[] = [
  // elementwise, one operand
  one('Abs', [float(SMALL, awayFromZero(0.1))]),
  one('Atan', [float(SMALL)]),
  one('Celu', [float(SMALL, awayFromZero(0.1))], { attributes: { alpha: { float: 1.5 } } }),
  one('Cos', [float(SMALL)]),
  one('Elu', [float(SMALL, awayFromZero(0.1))], { attributes: { alpha: { float: 1.3 } } }),
  one('Erf', [float(SMALL)]),
  one('Exp', [float(SMALL)]),
  one('Gelu', [float(SMALL)]),
  one('Gelu', [float(SMALL)], { name: 'tanh', attributes: { approximate: 'tanh' } }),
  one('HardSigmoid', [float([5, 6], between(-5, 5, [-2.5, 2.5]))]),
  one('HardSwish', [float([5, 6], between(-5, 5, [-3, 3]))]),
  one('Identity', [float(SMALL)]),
  one('LeakyRelu', [float(SMALL, awayFromZero(0.1))], { attributes: { alpha: { float: 0.2 } } }),
  one('Log', [float(SMALL, positive)]),
  one('Mish', [float(SMALL)]),
  one('Neg', [float(SMALL)]),
  one('Reciprocal', [float(SMALL, positive)]),
  one('Relu', [float(SMALL, awayFromZero(0.1))]),
  one('Selu', [float(SMALL, awayFromZero(0.1))]),
  one('Sigmoid', [float(SMALL)]),
  one('Sin', [float(SMALL)]),
  one('Softplus', [float(SMALL)]),
  one('Softsign', [float(SMALL, awayFromZero(0.1))]),
  one('Sqrt', [float(SMALL, positive)]),
  one('Tanh', [float(SMALL)]),
  one('ThresholdedRelu', [float([5, 6], between(-2, 3, [1]))]),
  one('QuickGelu', [float(SMALL)], { domain: 'com.microsoft' }),
  one('Gelu', [float(SMALL)], { domain: 'com.microsoft' }),
  one('BiasGelu', [float(SMALL), float([4])], { domain: 'com.microsoft' }),
  one('FastGelu', [float(SMALL), float([4])], { domain: 'com.microsoft' }),
  {
    op: ':Clip',
    inputs: [float([5, 6], between(-2, 2, [-0.7, 0.9]))],
    build: (b, [x = '']) => [b.op('Clip', [x, b.float('lo', -0.7), b.float('hi', 0.9)])],
  },
  one('PRelu', [float([2, 3, 4], awayFromZero(0.1)), float([3, 1], positive)]),
  {
    op: ':Cast',
    inputs: [float(SMALL)],
    build: (b, [x = '']) => [b.op('Cast', [b.op('Cast', [x], { attributes: { to: 11 } })], { attributes: { to: 1 } })],
  },
  {
    op: ':CastLike',
    inputs: [float(SMALL), fixed([1], positive)],
    build: (b, [x = '', like = '']) => [b.op('CastLike', [x, like])],
  },
  {
    op: ':Dropout',
    name: 'in inference it passes on',
    inputs: [float(SMALL)],
    build: (b, [x = '']) => [b.op('Dropout', [x])],
  },
  // elementwise, several operands
  one('Add', [float([2, 3, 4]), float([3, 1])]),
  one('Sub', [float([1, 4]), float([2, 3, 4])]),
  one('Mul', [float([2, 3, 4]), float([4])]),
  one('Div', [float([3, 4]), float([2, 1, 4], positive)]),
  one('Pow', [float([3, 4], positive), float([4])]),
  {
    op: ':Pow',
    name: 'constant exponents, negative bases and zero',
    inputs: [float([2, 3], between(-2, 2, [0], 0.3))],
    build: (b, [x = '']) => [
      b.op('Pow', [x, b.float('two', 2)]),
      b.op('Pow', [x, b.float('three', 3)]),
      b.op('Pow', [x, b.float('none', 0)]),
    ],
  },
  one('Sum', [float([2, 3]), float([3]), float([2, 1])]),
  one('Mean', [float([2, 3]), float([3]), float([2, 1])]),
  // Elements differ by at least 0.02, a step of 1e-4 cannot change the order; it leaves 1e-7 / 1e-4 of rounding.
  one('Max', [float([4, 5], distinct(0.02)), float([4, 5], distinct(0.023))], { step: 1e-4, tolerance: 2e-2 }),
  one('Min', [float([4, 5], distinct(0.02)), float([5], distinct(0.023))], { step: 1e-4, tolerance: 2e-2 }),
  {
    op: ':Where',
    inputs: [fixed([2, 3], between(-1, 1)), float([3]), float([2, 1])],
    build: (b, [c = '', x = '', y = '']) => [b.op('Where', [b.op('Greater', [c, b.float('zero', 0)]), x, y])],
  },
  // linear algebra
  one('MatMul', [float([2, 3]), float([3, 4])]),
  one('MatMul', [float([2, 5, 3]), float([3, 4])], { name: 'matrix on the right' }),
  one('MatMul', [float([2, 3]), float([4, 3, 5])], { name: 'matrix on the left' }),
  one('MatMul', [float([4, 1, 2, 3]), float([5, 3, 2])], { name: 'batches broadcast' }),
  one('MatMul', [float([3]), float([2, 3, 4])], { name: 'row vector' }),
  one('MatMul', [float([2, 5, 3]), float([3])], { name: 'column vector' }),
  one('MatMul', [float([3]), float([3])], { name: 'two vectors' }),
  ...[0, 1].flatMap((transA) =>
    [0, 1].flatMap((transB) => [
      one('Gemm', [float(transA === 1 ? [3, 2] : [2, 3]), float(transB === 1 ? [4, 3] : [3, 4]), float([4])], {
        name: `transA ${transA} transB ${transB}`,
        attributes: { transA, transB, alpha: { float: 1.5 }, beta: { float: 0.5 } },
      }),
      one('FusedMatMul', [float(transA === 1 ? [5, 3, 2] : [5, 2, 3]), float(transB === 1 ? [4, 3] : [3, 4])], {
        domain: 'com.microsoft',
        name: `transA ${transA} transB ${transB}`,
        attributes: { transA, transB, alpha: { float: 1.5 } },
      }),
    ]),
  ),
  one('Einsum', [float([2, 3, 4]), float([2, 4, 5])], { attributes: { equation: 'bij,bjk->bik' } }),
  one('Einsum', [float([3, 4]), float([4, 5])], {
    name: 'sums an index of its own',
    attributes: { equation: 'ij,jk->j' },
  }),
  // softmax and losses
  one('Softmax', [float([3, 5])]),
  one('Softmax', [float([2, 5, 3])], { name: 'inner axis', attributes: { axis: 1 } }),
  one('LogSoftmax', [float([2, 5, 3])], { attributes: { axis: 1 } }),
  ...['mean', 'sum', 'none'].flatMap((reduction) => [
    one('SoftmaxCrossEntropyLoss', [float([4, 5]), integers([4], [0, 3, 2, 3])], {
      name: reduction,
      attributes: { reduction },
    }),
    one('NegativeLogLikelihoodLoss', [float([4, 5]), integers([4], [0, 3, 2, 3])], {
      name: reduction,
      attributes: { reduction },
    }),
  ]),
  one('SoftmaxCrossEntropyLoss', [float([2, 5, 3]), integers([2, 3], [0, 3, -1, 3, 4, -1]), fixed([5], positive)], {
    name: 'weights, positions and an ignored class outside of the classes',
    attributes: { ignore_index: -1 },
  }),
  // normalization
  {
    op: ':BatchNormalization',
    name: 'training mode',
    inputs: [float([4, 3, 5, 2]), float([3]), float([3])],
    build: (b, [x = '', s = '', c = '']) => {
      const statistic = b.array('statistic', { type: 'float', dims: [3], data: new Float32Array(3).fill(1) });
      const attributes = { training_mode: 1, momentum: { float: 0 }, epsilon: { float: 1e-3 } };
      return [b.ops('BatchNormalization', [x, s, c, statistic, statistic], 3, { attributes })[0] ?? ''];
    },
  },
  {
    op: ':BatchNormalization',
    name: 'training mode with momentum, statistics not read',
    inputs: [float([6, 3]), float([3]), float([3])],
    build: (b, [x = '', s = '', c = '']) => {
      const statistic = b.array('statistic', { type: 'float', dims: [3], data: new Float32Array(3).fill(1) });
      return [b.op('BatchNormalization', [x, s, c, statistic, statistic], { attributes: { training_mode: 1 } })];
    },
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

/**
 * Float32, step 1e-2 on inputs of order 1: rounding is about 1e-7 / 1e-2 = 1e-5 of |Y|, truncation step^2 f'''/6 = 2e-5
 * of what bends; a wrong factor anywhere shows as 1/sqrt(elements), which is over 5e-2 for the largest input here.
 */
const TOLERANCE = 3e-3;

/** Straight-through rules are wrong as derivatives by intent; `straight-through.test.ts` checks their masks by hand. */
const CHECKED_ELSEWHERE = [':Ceil', ':Floor', ':Round', ':Sign', ':QuantizeLinear', ':DequantizeLinear'];
/** ONNX Runtime has no kernel for these in opset 21; RMSNormalization shares its rule with SimplifiedLayerNormalization. */
const NEWER_OPSET = [':RMSNormalization', ':Swish'];

describe('gradient rules against central differences', () => {
  for (const { op, name, tolerance = TOLERANCE, ...checked } of CASES) {
    it(`${op}${name === undefined ? '' : `, ${name}`}`, async () => {
      const { maxRelativeError, errors } = await checkGradient({ ...checked, seed: 7 });
      assert.ok(maxRelativeError < tolerance, `relative errors by input: ${errors.join(', ')}`);
    });
  }

  it('covers every rule of the table', () => {
    const checked = new Set([...CASES.map(({ op }) => op), ...CHECKED_ELSEWHERE, ...NEWER_OPSET]);
    const isQuantization = (key: string): boolean => key.endsWith('QuantizeLinear') || key.endsWith('DequantizeLinear');
    assert.deepEqual(
      [...GRADIENT_RULES.keys()].filter((key) => !checked.has(key) && !isQuantization(key)),
      [],
    );
  });
});
