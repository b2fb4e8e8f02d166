import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ApiKey, Config } from '../config.ts';
import { CompressionError } from '../errors.ts';
import { headerValues } from './header-values.ts';
import { WindowCounter } from './window-counter.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Whose data this request sees. Set before any handler of /v1 runs. */
    tenant: string;
    /** What rate limits count by: the key, or the tenant where there are no keys. */
    caller: string;
    /** What the key may do; `read` keys never see signing secrets. */
    scope: ApiKey['scope'];
  }
}

const MAX_KEY_LENGTH = 512;
const BAD_KEYS_PER_MINUTE = 60;
const LOOPBACK_HOST = /^(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?$/i;

/**
 * `Authorization: Bearer <key>` for everything under /v1. Without configured keys the one tenant is `default`, and only
 * requests addressed to a loopback name are served: a page in a browser that resolves its own name to 127.0.0.1 is not.
 */
export function registerAuth(app: FastifyInstance, config: Config): void {
  app.decorateRequest('tenant', '');
  app.decorateRequest('caller', '');
  app.decorateRequest('scope', 'write');
  const keys = config.apiKeys.map((key) => ({ ...key, hash: Buffer.from(key.sha256, 'hex') }));
  const badKeys = new WindowCounter(BAD_KEYS_PER_MINUTE, 60_000);

  app.addHook('onRequest', (request, _reply, done) => {
    if (keys.length === 0) admitLocal(request, config.host);
    else if (isProtected(request)) admit(request, matchingKey(request, keys), badKeys);
    done();
  });
}

/** @throws CompressionError FORBIDDEN when the request names a host that is not this machine */
function admitLocal(request: FastifyRequest, ownHost: string): void {
  const { host = '' } = request.headers;
  if (!LOOPBACK_HOST.test(host) && host.replace(/:[0-9]+$/, '') !== ownHost)
    throw new CompressionError('FORBIDDEN', 'Without API keys the service answers to localhost only; set API_KEYS');
  request.tenant = 'default';
  request.caller = 'default';
}

/** @throws CompressionError UNAUTHENTICATED, RATE_LIMITED (too many bad keys from one address), FORBIDDEN (read-only key) */
function admit(request: FastifyRequest, key: ApiKey | undefined, badKeys: WindowCounter): void {
  if (key === undefined) {
    const { allowed, resetSeconds } = badKeys.take(request.ip);
    if (!allowed)
      throw new CompressionError('RATE_LIMITED', 'Too many requests without a valid key from this address', {
        retryAfterSeconds: resetSeconds,
      });
    throw new CompressionError(
      'UNAUTHENTICATED',
      'A valid API key is needed, exactly once: Authorization: Bearer <key>',
    );
  }
  request.tenant = key.tenant;
  request.caller = key.sha256.slice(0, 16);
  request.scope = key.scope;
  if (key.scope === 'read' && request.method !== 'GET' && request.method !== 'HEAD')
    throw new CompressionError('FORBIDDEN', `This key may only read; ${request.method} needs a key with scope write`);
}

/** Health, documents and the page; everything else, also what does not exist, is behind a key. */
const OPEN_ROUTES = /^\/(healthz|readyz|metrics|openapi\.json|docs|docs\/.*)?$/;

/** Goes by the route that was found, not by the path: a path can be spelled in many ways. */
function isProtected(request: FastifyRequest): boolean {
  const { url } = request.routeOptions;
  return url === undefined || !OPEN_ROUTES.test(url);
}

/** Compares with every key, in constant time for each, so that neither match nor position shows in the timing. */
function matchingKey<Key extends ApiKey & { hash: Buffer }>(
  request: FastifyRequest,
  keys: readonly Key[],
): Key | undefined {
  // Node keeps the first of several Authorization headers; which one was meant is not ours to guess.
  const given = headerValues(request, 'authorization');
  const [header = ''] = given;
  const match = given.length === 1 && header.length <= MAX_KEY_LENGTH ? /^Bearer ([\x21-\x7e]+)$/i.exec(header) : null;
  if (match === null) return undefined;
  const hash = createHash('sha256')
    .update(match[1] ?? '')
    .digest();
  let found: Key | undefined;
  for (const key of keys) if (timingSafeEqual(key.hash, hash)) found = key;
  // An expired key is no key: the answer does not tell that it once was one.
  return found?.expiresAt !== undefined && Date.now() >= found.expiresAt ? undefined : found;
}
