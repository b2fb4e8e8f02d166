import { describe, it } from 'node:test';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { weight } from '../quantize/helpers.ts';
import { between, op, positive } from './between.ts';
import { assertRemovable, type RemovableCase } from './helpers.ts';

const CASES: Readonly<Record<string, RemovableCase>> = {
  'residual sum and PRelu': {
    parts: between(
      [
        op('Conv', ['a', 'w1'], 'b', { pads: [1, 1, 1, 1] }),
        op('Add', ['a', 'b'], 'c'),
        op('PRelu', ['c', 'slope'], 'd'),
      ],
      [weight('w1', [8, 8, 3, 3], 4), weight('slope', [8, 1, 1], 5)],
      { last: 'd', channels: 8 },
    ),
    groups: [8],
  },
  'constants by channel and scalars': {
    parts: between(
      [op('Mul', ['a', 'scale'], 'b'), op('Add', ['b', 'shift'], 'c'), op('Mul', ['c', 'two'], 'd')],
      [weight('scale', [1, 8, 1, 1], 4), weight('shift', [8, 1, 1], 5), Tensor.float('two', [2], [])],
      { last: 'd', channels: 8 },
    ),
    groups: [8],
  },
  'Concat of a value with itself and another': {
    parts: between(
      [op('Conv', ['a', 'w1'], 'b'), op('Concat', ['a', 'b', 'a'], 'c', { axis: -3 })],
      [weight('w1', [5, 8, 1, 1], 4)],
      { last: 'c', channels: 21 },
    ),
    groups: [8, 5],
  },
  'depthwise with two filters a channel': {
    parts: between(
      [op('Conv', ['a', 'w1', 'b1'], 'b', { group: 8 })],
      [weight('w1', [16, 1, 1, 1], 4), weight('b1', [16], 5)],
      {
        last: 'b',
        channels: 16,
      },
    ),
    groups: [8],
  },
  'grouped convolution': {
    parts: between([op('Conv', ['a', 'w1'], 'b', { group: 2 })], [weight('w1', [6, 4, 1, 1], 4)], {
      last: 'b',
      channels: 6,
    }),
    groups: [4, 3],
  },
  'ConvTranspose, plain and grouped': {
    parts: between(
      [
        op('ConvTranspose', ['a', 'w1', 'b1'], 'b', { strides: [2, 2] }),
        op('ConvTranspose', ['b', 'w2'], 'c', { group: 2 }),
      ],
      [weight('w1', [8, 6, 2, 2], 4), weight('b1', [6], 5), weight('w2', [6, 4, 1, 1], 6)],
      { last: 'c', channels: 8, size: [12, 12] },
    ),
    groups: [8, 3, 4],
  },
  'depthwise ConvTranspose': {
    parts: between([op('ConvTranspose', ['a', 'w1'], 'b', { group: 8 })], [weight('w1', [8, 1, 1, 1], 4)], {
      last: 'b',
      channels: 8,
    }),
    groups: [8],
  },
  'padded shortcut: Slice and Pad': {
    parts: between(
      [
        op('Slice', ['a', 'starts', 'ends', 'axes', 'steps'], 's'),
        op('Pad', ['s', 'pads'], 'p'),
        op('Conv', ['a', 'w1'], 'b', { strides: [2, 2], pads: [1, 1, 1, 1] }),
        op('Add', ['p', 'b'], 'c'),
      ],
      [
        Tensor.int64('starts', [0, 0]),
        Tensor.int64('ends', [6, 2 ** 40]),
        Tensor.int64('axes', [2, 3]),
        Tensor.int64('steps', [2, 2]),
        Tensor.int64('pads', [0, 3, 0, 0, 0, 5, 0, 0]),
        weight('w1', [16, 8, 3, 3], 4),
      ],
      { last: 'c', channels: 16, size: [3, 3] },
    ),
    groups: [8, 8],
  },
  'Slice of channels, and every second one backwards': {
    parts: between(
      [
        op('Slice', ['a', 'from', 'to', 'one'], 's'),
        op('Slice', ['a', 'last', 'first', 'one', 'back'], 'r'),
        op('Concat', ['s', 'r'], 'c', { axis: 1 }),
      ],
      [
        Tensor.int64('from', [2]),
        Tensor.int64('to', [-1]),
        Tensor.int64('one', [1]),
        Tensor.int64('last', [-1]),
        Tensor.int64('first', [-100]),
        Tensor.int64('back', [-2]),
      ],
      { last: 'c', channels: 9 },
    ),
    // 1 and 7 only in the second; 2, 4, 6 only in the first; 3 and 5 in both; 0 in none, and alone.
    groups: [2, 3, 2],
  },
  'Split into unequal parts': {
    parts: between(
      [op('Split', ['a', 'sizes'], ['s', 't'], { axis: 1 }), op('Concat', ['t', 's'], 'c', { axis: 1 })],
      [Tensor.int64('sizes', [3, 5])],
      { last: 'c', channels: 8 },
    ),
    groups: [3, 5],
  },
  'Gather of channels': {
    parts: between([op('Gather', ['a', 'indices'], 'g', { axis: 1 })], [Tensor.int64('indices', [7, 0, 0, -5])], {
      last: 'g',
      channels: 4,
    }),
    groups: [3, 5],
  },
  'channel shuffle': {
    parts: between(
      [
        op('Reshape', ['a', 'open'], 'r'),
        op('Transpose', ['r'], 't', { perm: [0, 2, 1, 3, 4] }),
        op('Reshape', ['t', 'close'], 's'),
      ],
      [Tensor.int64('open', [0, 2, 4, 6, 6]), Tensor.int64('close', [-1, 8, 6, 6])],
      { last: 's', channels: 8 },
    ),
    groups: [8],
  },
  'DepthToSpace, both orders': {
    parts: between(
      [
        op('DepthToSpace', ['a'], 'd', { blocksize: 2, mode: 'CRD' }),
        op('Conv', ['d', 'w1'], 'e'),
        op('DepthToSpace', ['e'], 'f', { blocksize: 2, mode: 'DCR' }),
      ],
      [weight('w1', [12, 2, 1, 1], 4)],
      { last: 'f', channels: 3, size: [24, 24] },
    ),
    groups: [2, 3],
  },
  SpaceToDepth: {
    parts: between([op('SpaceToDepth', ['a'], 's', { blocksize: 2 })], [], { last: 's', channels: 32, size: [3, 3] }),
    groups: [8],
  },
  'Resize to constant sizes, InstanceNormalization': {
    parts: between(
      [
        op('Resize', ['a', '', '', 'sizes'], 'r', { mode: 'nearest' }),
        op('InstanceNormalization', ['r', 'g', 'b'], 'n'),
      ],
      [Tensor.int64('sizes', [2, 8, 12, 12]), weight('g', [8], 4), weight('b', [8], 5)],
      { last: 'n', channels: 8, size: [12, 12] },
    ),
    groups: [8],
  },
  'GroupNormalization loses whole groups': {
    parts: between(
      [op('GroupNormalization', ['a', 'g', 'b'], 'n', { num_groups: 4 })],
      [weight('g', [8], 4), weight('b', [8], 5)],
      {
        last: 'n',
        channels: 8,
      },
    ),
    groups: [4],
  },
  'BatchNormalization, Expand, Transpose': {
    parts: between(
      [
        op('BatchNormalization', ['a', 'g', 'b', 'm', 'v'], 'n'),
        op('GlobalAveragePool', ['n'], 'p'),
        op('Expand', ['p', 'shape'], 'e'),
        op('Transpose', ['e'], 't', { perm: [0, 2, 3, 1] }),
        op('MatMul', ['t', 'w1'], 'u'),
        op('Transpose', ['u'], 'z', { perm: [0, 3, 1, 2] }),
      ],
      [
        weight('g', [8], 4),
        weight('b', [8], 5),
        weight('m', [8], 6),
        positive('v', 8),
        Tensor.int64('shape', [2, 8, 6, 6]),
        weight('w1', [8, 5], 7),
      ],
      { last: 'z', channels: 5 },
    ),
    groups: [8, 5],
  },
  'squeeze and excite': {
    parts: between(
      [
        op('ReduceMean', ['a', 'space'], 'p', { keepdims: 1 }),
        op('Conv', ['p', 'w1'], 'q'),
        op('Relu', ['q'], 'r'),
        op('Conv', ['r', 'w2'], 's'),
        op('Sigmoid', ['s'], 't'),
        op('Mul', ['a', 't'], 'u'),
      ],
      [Tensor.int64('space', [2, 3]), weight('w1', [4, 8, 1, 1], 4), weight('w2', [8, 4, 1, 1], 5)],
      { last: 'u', channels: 8 },
    ),
    groups: [8, 4],
  },
  'Flatten to Gemm, and features back to maps': {
    parts: between(
      [
        op('Flatten', ['a'], 'f'),
        op('Gemm', ['f', 'w1', 'b1'], 'g', { transB: 1 }),
        op('Gemm', ['g', 'w2'], 'h'),
        op('Reshape', ['h', 'shape'], 'r'),
      ],
      [
        weight('w1', [10, 288], 4),
        weight('b1', [10], 5),
        weight('w2', [10, 5 * 36], 6),
        Tensor.int64('shape', [-1, 5, 6, 6]),
      ],
      { last: 'r', channels: 5 },
    ),
    groups: [8, 10, 5],
  },
  Einsum: {
    parts: between([op('Einsum', ['a', 'w1'], 'e', { equation: 'nchw,oc->nohw' })], [weight('w1', [7, 8], 4)], {
      last: 'e',
      channels: 7,
    }),
    groups: [8, 7],
  },
  'two products of activations': {
    parts: between(
      [
        op('Reshape', ['a', 'flat'], 'f'),
        op('Transpose', ['f'], 't', { perm: [0, 2, 1] }),
        op('MatMul', ['t', 'f'], 'scores'),
        op('Softmax', ['scores'], 'shares', { axis: -1 }),
        op('MatMul', ['f', 'shares'], 'mixed'),
        op('Reshape', ['mixed', 'map'], 'm'),
      ],
      [Tensor.int64('flat', [2, 8, -1]), Tensor.int64('map', [0, 0, 6, 6])],
      { last: 'm', channels: 8 },
    ),
    groups: [8],
  },
  'quantized weights with a scale by channel': {
    parts: between(
      [
        op('QuantizeLinear', ['a', 's', 'zp'], 'aq'),
        op('DequantizeLinear', ['aq', 's', 'zp'], 'ad'),
        op('DequantizeLinear', ['wq', 'ws', 'wz'], 'w', { axis: 0 }),
        op('DequantizeLinear', ['bq', 'bs'], 'bd', { axis: 0 }),
        op('Conv', ['ad', 'w', 'bd'], 'c'),
        op('Relu', ['c'], 'r'),
      ],
      [
        Tensor.float('s', [0.02], []),
        Tensor.fromArray('zp', { type: 'uint8', dims: [], data: Uint8Array.of(128) }),
        Tensor.fromArray('wq', {
          type: 'int8',
          dims: [6, 8, 1, 1],
          data: Int8Array.from({ length: 48 }, (_, i) => ((i * 37) % 250) - 125),
        }),
        weight('ws', [6], 4),
        Tensor.fromArray('wz', { type: 'int8', dims: [6], data: new Int8Array(6) }),
        Tensor.fromArray('bq', { type: 'int32', dims: [6], data: Int32Array.of(9, -8, 7, 6, -5, 4) }),
        weight('bs', [6], 5),
      ],
      { last: 'r', channels: 6 },
    ),
    groups: [8, 6],
  },
  'one weight read twice': {
    parts: between(
      [op('Conv', ['a', 'w1'], 'b'), op('Relu', ['b'], 'c'), op('Conv', ['c', 'w1'], 'd')],
      [weight('w1', [8, 8, 1, 1], 4)],
      { last: 'd', channels: 8 },
    ),
    groups: [8],
  },
  'group normalization written as InstanceNormalization': {
    parts: between(
      [
        op('Reshape', ['a', 'open'], 'r'),
        op('InstanceNormalization', ['r', 'one', 'zero'], 'n'),
        op('Reshape', ['n', 'close'], 'm'),
        op('Mul', ['m', 'g'], 'o'),
      ],
      [
        Tensor.int64('open', [0, 4, -1]),
        Tensor.int64('close', [2, 8, 6, 6]),
        Tensor.float('one', [1, 1, 1, 1]),
        Tensor.float('zero', [0, 0, 0, 0]),
        weight('g', [8, 1, 1], 6),
      ],
      { last: 'o', channels: 8 },
    ),
    groups: [4],
  },
  'Where, Max, LeakyRelu': {
    parts: between(
      [
        op('Greater', ['a', 'limit'], 'g'),
        op('Where', ['g', 'a', 'else'], 'w'),
        op('Max', ['w', 'floor'], 'm'),
        op('LeakyRelu', ['m'], 'l'),
      ],
      [Tensor.float('limit', [0.1], []), weight('else', [1, 8, 1, 1], 4), weight('floor', [8, 1, 1], 5)],
      { last: 'l', channels: 8 },
    ),
    groups: [8],
  },
  'Sub, Div, Min, Sum': {
    parts: between(
      [
        op('Conv', ['a', 'w1'], 'b'),
        op('Sub', ['a', 'b'], 'd'),
        op('Div', ['d', 'scale'], 'q'),
        op('Min', ['q', 'ceiling', 'a'], 'm'),
        op('Sum', ['m', 'shift', 'a'], 's'),
      ],
      [
        weight('w1', [8, 8, 1, 1], 4),
        Tensor.float('scale', [1, 2, 3, 4, 5, 6, 7, 8], [8, 1, 1]),
        weight('ceiling', [1, 8, 1, 1], 5),
        weight('shift', [8, 1, 1], 6),
      ],
      { last: 's', channels: 8 },
    ),
    groups: [8],
  },
  'Concat with an input of the graph': {
    parts: between([op('Concat', ['x', 'a'], 'c', { axis: 1 })], [], { last: 'c', channels: 11 }),
    groups: [8],
  },
  'attention heads, query, key and value in one product': {
    parts: {
      nodes: [
        op('MatMul', ['x', 'w_qkv'], 'p'),
        op('Add', ['p', 'b_qkv'], 'biased'),
        op('Reshape', ['biased', 'open'], 'r'),
        op('Transpose', ['r'], 't', { perm: [2, 0, 3, 1, 4] }),
        op('Split', ['t', 'ones'], ['q1', 'k1', 'v1'], { axis: 0 }),
        op('Squeeze', ['q1', 'first'], 'q'),
        op('Squeeze', ['k1', 'first'], 'k'),
        op('Squeeze', ['v1', 'first'], 'v'),
        op('Transpose', ['k'], 'kt', { perm: [0, 1, 3, 2] }),
        op('MatMul', ['q', 'kt'], 'scores'),
        op('Softmax', ['scores'], 'shares', { axis: -1 }),
        op('MatMul', ['shares', 'v'], 'mixed'),
        op('Transpose', ['mixed'], 'merged', { perm: [0, 2, 1, 3] }),
        op('Reshape', ['merged', 'flat'], 'f'),
        op('MatMul', ['f', 'w_out'], 'y'),
      ],
      tensors: [
        weight('w_qkv', [6, 36], 1),
        weight('b_qkv', [36], 2),
        Tensor.int64('open', [0, 0, 3, 4, 3]),
        Tensor.int64('ones', [1, 1, 1]),
        Tensor.int64('first', [0]),
        Tensor.int64('flat', [0, -1, 12]),
        weight('w_out', [12, 6], 3),
      ],
      inputs: { x: [2, 5, 6] },
      outputs: { y: [2, 5, 6] },
    },
    groups: [4],
  },
};

describe('channel rules', () => {
  for (const [name, { parts, groups }] of Object.entries(CASES)) {
    it(name, () => assertRemovable(parts, groups));
  }
});
