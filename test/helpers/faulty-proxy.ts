import { createServer, request } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';

/** What the proxy does with one request: what a bad network or a busy server does. */
export type Fault =
  | { readonly kind: 'pass' }
  | { readonly kind: 'answer'; readonly status: number; readonly body: string }
  /** The request reaches the server, its answer does not reach the client. */
  | { readonly kind: 'lose-answer' }
  /** Nothing is sent, ever. */
  | { readonly kind: 'silence' }
  /** The body stops after so many bytes: cut off, or the line stays open and silent. */
  | { readonly kind: 'cut' | 'stall'; readonly afterBytes: number };

export const PASS: Fault = { kind: 'pass' };

export interface FaultyProxy {
  readonly url: string;
  /** Asked for each request. */
  decide: (request: IncomingMessage) => Fault;
  readonly seen: { readonly method: string; readonly url: string; readonly headers: IncomingMessage['headers'] }[];
  stop(): Promise<void>;
}

export async function startFaultyProxy(target: string): Promise<FaultyProxy> {
  const { hostname, port } = new URL(target);
  const seen: FaultyProxy['seen'] = [];
  const server = createServer((incoming, outgoing) => {
    seen.push({ method: incoming.method ?? '', url: incoming.url ?? '', headers: incoming.headers });
    const fault = proxy.decide(incoming);
    if (fault.kind === 'silence') return;
    if (fault.kind === 'answer') {
      incoming.resume();
      incoming.once('end', () =>
        outgoing.writeHead(fault.status, { 'content-type': 'application/xml' }).end(fault.body),
      );
      return;
    }
    // Headers go through as they are: the signature covers Host.
    const { method, url, headers } = incoming;
    const upstream = request({ hostname, port, method, path: url, headers }, (answer) =>
      relay(answer, outgoing, fault),
    );
    upstream.on('error', () => outgoing.destroy());
    incoming.on('error', () => upstream.destroy()); // the client gave up
    incoming.pipe(upstream);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const proxy: FaultyProxy = {
    url: `http://127.0.0.1:${address.port}`,
    decide: () => PASS,
    seen,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}

function relay(answer: IncomingMessage, outgoing: ServerResponse, fault: Fault): void {
  if (fault.kind === 'lose-answer') {
    answer.resume();
    answer.once('end', () => outgoing.destroy());
    return;
  }
  outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
  if (fault.kind !== 'cut' && fault.kind !== 'stall') {
    answer.pipe(outgoing);
    return;
  }
  answer.on('error', () => outgoing.destroy());
  let left = fault.afterBytes;
  answer.on('data', (chunk: Buffer) => {
    if (left <= 0) return;
    const part = chunk.subarray(0, left);
    left -= part.length;
    outgoing.write(part, () => {
      if (left <= 0 && fault.kind === 'cut') outgoing.destroy();
    });
  });
}
