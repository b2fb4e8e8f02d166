import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { createSend, MAX_ANSWER_BYTES, type SendResult } from '../../src/webhooks/send.ts';
import { UrlPolicy } from '../../src/webhooks/url-policy.ts';
import { listen, startSink } from './sink.ts';

const loopback = new UrlPolicy({ allowHttp: true, allowPrivate: true });
const strict = new UrlPolicy({ allowHttp: false, allowPrivate: false });
const quick = createSend(loopback, { timeoutMs: 400 });
const send = createSend(loopback, { timeoutMs: 5_000 });

const request = (url: string) => ({ url, headers: { 'webhook-id': 'msg_1' }, body: '{"type":"job.succeeded"}' });

function errorOf(result: SendResult): string {
  return result.kind === 'error' ? result.error : `status ${result.status}`;
}

/** A server that speaks raw bytes. */
async function withSocketServer(talk: (socket: Socket) => void, use: (url: string) => Promise<void>): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    talk(socket);
  });
  const port = await listen(server);
  try {
    await use(`http://127.0.0.1:${port}/`);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => server.close(done));
  }
}

describe('createSend', () => {
  it('posts JSON with the headers given, on a connection it closes', async () => {
    const sink = await startSink();
    try {
      const result = await send(request(`${sink.url}?a=b`));
      assert.deepEqual(result, { kind: 'answer', status: 204, retryAfter: undefined });
      const [received] = sink.received;
      assert.equal(received?.method, 'POST');
      assert.equal(received.path, '/hooks?a=b');
      assert.equal(received.body, '{"type":"job.succeeded"}');
      assert.equal(received.headers['content-type'], 'application/json');
      assert.equal(received.headers['webhook-id'], 'msg_1');
      assert.match(received.headers['user-agent'] ?? '', /^tersor-webhooks\//);
    } finally {
      await sink.close();
    }
  });

  it('gives every status back as it is', async () => {
    const sink = await startSink((response, { path }) => {
      response.writeHead(Number(path.slice('/hooks?'.length)), { 'retry-after': '7' }).end('text');
    });
    try {
      for (const status of [200, 201, 299, 300, 400, 401, 404, 410, 429, 500, 502, 503, 504, 599]) {
        const result = await send(request(`${sink.url}?${status}`));
        assert.deepEqual(result, { kind: 'answer', status, retryAfter: '7' });
      }
    } finally {
      await sink.close();
    }
  });

  it('W14 does not follow a redirect', async () => {
    const other = await startSink();
    const sink = await startSink((response) => response.writeHead(302, { location: other.url }).end());
    try {
      assert.equal(errorOf(await send(request(sink.url))), 'status 302');
      assert.equal(other.received.length, 0);
    } finally {
      await sink.close();
      await other.close();
    }
  });

  it('W15 stops reading an endless answer', async () => {
    let written = 0;
    let closed: Promise<unknown> | undefined;
    const sink = await startSink((response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' });
      closed = new Promise((done) => response.on('close', done));
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(16_384))) written += 16_384;
      };
      response.on('drain', more);
      more();
    });
    try {
      const start = performance.now();
      assert.equal(errorOf(await send(request(sink.url))), 'status 200');
      assert.ok(performance.now() - start < 4_000);
      await closed; // by us, since the sink would never end it
      // The kernel's buffers take some megabytes more than what is read.
      assert.ok(written < MAX_ANSWER_BYTES + 32 * 1024 ** 2, `${written} bytes written`);
    } finally {
      await sink.close();
    }
  });

  it('W16 ends an answer of one byte now and then at the deadline', async () => {
    const sink = await startSink((response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write('x'), 50);
      response.on('close', () => clearInterval(timer));
    });
    try {
      const start = performance.now();
      assert.equal(errorOf(await quick(request(sink.url))), 'status 200');
      assert.ok(performance.now() - start < 1_500);
    } finally {
      await sink.close();
    }
  });

  it('W16 ends headers of one byte now and then at the deadline', () =>
    withSocketServer(
      (socket) => {
        socket.write('HTTP/1.1 200 OK\r\nx: ');
        const timer = setInterval(() => socket.write('x'), 50);
        socket.on('close', () => clearInterval(timer));
      },
      async (url) => {
        const start = performance.now();
        assert.equal(errorOf(await quick(request(url))), 'timeout');
        assert.ok(performance.now() - start < 1_500);
      },
    ));

  it('W17 ends a connection that is taken and never answered', () =>
    withSocketServer(
      () => undefined,
      async (url) => {
        const start = performance.now();
        assert.equal(errorOf(await quick(request(url))), 'timeout');
        assert.ok(performance.now() - start < 1_500);
      },
    ));

  it('W18 refuses a self-signed certificate, and says so', async () => {
    const sink = await startSink(undefined, { tls: true });
    try {
      assert.deepEqual(await send(request(sink.url)), {
        kind: 'error',
        error: 'tls',
        detail: 'the certificate is self-signed',
      });
      assert.equal(sink.received.length, 0);
    } finally {
      await sink.close();
    }
  });

  it('W18 tells a server without TLS from one that refuses', async () => {
    const sink = await startSink();
    const url = sink.url.replace('http:', 'https:');
    try {
      assert.equal(errorOf(await send(request(url))), 'tls');
    } finally {
      await sink.close();
    }
    assert.equal(errorOf(await send(request(sink.url))), 'connection');
  });

  it('names answers that are no HTTP, headers without end, and connections that break', async () => {
    await withSocketServer(
      (socket) => socket.end('hello\r\n\r\n'),
      async (url) => assert.equal(errorOf(await send(request(url))), 'protocol'),
    );
    await withSocketServer(
      (socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`),
      async (url) => assert.equal(errorOf(await send(request(url))), 'protocol'),
    );
    await withSocketServer(
      (socket) => socket.once('data', () => socket.destroy()),
      async (url) => assert.equal(errorOf(await send(request(url))), 'connection'),
    );
  });

  it('keeps the status of an answer whose body breaks off', () =>
    withSocketServer(
      (socket) =>
        socket.once('data', () => {
          socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf');
          setTimeout(() => socket.destroy(), 20);
        }),
      async (url) => assert.equal(errorOf(await send(request(url))), 'status 200'),
    ));

  it('W11, W13 is blocked before it connects where a name leads to a private address, and does not say to which', async () => {
    const sink = await startSink();
    try {
      for (const addresses of [['127.0.0.1'], ['93.184.215.14', '127.0.0.1'], ['10.0.0.1']]) {
        const guarded = createSend(strict, {
          resolve: (_host, done) => {
            done(
              null,
              addresses.map((address) => ({ address, family: 4 })),
            );
          },
        });
        const result = await guarded(request('https://hooks.example.com/'));
        assert.equal(errorOf(result), 'blocked');
        assert.doesNotMatch(JSON.stringify(result), /[0-9]+\.[0-9]+\.[0-9]+/);
      }
      // Literals never reach a lookup; the URL itself is checked again for each attempt.
      assert.equal(errorOf(await createSend(strict)(request(sink.url.replace('http:', 'https:')))), 'blocked');
      assert.equal(sink.received.length, 0);
    } finally {
      await sink.close();
    }
  });

  it('says when a name has no address', async () => {
    const nameless = createSend(loopback, {
      resolve: (_host, done) => {
        done(Object.assign(new Error('no'), { code: 'ENOTFOUND' }), []);
      },
    });
    assert.equal(errorOf(await nameless(request('https://hooks.example.com/'))), 'dns');
  });

  it('connects to the address that was resolved and checked', async () => {
    const sink = await startSink();
    let asked = 0;
    const pinned = createSend(loopback, {
      resolve: (_host, done) => {
        asked += 1;
        done(null, [{ address: '127.0.0.1', family: 4 }]);
      },
    });
    try {
      const result = await pinned(request(`http://hooks.example.com:${sink.port}/hooks`));
      assert.equal(errorOf(result), 'status 204');
      assert.equal(asked, 1);
      assert.equal(sink.received[0]?.headers['host'], `hooks.example.com:${sink.port}`);
    } finally {
      await sink.close();
    }
  });

  it('ends at once when it is cut off', () =>
    withSocketServer(
      () => undefined,
      async (url) => {
        const cut = new AbortController();
        setTimeout(() => cut.abort(), 50);
        const start = performance.now();
        assert.equal((await send(request(url), cut.signal)).kind, 'error');
        assert.ok(performance.now() - start < 1_500);
      },
    ));
});
