import { describe, it } from 'node:test';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { weight } from '../quantize/helpers.ts';
import { between, op } from './between.ts';
import { assertRemovable, type RemovableCase } from './helpers.ts';

/** What repeats, joins, adds axes or makes values by a shape, with the channels on an axis that passes through. */
const CASES: Readonly<Record<string, RemovableCase>> = {
  'Tile of another axis': {
    parts: between([op('Tile', ['a', 'repeats'], 't')], [Tensor.int64('repeats', [1, 1, 2, 1])], {
      last: 't',
      channels: 8,
      size: [12, 6],
    }),
    groups: [8],
  },
  'Unsqueeze, axes from both ends': {
    parts: between(
      [
        op('ReduceMean', ['a', 'space'], 'p', { keepdims: 0 }),
        op('Gemm', ['p', 'w1'], 'g'),
        op('Unsqueeze', ['g', 'space'], 'u'),
        op('Expand', ['u', 'shape'], 'e'),
        op('Unsqueeze', ['p', 'around'], 'v'),
        op('Transpose', ['v'], 't', { perm: [0, 2, 1, 3] }),
        op('Mul', ['a', 't'], 'm'),
        op('Concat', ['m', 'e'], 'c', { axis: 1 }),
      ],
      [
        Tensor.int64('space', [2, 3]),
        weight('w1', [8, 5], 4),
        Tensor.int64('around', [-3, 3]),
        Tensor.int64('shape', [1, 5, 6, 6]),
      ],
      { last: 'c', channels: 13 },
    ),
    groups: [8, 5],
  },
  'Concat on another axis': {
    parts: between(
      [op('Conv', ['a', 'w1'], 'b'), op('Concat', ['a', 'b', 'wide'], 'c', { axis: 2 })],
      [weight('w1', [8, 8, 1, 1], 4), weight('wide', [2, 8, 1, 6], 5)],
      { last: 'c', channels: 8, size: [13, 6] },
    ),
    groups: [8],
  },
  ConstantOfShape: {
    parts: between(
      [
        op('ConstantOfShape', ['shape'], 'k', { value: { kind: 'tensor', value: Tensor.float('half', [0.5]) } }),
        op('Add', ['a', 'k'], 'b'),
      ],
      [Tensor.int64('shape', [1, 8, 1, 6])],
      { last: 'b', channels: 8 },
    ),
    groups: [8],
  },
  'Shape of which others read the height': {
    parts: between(
      [
        op('Shape', ['a'], 's'),
        op('Gather', ['s', 'two'], 'h'),
        op('Concat', ['front', 'h', 'rest'], 'target', { axis: 0 }),
        op('Reshape', ['a', 'target'], 'r'),
      ],
      [Tensor.int64('two', [2]), Tensor.int64('front', [0, 8]), Tensor.int64('rest', [-1])],
      { last: 'r', channels: 8 },
    ),
    groups: [8],
  },
  'embedding: rows by number': {
    parts: {
      nodes: [
        op('Cast', ['x'], 'ids', { to: 7 }),
        op('Gather', ['table', 'ids'], 'e'),
        op('Add', ['e', 'places'], 'a'),
        op('MatMul', ['a', 'w_out'], 'y'),
      ],
      tensors: [weight('table', [9, 8], 1), weight('places', [5, 8], 2), weight('w_out', [8, 4], 3)],
      inputs: { x: [2, 5] },
      outputs: { y: [2, 5, 4] },
    },
    groups: [8],
  },
};

describe('channel rules: shapes and axes that channels pass by', () => {
  for (const [name, { parts, groups }] of Object.entries(CASES)) {
    it(name, () => assertRemovable(parts, groups));
  }
});
