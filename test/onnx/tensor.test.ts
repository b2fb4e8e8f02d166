import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Tensor, toSafeInteger, viewAs } from '../../src/onnx/tensor.ts';

describe('viewAs', () => {
  const memory = new Uint8Array(64);
  new DataView(memory.buffer).setFloat32(8, 1.5, true);
  new DataView(memory.buffer).setFloat32(25, 2.5, true);

  it('views aligned bytes', () => {
    const view = viewAs('float', 1, memory.subarray(8, 12));
    assert.equal(view.buffer, memory.buffer);
    assert.equal(view[0], 1.5);
  });

  it('copies bytes at an odd offset, also those of a Buffer, whose slice() is a view', () => {
    for (const bytes of [memory.subarray(25, 29), Buffer.from(memory.buffer, 25, 4)]) {
      const view = viewAs('float', 1, bytes);
      assert.notEqual(view.buffer, memory.buffer);
      assert.deepEqual(view, Float32Array.of(2.5));
    }
  });

  it('counts packed and complex elements in bytes', () => {
    assert.equal(viewAs('int4', 5, memory).length, 3);
    assert.equal(viewAs('uint2', 5, memory).length, 2);
    assert.equal(viewAs('complex64', 3, memory).length, 6);
  });

  it('refuses too few bytes', () => {
    assert.throws(() => viewAs('double', 2, memory.subarray(0, 15)), /double x 2 needs 16 bytes, got 15/);
  });
});

describe('Tensor', () => {
  it('shares its bytes when renamed or reshaped', () => {
    const tensor = Tensor.float('w', [1, 2, 3, 4, 5, 6], [2, 3]);
    const other = tensor.renamed('v').reshaped([3, 2]);
    assert.deepEqual([other.name, other.dims], ['v', [3, 2]]);
    assert.equal(other.bytes(), tensor.bytes());
    assert.throws(() => tensor.reshaped([4]), /\[2, 3\] cannot become \[4\]/);
  });

  it('gives integers as numbers, exactly or not at all', () => {
    assert.deepEqual(Tensor.int64('a', [-1, 2 ** 53 - 1]).integers(), [-1, 2 ** 53 - 1]);
    const large = Tensor.fromArray('a', { type: 'int64', dims: [1], data: BigInt64Array.of(2n ** 53n) });
    assert.throws(() => large.integers(), RangeError);
    assert.throws(() => Tensor.float('f', [1]).integers(), /float, not an integer type/);
    assert.throws(() => Tensor.int64('i', [1]).floats(), /int64, not float/);
    assert.throws(() => toSafeInteger(-(2n ** 60n), 'here'), /here: -1152921504606846976/);
  });

  it('holds strings as UTF-8', () => {
    const tensor = Tensor.fromArray('s', { type: 'string', dims: [2], data: ['ü', ''] });
    assert.equal(tensor.byteLength, 2);
    assert.deepEqual(tensor.toArray().data, ['ü', '']);
    assert.throws(() => tensor.bytes(), /holds strings/);
  });

  it('reads an external range when asked, not before', () => {
    const asked: number[][] = [];
    const file = {
      location: 'x',
      byteLength: 100,
      read: (offset: number, length: number) => {
        asked.push([offset, length]);
        return new Uint8Array(length).fill(7);
      },
      readInto: () => assert.fail('not asked'),
    };
    const storage = { kind: 'external' as const, file, offset: 40, byteLength: 3 };
    const tensor = new Tensor({ name: 'e', dataType: 'uint8', dims: [3], storage });
    assert.equal(tensor.byteLength, 3);
    assert.deepEqual(asked, []);
    assert.deepEqual(tensor.integers(), [7, 7, 7]);
    assert.deepEqual(asked, [[40, 3]]);
  });
});
