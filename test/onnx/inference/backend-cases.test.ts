import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import type { DataType } from '../../../src/onnx/data-type.ts';
import { inferTypes } from '../../../src/onnx/inference/infer-types.ts';
import { makeNode, type AttributeInit } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue, type ValueInfo } from '../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { modelOf } from './models.ts';

/**
 * One node of ONNX's own backend test suite (onnx 1.23, onnx.backend.test.case.node): element type and dims of the
 * inputs, the elements of those that decide a shape, and element type and dims of what the reference computes.
 */
interface BackendCase {
  readonly name: string;
  readonly op: string;
  readonly domain?: string;
  readonly opset: number;
  readonly attributes?: Record<string, AttributeInit>;
  readonly inputs: readonly ([DataType, number[]] | [DataType, number[], number[]] | null)[];
  readonly outputs: readonly [DataType, number[]][];
}

/** Sizes that only the data decides; everything else must come out exactly. */
const DATA_DEPENDENT = new Set(['Compress', 'NonMaxSuppression', 'NonZero', 'StringSplit', 'Unique']);

const cases = JSON.parse(
  readFileSync(new URL('backend-cases.json', import.meta.url), 'utf8'),
) as readonly BackendCase[];

describe('inferTypes on the ONNX backend tests', () => {
  for (const { name, op, domain = '', opset, attributes = {}, inputs, outputs } of cases) {
    it(`${op}: ${name}`, () => {
      const values: ValueInfo[] = [];
      const initializers: Tensor[] = [];
      const inputNames = inputs.map((input, index) => {
        if (input === null) return '';
        const [type, dims, elements] = input;
        if (elements === undefined) values.push(tensorValue(`i${index}`, type, dims));
        else if (type === 'int64') initializers.push(Tensor.int64(`i${index}`, elements, dims));
        else if (type === 'int32') {
          initializers.push(Tensor.fromArray(`i${index}`, { type, dims, data: Int32Array.from(elements) }));
        } else initializers.push(Tensor.float(`i${index}`, elements, dims));
        return `i${index}`;
      });
      const outputNames = outputs.map((_, index) => `o${index}`);
      const node = makeNode(op, inputNames, outputNames, { attributes, domain });
      const results = outputs.map(([type], index) => tensorValue(`o${index}`, type));
      const model = modelOf({
        nodes: [node],
        inputs: values,
        initializers,
        outputs: results,
        opsets: { [domain]: opset },
      });
      verifyModel(model);
      const table = inferTypes(model);
      for (const [index, [type, dims]] of outputs.entries()) {
        const found = table.of(model.graph, `o${index}`);
        assert.ok(found?.kind === 'tensor', `output ${index} is not inferred`);
        assert.equal(found.elementType, type);
        const shape = found.shape ?? [];
        assert.equal(shape.length, dims.length);
        const open = DATA_DEPENDENT.has(op);
        assert.deepEqual(
          shape.map((size, axis) => (open && typeof size !== 'number' ? dims[axis] : size)),
          dims,
        );
      }
    });
  }

  it('covers the operators', () => {
    assert.ok(new Set(cases.map(({ op }) => op)).size > 150);
  });
});
