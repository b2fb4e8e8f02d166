import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CompressionError } from '../../src/errors.ts';
import { forbiddenText, parseStrictJson } from '../../src/plugins/strict-json.ts';
import { pointerOf } from '../../src/schemas/error-places.ts';

const parse = (text: string): unknown => parseStrictJson(Buffer.from(text));
const refusal = (text: string | Uint8Array): CompressionError => {
  try {
    parseStrictJson(Buffer.from(text));
  } catch (error) {
    assert.ok(error instanceof CompressionError);
    return error;
  }
  return assert.fail('was taken');
};

describe('parseStrictJson', () => {
  it('gives what JSON.parse gives, for values without anything forbidden', () => {
    const fine = fc.jsonValue({ maxDepth: 5 }).filter((value) => {
      const text = JSON.stringify(value);
      return forbiddenText(text) === undefined && !/\\|__proto__|constructor|-0\b/.test(text);
    });
    fc.assert(
      fc.property(fine, (value) => assert.deepEqual(parse(JSON.stringify(value)), JSON.parse(JSON.stringify(value)))),
    );
  });

  it('takes text of every script, emoji included', () => {
    assert.deepEqual(parse('{"naïve":"日本語 العربية 👩‍🔬"}'), { naïve: '日本語 العربية 👩‍🔬' });
  });

  it('takes 32 levels below the root and refuses 33', () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
    parse(nested(33));
    assert.match(refusal(nested(34)).message, /32 levels/);
  });

  it('points at every bad place, with RFC 6901 escapes', () => {
    const { code, places } = refusal('{"a/b":{"c~d":"\\u0000"},"list":[1,"\\u202e",-0]}');
    assert.equal(code, 'BODY_INVALID');
    assert.deepEqual(places.map(({ pointer }) => pointer).sort(), ['/a~1b/c~0d', '/list/1', '/list/2']);
  });

  it('does not give a forbidden name back as it came', () => {
    const { places, message } = refusal('{"\\u001b[31m":1}');
    assert.ok(!(places[0]?.pointer ?? '').includes('\u001b'));
    assert.ok(!message.includes('\u001b'));
  });

  it('refuses an overlong UTF-8 form', () => {
    assert.match(refusal(Buffer.from([0x22, 0xc0, 0x80, 0x22])).message, /UTF-8/);
  });

  it('does not let a prototype be changed', () => {
    refusal('{"__proto__":{"polluted":true}}');
    refusal('{"constructor":{"prototype":{"polluted":true}}}');
    assert.equal(Object.hasOwn(Object.prototype, 'polluted'), false);
    // A plain value under the name of a method is a name like any other (R9).
    assert.equal(JSON.stringify(parse('{"constructor":"x"}')), '{"constructor":"x"}');
  });
});

describe('pointerOf', () => {
  it('escapes by RFC 6901', () => {
    assert.equal(pointerOf(['a', 0, 'm~n', 'x/y', '']), '/a/0/m~0n/x~1y/');
    assert.equal(pointerOf([]), '');
  });
});
