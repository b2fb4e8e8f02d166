import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import { INFER_RULES } from '../../../src/onnx/inference/rules.ts';
import { firstVersionOf, operatorsOf, schemaOf } from '../../../src/onnx/operators/operator-schemas.ts';
import { parseSchemas } from '../../../src/onnx/operators/parse-schemas.ts';

describe('operator schemas', () => {
  it('gives the version in force at an opset', () => {
    // ONNX Changelog: Clip takes min and max as inputs since 11; Upsample is deprecated since 10; Gelu came with 20.
    assert.ok(schemaOf('', 'Clip', 10)?.attributes.has('min'));
    assert.equal(schemaOf('', 'Clip', 17)?.inputs.max, 3);
    assert.equal(schemaOf('', 'Upsample', 9)?.isDeprecated, false);
    assert.equal(schemaOf('', 'Upsample', 13)?.isDeprecated, true);
    assert.equal(schemaOf('', 'Gelu', 19), undefined);
    assert.equal(firstVersionOf('', 'Gelu'), 20);
  });

  it('knows required attributes, subgraphs and variadic inputs', () => {
    assert.deepEqual(schemaOf('', 'Concat', 13)?.attributes.get('axis'), { kind: 'int', isRequired: true });
    assert.equal(schemaOf('', 'Concat', 13)?.inputs.max, Infinity);
    assert.equal(schemaOf('', 'Loop', 13)?.attributes.get('body')?.kind, 'graph');
    // QLinearAdd: A, A_scale, A_zero_point?, B, B_scale, B_zero_point?, C_scale, C_zero_point? (ContribOperators.md)
    assert.deepEqual(schemaOf('com.microsoft', 'QLinearAdd', 1)?.inputs, { min: 7, max: 8, optional: [2, 5] });
  });

  it('does not know compiled contexts, Python operators and text generation', () => {
    for (const opType of ['EPContext', 'PyOp', 'BeamSearch', 'Tokenizer']) {
      assert.equal(schemaOf('com.microsoft', opType, 1), undefined);
    }
  });

  it('reads arity, continuation lines and deprecation', () => {
    const table = parseSchemas('d', '\nA 1,3 | 2-*~0 | 1 | x!=i\n    y=fs\nA 5 | deprecated\n');
    const [first, second, third] = table.get('A') ?? [];
    assert.deepEqual(first?.inputs, { min: 2, max: Infinity, optional: [0] });
    assert.deepEqual([...first.attributes.keys()], ['x', 'y']);
    assert.equal(second?.sinceVersion, 3);
    assert.equal(third?.isDeprecated, true);
  });

  it('has an inference rule for every operator but those listed here', () => {
    const without: string[] = [];
    for (const domain of ['', 'ai.onnx.ml', 'com.microsoft']) {
      for (const opType of operatorsOf(domain)) {
        if (!INFER_RULES.has(`${domain}:${opType}`)) without.push(`${domain}:${opType}`);
      }
    }
    assert.deepEqual(without, [':Crop', ':DynamicSlice', 'ai.onnx.ml:CastMap', 'ai.onnx.ml:DictVectorizer']);
  });
});
