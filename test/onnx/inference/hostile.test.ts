import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { inferTypes } from '../../../src/onnx/inference/infer-types.ts';
import { INFER_RULES } from '../../../src/onnx/inference/rules.ts';
import { makeNode, type AttributeInit } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue, type Dimension } from '../../../src/onnx/value-type.ts';
import { modelOf } from './models.ts';

describe('inferTypes on hostile models', () => {
  it('never throws, whatever attributes, shapes and constants an operator gets', () => {
    const rules = [...INFER_RULES.keys()].filter((key) => !/:(If|Loop|Scan|SequenceMap)$/.test(key));
    const number = fc.oneof(fc.integer({ min: -3, max: 5 }), fc.constantFrom(0, 2 ** 31, 2 ** 52, -(2 ** 40)));
    const attribute: fc.Arbitrary<AttributeInit> = fc.oneof(number, fc.array(number, { maxLength: 5 }), fc.string());
    const names = [
      'axis axes perm kernel_shape strides pads dilations group to shape split blocksize k N K scales num_outputs',
      'hidden_size output_shape equation keepdims dtype start end batch_dims channels_last num_heads auto_pad',
    ]
      .join(' ')
      .split(' ');
    const size: fc.Arbitrary<Dimension> = fc.oneof(number.map(Math.abs), fc.constantFrom('n', null));
    const input = fc.oneof(
      fc.array(size, { maxLength: 5 }).map((shape) => ({ shape })),
      fc.array(number, { maxLength: 6 }).map((values) => ({ values })),
    );
    const attributes = fc.dictionary(fc.constantFrom(...names), attribute, { maxKeys: 6 });
    const node = fc.tuple(fc.constantFrom(...rules), attributes, fc.array(input, { maxLength: 5 }));
    fc.assert(
      fc.property(node, fc.constantFrom(1, 6, 10, 13, 18, 23), ([key, given, inputs], opset) => {
        const [domain = '', opType = ''] = key.split(':');
        const model = modelOf({
          nodes: [
            makeNode(
              opType,
              inputs.map((_, index) => `i${index}`),
              ['a', 'b', 'c'],
              { attributes: given, domain },
            ),
          ],
          inputs: inputs.flatMap((each, index) =>
            'shape' in each ? [tensorValue(`i${index}`, 'float', each.shape)] : [],
          ),
          initializers: inputs.flatMap((each, index) =>
            'values' in each ? [Tensor.int64(`i${index}`, each.values)] : [],
          ),
          opsets: { '': opset, [domain]: opset },
        });
        const table = inferTypes(model);
        for (const name of ['a', 'b', 'c']) {
          for (const dim of table.shape(model.graph, name) ?? []) {
            assert.ok(typeof dim !== 'number' || (Number.isSafeInteger(dim) && dim >= 0), `${key} gives size ${dim}`);
          }
        }
      }),
      { numRuns: 5000 },
    );
  });

  it('keeps messages short and printable', () => {
    const symbol = `\u001b[31m${'s'.repeat(100_000)}`;
    const model = modelOf({
      nodes: [makeNode('MatMul', ['a', 'b'], ['y'])],
      inputs: [tensorValue('a', 'float', [symbol, 3]), tensorValue('b', 'float', [4, symbol])],
    });
    const [conflict] = inferTypes(model).conflicts;
    assert.ok(conflict !== undefined && conflict.message.length < 700 && !/\p{Cc}/u.test(conflict.message));
  });

  it('does not build what a declared size asks for', () => {
    const model = modelOf({
      nodes: [makeNode('Reshape', ['x', 't'], ['y'])],
      inputs: [tensorValue('x', 'float', [2]), tensorValue('t', 'int64', [100_000_000])],
    });
    assert.match(inferTypes(model).conflicts[0]?.message ?? '', /rank 100000000 is not possible/);
  });
});
