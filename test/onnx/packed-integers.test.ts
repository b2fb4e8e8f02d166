import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { packIntegers, unpackIntegers, type PackedType } from '../../src/onnx/packed-integers.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { makeNode } from '../../src/onnx/node.ts';
import { net, outputOf } from '../passes/quantize/helpers.ts';

describe('packed integers', () => {
  it('put the first element into the low bits', () => {
    assert.deepEqual(packIntegers('uint4', [1, 2, 15]), Uint8Array.of(0x21, 0x0f));
    assert.deepEqual(packIntegers('int4', [-8, 7, -1]), Uint8Array.of(0x78, 0x0f));
    assert.deepEqual(packIntegers('uint2', [1, 1, 3, 0]), Uint8Array.of(0x35));
    assert.deepEqual(packIntegers('int2', [-1, -2, 1, 0, 1]), Uint8Array.of(0x1b, 0x01));
  });

  const ranges: [PackedType, number, number][] = [
    ['int4', -8, 7],
    ['uint4', 0, 15],
    ['int2', -2, 1],
    ['uint2', 0, 3],
  ];
  for (const [type, low, high] of ranges) {
    const values = Array.from({ length: 37 }, (_, i) => low + ((i * 7) % (high - low + 1)));

    it(`come back as they went in (${type})`, () => {
      assert.deepEqual([...unpackIntegers(type, packIntegers(type, values), values.length)], values);
    });

    it(`are what ONNX Runtime reads (${type})`, async () => {
      const codes = Tensor.fromArray('q', { type, dims: [values.length], data: packIntegers(type, values) });
      const model = net({
        nodes: [makeNode('DequantizeLinear', ['q', 's'], ['w']), makeNode('Add', ['x', 'w'], ['y'])],
        tensors: [codes, Tensor.float('s', [0.5], [])],
        inputs: { x: [1] },
        outputs: { y: [values.length] },
      });
      // 2-bit types came with opset 25.
      model.opsetImports.set('', 25);
      model.irVersion = 13;
      const y = await outputOf(model, { x: { type: 'float', dims: [1], data: new Float32Array(1) } });
      assert.deepEqual(
        [...y],
        values.map((value) => value / 2),
      );
    });
  }
});
