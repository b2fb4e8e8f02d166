import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { readFileSync } from 'node:fs';
import type { Server } from 'node:net';

interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** An endpoint on loopback that remembers what it gets and answers as it is told. */
export async function startSink(
  answer: (response: ServerResponse, received: Received) => void = (response) => response.writeHead(204).end(),
  options: { readonly tls?: boolean } = {},
) {
  const received: Received[] = [];
  const listener: RequestListener = (request, response) => {
    void read(request).then((message) => {
      received.push(message);
      answer(response, message);
    });
  };
  const fixture = (name: string) => readFileSync(`test/fixtures/webhooks/self-signed.${name}`);
  const server =
    options.tls === true
      ? createTlsServer({ key: fixture('key'), cert: fixture('crt') }, listener)
      : createServer(listener);
  const port = await listen(server);
  return {
    received,
    port,
    url: `${options.tls === true ? 'https' : 'http'}://127.0.0.1:${port}/hooks`,
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

export async function listen(server: Server): Promise<number> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

async function read(request: IncomingMessage): Promise<Received> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return {
    method: request.method ?? '',
    path: request.url ?? '',
    headers: Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)])),
    body: Buffer.concat(chunks).toString(),
  };
}
