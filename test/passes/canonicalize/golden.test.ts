import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { makeNode } from '../../../src/onnx/node.ts';
import { printModel } from '../../../src/onnx/print/print-model.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { canonicalized, modelOf, weight } from './helpers.ts';

it('canonicalize: a residual block of opset 8 becomes the text in residual-block.txt', async () => {
  const statistics = ['s', 's', 's', 'v'];
  const model = modelOf(
    {
      nodes: [
        makeNode('Conv', ['x', 'w'], ['c'], { attributes: { pads: [1, 1, 1, 1] }, name: 'conv' }),
        makeNode('BatchNormalization', ['c', ...statistics], ['n'], { name: 'bn' }),
        makeNode('Constant', [], ['k'], {
          attributes: { value: { kind: 'tensor', value: Tensor.float('', [0.5], []) } },
        }),
        makeNode('Mul', ['n', 'k'], ['half'], { name: 'scale' }),
        makeNode('Sum', ['x', 'half'], ['sum'], { name: 'shortcut' }),
        makeNode('Clip', ['sum'], ['relu6'], { attributes: { min: { float: 0 }, max: { float: 6 } }, name: 'relu6' }),
        makeNode('Dropout', ['relu6'], ['dropped'], { attributes: { ratio: { float: 0.5 } } }),
        makeNode('ReduceMean', ['dropped'], ['mean'], { attributes: { axes: [2, 3], keepdims: 0 }, name: 'pool' }),
        makeNode('Transpose', ['fc'], ['fct'], { attributes: { perm: [1, 0] } }),
        makeNode('Gemm', ['mean', 'fct'], ['logits'], { name: 'fc' }),
        makeNode('Softmax', ['logits'], ['p'], { name: 'softmax' }),
        makeNode('Identity', ['p'], ['y']),
      ],
      inputs: [tensorValue('x', 'float', ['n', 2, 4, 4]), tensorValue('w', 'float', [2, 2, 3, 3])],
      outputs: [tensorValue('y', 'float', ['n', 3])],
      initializers: [
        weight('w', [2, 2, 3, 3]),
        Tensor.float('s', [0.5, 2]),
        Tensor.float('v', [1, 4]),
        weight('fc', [3, 2]),
      ],
    },
    8,
    3,
  );
  await canonicalized(model);
  const expected = readFileSync(new URL('residual-block.txt', import.meta.url), 'utf8');
  assert.equal(`${printModel(model).trimEnd()}\n`, expected);
});
