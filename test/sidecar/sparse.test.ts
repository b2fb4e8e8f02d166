import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { decodeSparseModel } from '../../src/client/sparse-model.ts';
import { encodeContainer } from '../../src/sidecar/container.ts';
import { decodePositions, encodePositions } from '../../src/sidecar/sparse-positions.ts';
import { encodeSparse, SPARSE } from '../../src/sidecar/sparse.ts';
import { noise } from '../passes/quantize/helpers.ts';

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
const sparseNoise = (count: number, density: number): Float32Array => {
  const [values, lot] = [noise(count, 3), noise(count, 4)];
  // `noise` is uniform in -1..1.
  return values.map((value, i) => (Math.abs(lot[i] ?? 0) < density ? value : 0));
};

describe('encodeSparse', () => {
  it('gives back any bytes, of 2 and of 4 an element: zeros, -0, NaN and all', () => {
    const input = fc.tuple(
      fc.constantFrom(2 as const, 4 as const),
      fc.array(fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { arbitrary: fc.nat(0xffffffff), weight: 1 }), {
        maxLength: 2000,
      }),
    );
    fc.assert(
      fc.property(input, ([width, words]) => {
        const bytes =
          width === 4
            ? bytesOf(new Float32Array(Uint32Array.from(words).buffer))
            : new Uint8Array(Uint16Array.from(words).buffer);
        const { fields, code } = encodeSparse(bytes, width);
        assert.deepEqual(fields.slice(0, 2), [words.length, width]);
        assert.deepEqual(Buffer.from(SPARSE.decode(fields, code)), Buffer.from(bytes));
      }),
    );
  });

  it('takes for positions about the entropy of the density', () => {
    for (const density of [0.5, 0.2, 0.02]) {
      const { positionBytes, fields } = encodeSparse(bytesOf(sparseNoise(60_000, density)), 4);
      const share = fields[2] / 60_000;
      const entropy = (-60_000 * (share * Math.log2(share) + (1 - share) * Math.log2(1 - share))) / 8;
      // Adaptive counts cost some percent, up to a few dozen bytes while they settle.
      assert.ok(positionBytes < entropy * 1.05 + 100 && positionBytes > entropy * 0.95, `${positionBytes}, ${entropy}`);
    }
  });

  it('codes long runs as gaps: cheaper than a symbol an element', () => {
    const values = new Float32Array(60_000);
    for (let i = 0; i < values.length; i += 1000) values[i] = 1 + i;
    const { positionBytes, fields, code } = encodeSparse(bytesOf(values), 4);
    assert.equal(fields[2], 60);
    // Every gap alike; as independent elements of density 0.001 they would take 86 bytes.
    assert.ok(positionBytes < 86, `${positionBytes}`);
    assert.deepEqual(Buffer.from(SPARSE.decode(fields, code)), Buffer.from(bytesOf(values)));
  });

  it('2 of 4 along the input channels: 2.6 bits a group, and what lies behind the last group', () => {
    // [64 outputs, 10 inputs, 9 places]: 2 groups of 4 input channels, 2 channels behind.
    const mask = new Uint8Array(64 * 10 * 9).fill(1);
    const lots = noise(64 * 2 * 9, 8);
    for (let group = 0; group < lots.length; group += 1) {
      const [o, g, k] = [Math.floor(group / 18), Math.floor(group / 9) % 2, group % 9];
      const pairs = [
        [0, 1],
        [0, 2],
        [0, 3],
        [1, 2],
        [1, 3],
        [2, 3],
      ];
      const gone = pairs[Math.floor(((lots[group] ?? 0) + 1) * 2.9999)] ?? [0, 1];
      for (const j of gone) mask[(o * 10 + g * 4 + j) * 9 + k] = 0;
    }
    const pattern = { axis: 10, inner: 9, kept: 2, group: 4 };
    const { code, stored } = encodePositions(mask, pattern);
    assert.deepEqual(stored, mask);
    assert.deepEqual(decodePositions(code, mask.length), mask);
    // log2(6) = 2.585 bits a group.
    assert.ok(code.length < (lots.length * 2.7) / 8 + 40, `${code.length}`);
    assert.ok(code.length < encodePositions(mask, undefined).code.length);
  });

  it('groups with fewer than n weights count zeros as stored; a pattern that is not there is not used', () => {
    const mask = Uint8Array.from({ length: 4096 }, (_, i) => (i % 8 < 4 ? Number(i % 2 === 0) : Number(i % 8 === 7)));
    const pattern = { axis: 64, inner: 1, kept: 2, group: 4 };
    const { code, stored } = encodePositions(mask, pattern);
    assert.deepEqual(decodePositions(code, mask.length), stored);
    assert.ok(mask.every((one, i) => one <= (stored[i] ?? 0)));
    const dense = new Uint8Array(4096).fill(1);
    assert.deepEqual(decodePositions(encodePositions(dense, pattern).code, 4096), dense);
  });
});

describe('decodeSparseModel', () => {
  const values = sparseNoise(5000, 0.2);
  const model = Buffer.concat([Buffer.from('head'), bytesOf(values), Buffer.from('tail')]);
  const { fields, code } = encodeSparse(bytesOf(values), 4);
  const good = Buffer.from(encodeContainer(SPARSE.magic, model, [{ offset: 4, byteLength: 20_000, fields, code }]));
  /** The sidecar with integers of its header or table replaced. */
  const withIntegers = (changes: Readonly<Record<number, number>>): Buffer => {
    const bytes = Buffer.from(good);
    for (const [at, value] of Object.entries(changes)) bytes.writeUInt32LE(value, Number(at));
    return bytes;
  };

  it('gives the model file back, byte for byte, from a smaller file', () => {
    assert.deepEqual(Buffer.from(decodeSparseModel(good)), model);
    assert.ok(good.length < 5000, `${good.length}`);
  });

  it('refuses every truncation, and bytes behind the end, in words', () => {
    for (let length = 0; length < good.length; length += length < 120 ? 1 : 97) {
      assert.throws(() => decodeSparseModel(good.subarray(0, length)), RangeError, `${length} bytes`);
    }
    assert.throws(() => decodeSparseModel(Buffer.concat([good, Buffer.from('x')])), /its table says/);
    assert.throws(() => decodeSparseModel(Buffer.from('TERSORC1'.padEnd(80))), /not a sidecar of prune/);
  });

  it('refuses every flipped byte, or gives the right model', () => {
    for (let at = 0; at < good.length; at += 13) {
      const flipped = Buffer.from(good);
      flipped[at] = (flipped[at] ?? 0) ^ 0x55;
      assert.throws(() => decodeSparseModel(flipped), RangeError, `byte ${at}`);
    }
  });

  it('refuses counts that cannot be before it allocates what they say', () => {
    const before = process.memoryUsage().rss;
    const [length, tensors, offset, elements, width, stored, codeLength] = [8, 44, 48, 52, 56, 60, 64];
    for (const [changes, message] of [
      [{ [length]: 0xfffffff0 }, /has 4294967280 bytes, more than the 2147483647/],
      [{ [length]: 0x7ffffff0 }, /deflated part gives 8 bytes, expected 2147463632/],
      [{ [tensors]: 0xffffffff }, /breaks off in its table of 4294967295/],
      [{ [offset]: 0xffffff00 }, /tensor 0 of 1 has an entry that cannot be/],
      [{ [elements]: 0xffffffff }, /entry that cannot be/],
      // Consistent with the length: only the code can tell.
      [{ [length]: 8 + 4 * 300_000_000, [elements]: 300_000_000 }, /tensor 0 of 1: .* breaks off/],
      [{ [width]: 3 }, /entry that cannot be/],
      [{ [stored]: 5001 }, /entry that cannot be/],
      [{ [stored]: 10 }, /have positions, 10 have values/],
      [{ [codeLength]: 0x7fffffff }, /its table says/],
    ] as const) {
      assert.throws(() => decodeSparseModel(withIntegers(changes)), message);
    }
    // 1.2 GB is what the largest claim would take; only what was written to is really taken.
    assert.ok(process.memoryUsage().rss - before < 4e8, `${process.memoryUsage().rss - before}`);
    assert.throws(() => decodeSparseModel(good, 1000), /more than the 1000 that are allowed/);
  });

  it('does not inflate more than there can be', () => {
    const bomb = deflateRawSync(Buffer.alloc(50_000_000));
    const header = Buffer.from(good.subarray(0, 52));
    header.writeUInt32LE(100, 8);
    header.writeUInt32LE(0, 44);
    header.writeUInt32LE(bomb.length, 48);
    assert.throws(() => decodeSparseModel(Buffer.concat([header, bomb])), /deflated part cannot be read/);
  });

  it('refuses positions and planes that do not fit', () => {
    const refused = (changed: Uint8Array, message: RegExp): void => {
      const part = { offset: 4, byteLength: 20_000, fields, code: changed };
      assert.throws(() => decodeSparseModel(encodeContainer(SPARSE.magic, model, [part])), message);
    };
    const withInteger = (at: number, value: number): Uint8Array => {
      const bytes = Buffer.from(code);
      bytes.writeUInt32LE(value, at);
      return bytes;
    };
    refused(withInteger(0, 0x7fffffff), /its code breaks off/);
    refused(withInteger(4, 9), /coded in a way 9/);
    refused(withInteger(4, 2), /of \d+ along/);
    refused(new Uint8Array(2), /its code breaks off/);
    refused(withInteger(4 + Buffer.from(code).readUInt32LE(0), 100_000), /its code breaks off/);
  });

  it('says SHA-256 where everything fits and the bytes are others', () => {
    const bytes = Buffer.from(good);
    createHash('sha256').update('another model').digest().copy(bytes, 12);
    assert.throws(() => decodeSparseModel(bytes), /SHA-256/);
  });
});
