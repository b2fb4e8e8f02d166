import { awayFromZero, between, distinct } from './check-gradient.ts';
import { fixed, float, integers, one, positive, type RuleCase } from './rule-case.ts';

const SMALL = [3, 4];

/** Elementwise operators, linear algebra, softmax and losses. */
export const ELEMENTWISE_CASES: readonly RuleCase[] = [
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
];
