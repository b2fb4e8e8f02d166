import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { ModelProtoSchema } from 'onnx-buf';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';

const bytes = new Uint8Array(readFileSync('examples/fashion-mnist/fashion-resnet8.onnx'));

describe('decodeModel and encodeModel', () => {
  it('keep the example model: same message by the ONNX schema, every byte of every tensor', () => {
    const encoded = encodeModel(decodeModel(bytes));
    // The reference is the generated schema, which knows nothing of our IR.
    const before = toBinary(ModelProtoSchema, fromBinary(ModelProtoSchema, bytes));
    const after = toBinary(ModelProtoSchema, fromBinary(ModelProtoSchema, encoded));
    assert.ok(Buffer.from(before).equals(after));
  });

  it('views tensors instead of copying them', () => {
    const model = decodeModel(bytes);
    for (const tensor of model.graph.initializers.values()) assert.equal(tensor.bytes().buffer, bytes.buffer);
  });
});
