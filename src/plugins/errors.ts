import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { CompressionError } from '../errors.ts';
import { PROBLEM_TYPE, problemOf, sendProblem, toCompressionError } from './problem.ts';

/** Answers every failed request with a problem document; what is unexpected goes to the log with its cause. */
export function registerErrors(app: FastifyInstance): void {
  const routes = new RouteTable();
  app.addHook('onRoute', (route) => {
    routes.add(route.url, [route.method].flat());
  });

  app.setErrorHandler(async (thrown, request, reply) => {
    const error = toCompressionError(thrown);
    if (error.httpStatus >= 500) request.log.error({ err: error, code: error.code }, 'request failed');
    else request.log.debug({ code: error.code, detail: error.message }, 'request refused');
    if (error.code === 'UNAUTHENTICATED') reply.header('www-authenticate', 'Bearer realm="tersor"');
    return sendProblem(reply, error);
  });

  app.setNotFoundHandler(async (request, reply) => {
    const allowed = routes.methodsOf(request.url);
    if (allowed.length === 0 || allowed.includes(request.method))
      return sendProblem(reply, new CompressionError('NOT_FOUND', 'There is nothing at this path'));
    reply.header('allow', allowed.join(', '));
    return sendProblem(
      reply,
      new CompressionError('METHOD_NOT_ALLOWED', `This path takes ${allowed.join(', ')}, not ${request.method}`),
    );
  });
}

/** Which methods a path takes, for `Allow`. */
class RouteTable {
  readonly #routes: { readonly pattern: RegExp; readonly methods: readonly string[] }[] = [];

  add(url: string, methods: readonly string[]): void {
    const source = url
      .split('/')
      .map((part) =>
        part === '*' ? '.*' : part.startsWith(':') ? '[^/]+' : part.replace(/[.+()[\]\\^$|?{}]/g, '\\$&'),
      )
      .join('/');
    this.#routes.push({ pattern: new RegExp(`^${source}$`), methods });
  }

  methodsOf(url: string): string[] {
    const path = url.split('?', 1)[0] ?? '';
    const found = this.#routes.filter(({ pattern }) => pattern.test(path)).flatMap(({ methods }) => methods);
    return [...new Set(found)].sort();
  }
}

const STATUS_LINES: Readonly<Record<string, readonly [string, CompressionError]>> = {
  HPE_HEADER_OVERFLOW: [
    '431 Request Header Fields Too Large',
    new CompressionError('HEADERS_TOO_LARGE', 'The headers of the request are too large'),
  ],
  ERR_HTTP_REQUEST_TIMEOUT: [
    '408 Request Timeout',
    new CompressionError('REQUEST_TIMEOUT', 'The request took too long to arrive'),
  ],
};
const MALFORMED: readonly [string, CompressionError] = [
  '400 Bad Request',
  new CompressionError('BAD_REQUEST', 'This is not a valid HTTP/1.1 request'),
];

/** What Node's parser refuses never becomes a request; the answer is written to the socket, which is then closed. */
export function answerBrokenRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const [statusLine, problem] = STATUS_LINES[error.code ?? ''] ?? MALFORMED;
  const body = JSON.stringify(problemOf(problem));
  if (socket.writable)
    socket.write(
      `HTTP/1.1 ${statusLine}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    );
  socket.destroySoon();
}
