import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import { newSecret, newSecrets, rotated, ROTATION_MS, signedHeaders } from '../../src/webhooks/signing.ts';

const fits = (secret: string, body: string, headers: Record<string, string>): boolean => {
  try {
    new Webhook(secret).verify(body, headers, { jsonParse: false });
    return true;
  } catch {
    return false;
  }
};

describe('webhook signatures', () => {
  it('have secrets of 32 random bytes', () => {
    const secret = newSecret();
    assert.match(secret, /^whsec_[A-Za-z0-9+/]+=*$/);
    assert.equal(Buffer.from(secret.slice('whsec_'.length), 'base64').length, 32);
    assert.notEqual(secret, newSecret());
  });

  it('equal what the specification says: HMAC-SHA256 over id.timestamp.body', () => {
    // The example of the specification's libraries: https://github.com/standard-webhooks/standard-webhooks
    const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
    const headers = signedHeaders(
      { webhookId: 'msg_p5jXN8AQM9LWM0D4loKWxJek', body: '{"test": 2432232314}' },
      { current: secret, previous: null },
      1_614_265_330_000,
    );
    assert.deepEqual(headers, {
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    });
  });

  it('are taken by the library, and by nobody once a bit of body, id, time or signature is flipped', () => {
    const secrets = newSecrets();
    fc.assert(
      fc.property(
        fc.json(),
        fc.nat(),
        fc.constantFrom('body', 'webhook-id', 'webhook-timestamp', 'webhook-signature'),
        (body, position, part) => {
          const headers: Record<string, string> = signedHeaders({ webhookId: 'msg_abc', body }, secrets, Date.now());
          assert.ok(fits(secrets.current, body, headers));
          const text = part === 'body' ? body : (headers[part] ?? '');
          const broken = flipped(text, position);
          // The last character of base64 has bits that mean nothing; the library compares the text, so it refuses them too.
          const taken =
            part === 'body'
              ? fits(secrets.current, broken, headers)
              : fits(secrets.current, body, { ...headers, [part]: broken });
          assert.ok(!taken, `${part}: ${broken}`);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('are two for a day after a rotation, then one', () => {
    const before = newSecrets();
    const now = Date.now();
    const after = rotated(before, now);
    const message = { webhookId: 'msg_abc', body: '{}' };
    const during = signedHeaders(message, after, now + ROTATION_MS - 1);
    assert.equal(during['webhook-signature'].split(' ').length, 2);
    const at = signedHeaders(message, after, now);
    assert.ok(fits(before.current, '{}', at));
    assert.ok(fits(after.current, '{}', at));
    const later = signedHeaders(message, after, now + ROTATION_MS);
    const expected = createHmac('sha256', Buffer.from(after.current.slice(6), 'base64'))
      .update(`msg_abc.${Math.floor((now + ROTATION_MS) / 1000)}.{}`)
      .digest('base64');
    assert.equal(later['webhook-signature'], `v1,${expected}`);
  });
});

/** One bit of one character changed, such that it stays a character of one byte. */
function flipped(text: string, position: number): string {
  const index = position % text.length;
  const code = text.charCodeAt(index) ^ 1;
  return `${text.slice(0, index)}${String.fromCharCode(code)}${text.slice(index + 1)}`;
}
