import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { CompressionError } from '../errors.ts';
import { MAX_URL_LENGTH } from '../schemas/webhook.ts';
import { addressProblem } from './addresses.ts';

export interface UrlPolicyOptions {
  /** Plain http too. */
  readonly allowHttp: boolean;
  /** Private, carrier-grade and loopback addresses, names of a local network, and any port. */
  readonly allowPrivate: boolean;
  /** Names under which this service itself is reached. */
  readonly refusedHosts?: readonly string[];
  /** The port this service listens on; on an address of this machine it is refused. */
  readonly ownPort?: () => number | undefined;
}

const HTTPS_PORTS: ReadonlySet<string> = new Set(['', '443', '8443']);
const HTTP_PORTS: ReadonlySet<string> = new Set(['', '80', '8080']);
/** Names that by standard or custom exist inside a network only (RFC 6761, RFC 8375, ICANN's reserved ones). */
const LOCAL_SUFFIX =
  /(^|\.)(localhost|localdomain|local|internal|intranet|private|corp|home|lan|home\.arpa|in-addr\.arpa|ip6\.arpa|test|invalid|onion)$/;
const METADATA_NAMES: ReadonlySet<string> = new Set([
  'metadata.google.internal',
  'metadata.goog',
  'instance-data.ec2.internal',
]);
/** A URL is written in printable ASCII (other hosts in punycode or as they are: `URL` encodes them), without backslash. */
// eslint-disable-next-line no-control-regex -- these are the characters that must not get in
const MISLEADING = /[\u0000-\u0020\u007f-\u00a0\u2028\u2029\\]/;

/** Decides which URLs and addresses webhooks may go to. Consulted when a URL is given to us and again for each attempt. */
export class UrlPolicy {
  readonly allowHttp: boolean;
  readonly allowPrivate: boolean;
  readonly #refusedHosts: ReadonlySet<string>;
  readonly #ownPort: () => number | undefined;

  constructor(options: UrlPolicyOptions) {
    this.allowHttp = options.allowHttp;
    this.allowPrivate = options.allowPrivate;
    this.#refusedHosts = new Set((options.refusedHosts ?? []).map(plainHost));
    this.#ownPort = options.ownPort ?? (() => undefined);
  }

  /**
   * The URL, when it may be called as far as its text tells; names are resolved and checked when an attempt connects.
   *
   * @throws CompressionError WEBHOOK_URL_REFUSED that says why
   */
  check(text: string): URL {
    const problem = this.#textProblem(text);
    if (problem !== undefined) throw refused(problem);
    const url = new URL(text);
    const reason = this.#urlProblem(url);
    if (reason !== undefined) throw refused(reason);
    return url;
  }

  /** Why a resolved address must not be called on that port; undefined when it may. */
  addressProblem(address: string, port: number): string | undefined {
    const problem = addressProblem(address, this.allowPrivate);
    if (problem !== undefined) return problem;
    return port === this.#ownPort() && isOwnAddress(address) ? 'it is this service itself' : undefined;
  }

  #textProblem(text: string): string | undefined {
    if (text.length > MAX_URL_LENGTH) return `must have at most ${MAX_URL_LENGTH} characters, has ${text.length}`;
    if (MISLEADING.test(text)) return 'must not contain spaces, control characters or backslashes';
    if (!URL.canParse(text)) return 'must be an absolute URL, for example https://example.com/hooks';
    return undefined;
  }

  #urlProblem(url: URL): string | undefined {
    const { protocol, port } = url;
    if (protocol !== 'https:' && !(protocol === 'http:' && this.allowHttp))
      return `must use ${this.allowHttp ? 'https or http' : 'https'}, not ${protocol.slice(0, -1)}`;
    if (url.username !== '' || url.password !== '') return 'must not contain a user name or password';
    const ports = protocol === 'https:' ? HTTPS_PORTS : HTTP_PORTS;
    if (!this.allowPrivate && !ports.has(port))
      return `must use port ${protocol === 'https:' ? '443 or 8443' : '80 or 8080'}, not ${port}`;
    return this.#hostProblem(plainHost(url.hostname), portOf(url));
  }

  #hostProblem(host: string, port: number): string | undefined {
    if (host === '') return 'must name a host';
    if (isIP(host) !== 0) {
      const problem = this.addressProblem(host, port);
      return problem === undefined ? undefined : `must not go to ${host}: ${problem}`;
    }
    if (METADATA_NAMES.has(host)) return `must not go to ${host}, the metadata service of a cloud`;
    if (this.#refusedHosts.has(host)) return `must not go to ${host}: it is this service itself`;
    if (this.allowPrivate) return undefined;
    if (!host.includes('.')) return `must name a public host; ${host} is a name of a local network`;
    if (LOCAL_SUFFIX.test(host)) return `must name a public host; ${host} is a name of a local network`;
    return undefined;
  }
}

export function portOf(url: URL): number {
  return url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
}

/** Lower case, no brackets, no trailing dots: `LOCALHOST.` is localhost, `[::1]` is ::1. */
function plainHost(hostname: string): string {
  return hostname
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.+$/, '');
}

function isOwnAddress(address: string): boolean {
  if (/^(127\.|0\.|::1?$|::ffff:(127|0)\.)/i.test(address)) return true;
  return Object.values(networkInterfaces()).some((list) => list?.some((own) => own.address === address));
}

function refused(problem: string): CompressionError {
  return new CompressionError('WEBHOOK_URL_REFUSED', `The webhook URL ${problem}`, {
    places: [{ pointer: '/url', message: problem }],
  });
}
