import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { contentDisposition, parseRange } from '../../src/routes/byte-range.ts';

describe('contentDisposition', () => {
  it('gives a plain name as it is', () => {
    assert.equal(contentDisposition('model.onnx'), 'attachment; filename="model.onnx"');
  });

  it('gives other names in both forms of RFC 6266', () => {
    assert.equal(
      contentDisposition('é (1).onnx'),
      `attachment; filename="___1_.onnx"; filename*=UTF-8''%C3%A9%20%281%29.onnx`,
    );
  });

  it('never lets a name end the header or the quotes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (name) => {
        const value = contentDisposition(name);
        assert.match(value, /^attachment; filename="[A-Za-z0-9._-]*"(; filename\*=UTF-8''[A-Za-z0-9%._~!-]*)?$/);
      }),
    );
  });
});

describe('parseRange', () => {
  it('stays inside of the content, whatever is asked for', () => {
    const number = fc.oneof(fc.constant(''), fc.nat().map(String), fc.bigInt({ min: 0n, max: 10n ** 20n }).map(String));
    fc.assert(
      fc.property(number, number, fc.nat(1000), (first, last, bytes) => {
        const range = parseRange(`bytes=${first}-${last}`, bytes);
        if (range === undefined || range === 'unsatisfiable') return;
        assert.ok(range.start >= 0 && range.start <= range.end && range.end < bytes);
      }),
    );
  });
});
