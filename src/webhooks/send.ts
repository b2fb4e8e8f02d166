import { Client, errors, type Dispatcher } from 'undici';
import { CompressionError, messageOf } from '../errors.ts';
import type { AttemptError } from '../schemas/webhook.ts';
import { VERSION } from '../version.ts';
import { blockedCause, guardedLookup, resolveWithSystem, type ResolveAll } from './guarded-lookup.ts';
import { portOf, type UrlPolicy } from './url-policy.ts';

export const SEND_TIMEOUT_MS = 15_000;
/** What is read of an answer, so that a short one ends in peace. Nothing of it is kept. */
export const MAX_ANSWER_BYTES = 64 * 1024;

/** How an attempt ended: with a status, or with an error in words that hold nothing of what the endpoint said. */
export type SendResult =
  | { readonly kind: 'answer'; readonly status: number; readonly retryAfter: string | undefined }
  | { readonly kind: 'error'; readonly error: AttemptError; readonly detail: string };

export type Send = (
  request: { readonly url: string; readonly headers: Readonly<Record<string, string>>; readonly body: string },
  signal?: AbortSignal,
) => Promise<SendResult>;

/**
 * Sends webhooks: one POST on a connection of its own, to an address that was checked, without redirects, over within
 * 15 s whatever the other side does. Never rejects for what the other side does.
 */
export function createSend(
  policy: UrlPolicy,
  options: { readonly timeoutMs?: number; readonly resolve?: ResolveAll } = {},
): Send {
  const { timeoutMs = SEND_TIMEOUT_MS, resolve = resolveWithSystem } = options;
  return async ({ url: text, headers, body }, signal) => {
    let client: Client | undefined;
    // Not AbortSignal.any: the signal given lives as long as the process, and would remember every attempt.
    const cut = new AbortController();
    const end = () => cut.abort();
    const deadline = { passed: false };
    const timer = setTimeout(() => {
      deadline.passed = true;
      end();
    }, timeoutMs);
    signal?.addEventListener('abort', end, { once: true });
    if (signal?.aborted === true) end();
    try {
      const url = policy.check(text);
      client = new Client(url.origin, {
        connect: { lookup: guardedLookup(policy, portOf(url), resolve), timeout: timeoutMs },
        // A connection is not used twice: the other side may close it just then, and the retry would come from us.
        pipelining: 0,
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        maxHeaderSize: 16 * 1024,
        allowH2: false,
      });
      const answer = await client.request({
        method: 'POST',
        path: `${url.pathname}${url.search}`,
        headers: {
          'content-type': 'application/json',
          'user-agent': `tersor-webhooks/${VERSION}`,
          'accept-encoding': 'identity',
          ...headers,
        },
        body,
        signal: cut.signal,
      });
      await discard(answer.body);
      return { kind: 'answer', status: answer.statusCode, retryAfter: headerText(answer.headers['retry-after']) };
    } catch (error) {
      return errorResult(error, deadline.passed);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      // Whatever is still coming is not wanted.
      client?.destroy().catch(() => undefined);
    }
  };
}

/** Reads the answer's body to its end, or as far as the limits go; the deadline ends it too. The status has decided already. */
async function discard(body: Dispatcher.ResponseData['body']): Promise<void> {
  let bytes = 0;
  try {
    for await (const chunk of body) {
      bytes += (chunk as Uint8Array).byteLength;
      if (bytes >= MAX_ANSWER_BYTES) return;
    }
  } catch {
    // A body that breaks off does not undo the status.
  }
}

function headerText(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

/** Words for the certificate errors that owners of endpoints meet; codes of OpenSSL as Node names them. */
const TLS_DETAILS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'the certificate has expired',
  CERT_NOT_YET_VALID: 'the certificate is not valid yet',
  CERT_REVOKED: 'the certificate was revoked',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the certificate is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'the certificate chain ends in an unknown authority',
  UNABLE_TO_GET_ISSUER_CERT: 'the certificate chain is incomplete',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the certificate chain is incomplete or of an unknown authority',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the certificate chain is incomplete',
  ERR_TLS_CERT_ALTNAME_INVALID: 'the certificate is for another host name',
};
const TLS_CODE = /^(CERT_|ERR_TLS_|ERR_SSL_|UNABLE_TO_|EPROTO$|HOSTNAME_MISMATCH$|INVALID_CA$)/;
const DNS_CODE = /^(ENOTFOUND|EAI_|ENODATA|ESERVFAIL|ETIMEOUT$|EBADNAME$)/;

function errorResult(error: unknown, timedOut: boolean): SendResult {
  const blocked = blockedCause(error);
  if (blocked !== undefined)
    // Not the address: it may be one of a network that the owner of the endpoint cannot see.
    return failure('blocked', 'the host leads to an address that webhooks must not go to');
  if (error instanceof CompressionError) return failure('blocked', messageOf(error));
  const code = codeOf(error);
  if (
    timedOut ||
    error instanceof errors.ConnectTimeoutError ||
    error instanceof errors.HeadersTimeoutError ||
    error instanceof errors.BodyTimeoutError ||
    code === 'ETIMEDOUT'
  )
    return failure('timeout', `no complete answer within ${SEND_TIMEOUT_MS / 1000} s`);
  const tls = TLS_DETAILS[code];
  if (tls !== undefined) return failure('tls', tls);
  if (TLS_CODE.test(code)) return failure('tls', 'the TLS handshake failed');
  if (DNS_CODE.test(code)) return failure('dns', 'the host name could not be resolved');
  if (error instanceof errors.HTTPParserError || error instanceof errors.HeadersOverflowError)
    return failure('protocol', 'the answer was not valid HTTP/1.1');
  return failure('connection', code === 'ECONNREFUSED' ? 'the connection was refused' : 'the connection broke off');
}

function failure(error: AttemptError, detail: string): SendResult {
  return { kind: 'error', error, detail };
}

/** The code of an error, or of the first of several (one for each address that was tried). */
function codeOf(error: unknown): string {
  const { code, errors: several } = Object(error) as { code?: unknown; errors?: unknown };
  if (typeof code === 'string') return code;
  return Array.isArray(several) && several.length > 0 ? codeOf(several[0]) : '';
}
