import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeSymbols, encodeSymbols, entropyOf } from '../../src/numerics/range-coder.ts';
import { noise } from '../passes/quantize/helpers.ts';

describe('range coder', () => {
  it('gives back what went in, for any alphabet', () => {
    const message = fc.integer({ min: 1, max: 256 }).chain((alphabet) =>
      fc.tuple(
        fc.constant(alphabet),
        fc.uint8Array({ maxLength: 3000 }).map((bytes) => bytes.map((byte) => byte % alphabet)),
      ),
    );
    fc.assert(
      fc.property(message, ([alphabet, symbols]) => {
        assert.deepEqual(decodeSymbols(encodeSymbols(symbols, alphabet), symbols.length, alphabet), symbols);
      }),
    );
  });

  it('comes within 2 % of the entropy on long skewed messages, and survives them', () => {
    // Mostly one symbol, as indices of pruned weights are; long enough for counts to be halved many times.
    const symbols = Uint8Array.from(noise(60_000, 4), (value) =>
      Math.abs(value) < 0.9 ? 0 : Math.floor(Math.abs(value) * 160),
    );
    const code = encodeSymbols(symbols, 160);
    assert.deepEqual(decodeSymbols(code, symbols.length, 160), symbols);
    const entropyBytes = (entropyOf(symbols) * symbols.length) / 8;
    assert.ok(code.length < entropyBytes * 1.02 + 100, `${code.length} bytes, entropy ${entropyBytes}`);
    assert.ok(code.length > entropyBytes * 0.98);
  });

  it('says so when bytes are no code of the alphabet', () => {
    assert.throws(() => decodeSymbols(new Uint8Array(8).fill(255), 10, 3), RangeError);
  });

  it('measures entropy in bits', () => {
    assert.equal(entropyOf(Uint8Array.of(0, 1, 2, 3)), 2);
    assert.equal(entropyOf(Uint8Array.of(7, 7)), 0);
  });
});
