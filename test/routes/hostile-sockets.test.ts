// The part of the H list that needs a real socket: what Node's parser must refuse, and what connections may do.
import assert from 'node:assert/strict';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { startApp, type TestApp } from '../helpers/http-app.ts';

describe('hostile sockets', () => {
  let test: TestApp;
  let port: number;
  before(async () => {
    test = await startApp();
    await test.app.listen({ port: 0, host: '127.0.0.1' });
    port = (test.app.server.address() as AddressInfo).port;
  });
  after(() => test.close());

  /** Sends raw bytes and gives everything that comes back until the server closes, or `waitMs` have passed. */
  const raw = (bytes: string, waitMs = 2000): Promise<string> =>
    new Promise((resolve) => {
      let answer = '';
      const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
      const timer = setTimeout(() => socket.destroy(), waitMs);
      socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
      socket.on('error', () => undefined);
      socket.on('close', () => {
        clearTimeout(timer);
        resolve(answer);
      });
    });

  const head = 'POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n';
  const cases: readonly (readonly [name: string, bytes: string, expected: RegExp])[] = [
    ['H4 body longer than Content-Length', `${head}Content-Length: 2\r\n\r\n{}}}}}garbage\r\n\r\n`, /^HTTP\/1\.1 400 /],
    [
      'H10 header of 20 KB',
      `GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ${'a'.repeat(20_000)}\r\n\r\n`,
      /^HTTP\/1\.1 431 /,
    ],
    [
      'H10 500 headers',
      `GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n${Array.from({ length: 500 }, (_, n) => `x-${n}: 1\r\n`).join('')}\r\n`,
      /^HTTP\/1\.1 431 /,
    ],
    ['H11 both lengths', `${head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, /^HTTP\/1\.1 400 /],
    ['H11 folded header', 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\r\n c\r\n\r\n', /^HTTP\/1\.1 400 /],
    ['H11 two lengths', `${head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`, /^HTTP\/1\.1 400 /],
    ['H26 CR LF in a key', `${head}Idempotency-Key: a\rb\r\nContent-Length: 2\r\n\r\n{}`, /^HTTP\/1\.1 400 /],
    [
      'H3 chunked body over the limit',
      `${head}Transfer-Encoding: chunked\r\n\r\n50000\r\n${'a'.repeat(0x50000)}\r\n0\r\n\r\n`,
      /^HTTP\/1\.1 413 /,
    ],
    ['not HTTP at all', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', /^HTTP\/1\.1 400 /],
  ];
  for (const [name, bytes, expected] of cases)
    it(name, async () => {
      const answer = await raw(bytes);
      assert.match(answer, expected);
      assert.match(answer, /application\/problem\+json/);
      assert.match(answer, /connection: close/i);
    });

  it('H27 an upload that breaks off leaves nothing visible', async () => {
    await raw(
      'POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\nabc',
      200,
    );
    const list = await test.app.inject({ url: '/v1/models' });
    assert.deepEqual(list.json(), { items: [], nextCursor: null });
  });

  it('still answers after all of that', async () => {
    assert.equal((await test.app.inject({ url: '/readyz' })).statusCode, 200);
  });
});

describe('H28 many connections', () => {
  it('answers 503 with Retry-After above the limit, and recovers', async () => {
    const test = await startApp({ MAX_CONNECTIONS: '4' });
    await test.app.listen({ port: 0, host: '127.0.0.1' });
    const { port } = test.app.server.address() as AddressInfo;
    try {
      const idle = await Promise.all(
        Array.from(
          { length: 4 },
          () =>
            new Promise<Socket>((resolve) => {
              const socket = connect(port, '127.0.0.1', () => resolve(socket));
            }),
        ),
      );
      const busy = await fetch(`http://127.0.0.1:${port}/healthz`);
      assert.equal(busy.status, 503);
      assert.ok(busy.headers.has('retry-after'));
      await busy.arrayBuffer();
      for (const socket of idle) socket.destroy();
      await new Promise((resolve) => setTimeout(resolve, 50));
      const fine = await fetch(`http://127.0.0.1:${port}/healthz`);
      assert.equal(fine.status, 200);
      await fine.arrayBuffer();
    } finally {
      await test.close();
    }
  });
});
