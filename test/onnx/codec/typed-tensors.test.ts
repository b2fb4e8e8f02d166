import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fromBinary } from '@bufbuild/protobuf';
import { TensorProtoSchema } from 'onnx-buf';
import { decodeTensor } from '../../../src/onnx/codec/decode-tensor.ts';
import { DATA_TYPES } from '../../../src/onnx/data-type.ts';

interface Case {
  readonly type: string;
  readonly proto: string;
  readonly raw: string;
}

/** Made with the Python onnx package; the file says how. */
const { cases } = JSON.parse(readFileSync('test/fixtures/onnx/typed-tensors.json', 'utf8')) as { cases: Case[] };

describe('typed data fields', () => {
  it('cover every element type but strings', () => {
    const types = Object.keys(DATA_TYPES).filter((type) => type !== 'string');
    assert.deepEqual(cases.map(({ type }) => type).sort(), types.sort());
  });

  for (const { type, proto, raw } of cases) {
    it(`${type}: the same bytes as raw_data has`, () => {
      const tensor = decodeTensor(fromBinary(TensorProtoSchema, Buffer.from(proto, 'base64')), 'tensor', undefined);
      assert.equal(tensor.dataType, type);
      assert.equal(Buffer.from(tensor.bytes()).toString('hex'), raw);
    });
  }
});
