import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CompressionError } from '../../src/errors.ts';
import { addressProblem } from '../../src/webhooks/addresses.ts';
import { UrlPolicy } from '../../src/webhooks/url-policy.ts';

const strict = new UrlPolicy({ allowHttp: false, allowPrivate: false });
const open = new UrlPolicy({ allowHttp: true, allowPrivate: true });

function refusalOf(policy: UrlPolicy, url: string): string | undefined {
  try {
    policy.check(url);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof CompressionError && error.code === 'WEBHOOK_URL_REFUSED', String(error));
    assert.equal(error.httpStatus, 400);
    assert.deepEqual(
      error.places.map(({ pointer }) => pointer),
      ['/url'],
    );
    return error.message;
  }
}

/** The W list: what must be refused by its text alone, and by which reason. */
const REFUSED: readonly (readonly [name: string, url: string, reason: RegExp])[] = [
  ['W1 plain http', 'http://example.com/', /must use https/],
  ['W2 file', 'file:///etc/passwd', /must use https/],
  ['W2 gopher', 'gopher://example.com/', /must use https/],
  ['W2 ftp', 'ftp://example.com/', /must use https/],
  ['W2 data', 'data:text/plain,x', /must use https/],
  ['W3 loopback', 'https://127.0.0.1/', /range is loopback/],
  ['W3 short form', 'https://127.1/', /127\.0\.0\.1: its range is loopback/],
  ['W3 hexadecimal', 'https://0x7f000001/', /range is loopback/],
  ['W3 decimal', 'https://2130706433/', /range is loopback/],
  ['W3 octal', 'https://0177.0.0.1/', /range is loopback/],
  ['W3 circled digits', 'https://①②⑦.⓪.⓪.①/', /range is loopback/],
  ['W3 trailing dot', 'https://127.0.0.1./', /range is loopback/],
  ['W4 IPv6 loopback', 'https://[::1]/', /range is loopback/],
  ['W4 IPv6 unspecified', 'https://[::]/', /range is unspecified/],
  ['W4 mapped loopback', 'https://[::ffff:7f00:1]/', /range is loopback/],
  ['W4 IPv4-compatible loopback', 'https://[::127.0.0.1]/', /not public/],
  ['W5 10/8', 'https://10.1.2.3/', /private/],
  ['W5 172.16/12', 'https://172.31.255.255/', /private/],
  ['W5 192.168/16', 'https://192.168.0.1/', /private/],
  ['W5 carrier-grade NAT', 'https://100.64.0.1/', /carrierGradeNat/],
  ['W5 benchmarking', 'https://198.18.0.1/', /not public/],
  ['W5 192.0.0/24', 'https://192.0.0.1/', /not public/],
  ['W5 multicast', 'https://224.0.0.1/', /multicast/],
  ['W5 reserved', 'https://240.0.0.1/', /reserved/],
  ['W5 broadcast', 'https://255.255.255.255/', /broadcast/],
  ['W5 this network', 'https://0.0.0.0/', /unspecified/],
  ['W5 documentation', 'https://203.0.113.5/', /reserved/],
  ['W5 unique local', 'https://[fd12:3456::1]/', /uniqueLocal/],
  ['W5 link-local', 'https://[fe80::1]/', /linkLocal/],
  ['W5 site-local', 'https://[fec0::1]/', /not public/],
  ['W5 IPv6 multicast', 'https://[ff02::1]/', /multicast/],
  ['W5 IPv6 documentation', 'https://[2001:db8::1]/', /reserved/],
  ['W5 SRv6', 'https://[5f00::1]/', /not public/],
  ['W5 discard', 'https://[100::1]/', /not public/],
  ['W6 metadata', 'https://169.254.169.254/latest/meta-data/', /not public/],
  ['W6 metadata over IPv6', 'https://[fd00:ec2::254]/', /metadata/],
  ['W6 metadata by name', 'https://metadata.google.internal/', /metadata/],
  ['W6 metadata of Azure, public', 'https://168.63.129.16/', /metadata/],
  ['W7 NAT64', 'https://[64:ff9b::7f00:1]/', /not public/],
  ['W7 local NAT64', 'https://[64:ff9b:1::7f00:1]/', /not public/],
  ['W7 6to4', 'https://[2002:7f00:1::]/', /6to4/],
  ['W7 Teredo', 'https://[2001:0:7f00:1::]/', /teredo/],
  ['W8 localhost', 'https://localhost/', /local network/],
  ['W8 trailing dot', 'https://localhost./', /local network/],
  ['W8 upper case', 'https://LOCALHOST/', /local network/],
  ['W8 internal', 'https://db.internal/', /local network/],
  ['W8 local', 'https://printer.local./', /local network/],
  ['W8 below localhost', 'https://a.localhost/', /local network/],
  ['W8 single label', 'https://redis/', /local network/],
  ['W9 user', 'https://a@example.com/', /user name/],
  ['W9 user and password', 'https://a:b@example.com/', /user name/],
  ['W9 password only', 'https://:b@example.com/', /user name/],
  ['W10 SSH', 'https://example.com:22/', /443 or 8443/],
  ['W10 Redis', 'https://example.com:6379/', /443 or 8443/],
  ['W20 too long', `https://example.com/${'a'.repeat(10_000)}`, /at most 2048/],
  ['W20 line break', 'https://example.com/\r\nHost: x', /control/],
  ['W20 tab in the host', 'https://127.0\t.0.1/', /control/],
  ['W20 backslash', 'https:\\\\127.0.0.1\\', /backslash/],
  ['W20 backslash before the host', 'https://example.com\\@127.0.0.1/', /backslash/],
  ['W20 full-width host', 'https://１２７.０.０.１/', /range is loopback/],
  ['W20 ideographic stops', 'https://127。0。0。1/', /range is loopback/],
  ['W20 soft hyphen', 'https://local\u00adhost/', /local network/],
  ['relative', '/hooks', /absolute/],
  ['empty', '', /absolute/],
  ['no host', 'https:///', /absolute/],
];

describe('UrlPolicy', () => {
  for (const [name, url, reason] of REFUSED)
    it(`refuses ${name}`, () => {
      assert.match(refusalOf(strict, url) ?? 'taken', reason);
    });

  it('takes public https URLs, also with another alphabet in the name', () => {
    for (const url of [
      'https://example.com/hooks?a=b',
      'https://example.com:8443/',
      'https://example.com:443/',
      'https://example.com./',
      'https://münchen.example.org/',
      'https://8.8.8.8/',
      'https://[2606:4700:4700::1111]/',
    ])
      assert.equal(refusalOf(strict, url), undefined, url);
  });

  it('takes http, private addresses, local names and any port when told to', () => {
    for (const url of [
      'http://127.0.0.1:9000/',
      'http://redis:6379/',
      'https://10.0.0.1/',
      'http://[::1]:80/',
      'http://[fd12::1]/',
      'http://[::ffff:10.0.0.1]/',
    ])
      assert.equal(refusalOf(open, url), undefined, url);
  });

  it('refuses metadata services, link-local, multicast and what embeds IPv4 even then', () => {
    for (const url of [
      'http://169.254.169.254/',
      'http://[::ffff:169.254.169.254]/',
      'http://[fd00:ec2::254]/',
      'http://100.100.100.200/',
      'http://metadata.google.internal/',
      'http://224.0.0.1/',
      'http://0.0.0.0/',
      'http://[64:ff9b::7f00:1]/',
      'http://[2002:7f00:1::]/',
      'http://[::127.0.0.1]/',
      'file:///etc/passwd',
      'http://a@127.0.0.1/',
    ])
      assert.ok(refusalOf(open, url) !== undefined, url);
  });

  it('refuses http on ports of other services, where http alone is allowed', () => {
    const http = new UrlPolicy({ allowHttp: true, allowPrivate: false });
    assert.equal(refusalOf(http, 'http://example.com/'), undefined);
    assert.match(refusalOf(http, 'http://example.com:6379/') ?? '', /80 or 8080/);
    assert.match(refusalOf(http, 'http://10.0.0.1/') ?? '', /private/);
  });

  it('W23 refuses this service itself: its port on any address of this machine, and its names', () => {
    const own = new UrlPolicy({
      allowHttp: true,
      allowPrivate: true,
      refusedHosts: ['Tersor.Example.com'],
      ownPort: () => 8080,
    });
    const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
    for (const { address, family } of addresses.filter(({ family }) => family === 'IPv4'))
      assert.ok(refusalOf(own, `http://${family === 'IPv4' ? address : ''}:8080/v1`) !== undefined, address);
    assert.match(refusalOf(own, 'http://127.0.0.1:8080/') ?? '', /this service itself/);
    assert.match(refusalOf(own, 'http://127.0.0.9:8080/') ?? '', /this service itself/);
    assert.match(refusalOf(own, 'http://[::1]:8080/') ?? '', /this service itself/);
    assert.match(refusalOf(own, 'https://tersor.example.com./') ?? '', /this service itself/);
    assert.equal(refusalOf(own, 'http://127.0.0.1:9090/'), undefined);
  });

  it('answers with a URL or WEBHOOK_URL_REFUSED whatever it is given', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.webUrl(),
          fc.ipV4().map((ip) => `https://${ip}/`),
        ),
        (text) => {
          refusalOf(strict, text);
        },
      ),
    );
  });

  it('refuses every mapped or embedded form of a private address', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 65_535 }), (high, low) => {
        const text = `10.${high}.${low >> 8}.${low & 255}`;
        const groups = `${(0x0a00 | high).toString(16)}:${low.toString(16)}`;
        for (const address of [text, `::ffff:${groups}`, `::${groups}`, `64:ff9b::${groups}`, `2002:${groups}::`])
          assert.ok(addressProblem(address, false) !== undefined, address);
      }),
    );
  });
});
