import { lookup as systemLookup, type LookupAddress } from 'node:dns';
import type { LookupFunction } from 'node:net';
import type { UrlPolicy } from './url-policy.ts';

/** A connection that was not made, since the name leads where webhooks must not go. */
class BlockedAddressError extends Error {
  override readonly name = 'BlockedAddressError';
}

/** Every address of a name, as `dns.lookup` with `all` answers. */
export type ResolveAll = (hostname: string, done: (error: Error | null, addresses: LookupAddress[]) => void) => void;

export const resolveWithSystem: ResolveAll = (hostname, done) => {
  systemLookup(hostname, { all: true }, done);
};

/**
 * A `lookup` for one connection. The name is resolved once, every address is checked, and only these are given to the
 * socket, so a name that changes its mind later (DNS rebinding) gains nothing. One bad address among good ones refuses
 * them all: it is no accident.
 *
 * Node does not call it for a host that is an address already; UrlPolicy.check sees to those.
 */
export function guardedLookup(
  policy: UrlPolicy,
  port: number,
  resolve: ResolveAll = resolveWithSystem,
): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, (error, addresses) => {
      if (error !== null) {
        callback(error, '', 0);
        return;
      }
      const problem = firstProblem(policy, port, addresses);
      const [first] = addresses;
      if (problem !== undefined) callback(new BlockedAddressError(`${hostname} must not be called: ${problem}`), '', 0);
      else if (first === undefined) callback(noAddress(hostname), '', 0);
      else if (options.all === true) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };
}

function firstProblem(policy: UrlPolicy, port: number, addresses: readonly LookupAddress[]): string | undefined {
  for (const { address } of addresses) {
    const problem = policy.addressProblem(address, port);
    if (problem !== undefined) return `${address}: ${problem}`;
  }
  return undefined;
}

function noAddress(hostname: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${hostname} has no address`), { code: 'ENOTFOUND' });
}

/** The blocked address behind an error of a client, however deep; undefined when it is another error. */
export function blockedCause(error: unknown): BlockedAddressError | undefined {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 8; cause = cause.cause, depth++) {
    if (cause instanceof BlockedAddressError) return cause;
    if (cause instanceof AggregateError) {
      const inner: unknown = cause.errors.find((each) => each instanceof BlockedAddressError);
      if (inner instanceof BlockedAddressError) return inner;
    }
  }
  return undefined;
}
