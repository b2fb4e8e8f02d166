import assert from 'node:assert/strict';
import type { LookupAddress } from 'node:dns';
import { describe, it } from 'node:test';
import { guardedLookup, type ResolveAll } from '../../src/webhooks/guarded-lookup.ts';
import { UrlPolicy } from '../../src/webhooks/url-policy.ts';

const policy = new UrlPolicy({ allowHttp: false, allowPrivate: false });
const PUBLIC: LookupAddress = { address: '93.184.215.14', family: 4 };
const PUBLIC_6: LookupAddress = { address: '2606:2800:21f:cb07::1', family: 6 };

/** What the socket would be given. No connection is made. */
function lookUp(resolve: ResolveAll, all: boolean): Promise<string | LookupAddress[]> {
  return new Promise((done, fail) => {
    guardedLookup(policy, 443, resolve)('hooks.example.com', { all }, (error, addresses) => {
      if (error !== null) fail(error);
      else done(addresses);
    });
  });
}

const answering =
  (...addresses: LookupAddress[]): ResolveAll =>
  (_host, done) => {
    done(null, addresses);
  };

describe('guardedLookup', () => {
  it('gives public addresses on, all or one', async () => {
    assert.deepEqual(await lookUp(answering(PUBLIC, PUBLIC_6), true), [PUBLIC, PUBLIC_6]);
    assert.equal(await lookUp(answering(PUBLIC, PUBLIC_6), false), PUBLIC.address);
  });

  for (const address of [
    '127.0.0.1',
    '10.0.0.1',
    '169.254.169.254',
    '::1',
    '::ffff:10.0.0.1',
    'fd00:ec2::254',
    '64:ff9b::a00:1',
  ])
    it(`W11 refuses a public name that leads to ${address}`, async () => {
      const family = address.includes(':') ? 6 : 4;
      for (const all of [true, false])
        await assert.rejects(lookUp(answering({ address, family }), all), { name: 'BlockedAddressError' });
    });

  it('W12 asks once, and the socket gets the very address that was checked', async () => {
    const answers = [PUBLIC, { address: '127.0.0.1', family: 4 }];
    let asked = 0;
    const rebinding: ResolveAll = (_host, done) => {
      const answer = answers[asked++];
      done(null, answer === undefined ? [] : [answer]);
    };
    assert.deepEqual(await lookUp(rebinding, true), [PUBLIC]);
    assert.equal(asked, 1);
    await assert.rejects(lookUp(rebinding, true), { name: 'BlockedAddressError' });
  });

  it('W13 refuses public and private addresses mixed, in any order', async () => {
    const local = { address: '192.168.1.1', family: 4 };
    await assert.rejects(lookUp(answering(PUBLIC, local), true), { name: 'BlockedAddressError' });
    await assert.rejects(lookUp(answering(local, PUBLIC), false), { name: 'BlockedAddressError' });
  });

  it('passes on that a name has no address', async () => {
    await assert.rejects(lookUp(answering(), true), { code: 'ENOTFOUND' });
    const failing: ResolveAll = (_host, done) => {
      done(Object.assign(new Error('no'), { code: 'EAI_AGAIN' }), []);
    };
    await assert.rejects(lookUp(failing, true), { code: 'EAI_AGAIN' });
  });
});
