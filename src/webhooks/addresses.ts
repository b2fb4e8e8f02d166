import ipaddr from 'ipaddr.js';

/** Never called, whatever the deployment allows: metadata services of clouds, which hand out credentials. */
const METADATA_ADDRESSES: ReadonlySet<string> = new Set([
  '168.63.129.16', // Azure, a public address
  '100.100.100.200', // Alibaba, in the carrier-grade range
  '192.0.0.192', // Oracle
  'fd00:ec2::254', // AWS
  'fd20:ce::254', // Google
]);

/** What WEBHOOK_ALLOW_PRIVATE opens. Link-local, multicast and the like stay shut: nothing serves webhooks there. */
const PRIVATE_RANGES: ReadonlySet<string> = new Set(['loopback', 'private', 'carrierGradeNat', 'uniqueLocal']);

const GLOBAL_UNICAST: readonly [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3];

/**
 * Why an address must not be called; undefined when it may.
 *
 * @param address - an IPv4 or IPv6 address in the notation of a resolver or of `URL.hostname` (without brackets)
 */
export function addressProblem(address: string, allowPrivate: boolean): string | undefined {
  if (!ipaddr.isValid(address)) return 'it is not an IP address';
  // A mapped address (::ffff:10.0.0.1) reaches the IPv4 address in it.
  const ip = ipaddr.process(address);
  if (METADATA_ADDRESSES.has(ip.toString())) return 'it is the metadata service of a cloud';
  const range = ip.range();
  if (allowPrivate && PRIVATE_RANGES.has(range)) return undefined;
  if (range !== 'unicast') return `its range is ${range}, not public`;
  // Only 2000::/3 is handed out for the public Internet; ::/96, site-local and more would pass as unicast otherwise.
  if (ip instanceof ipaddr.IPv6 && !ip.match(GLOBAL_UNICAST[0], GLOBAL_UNICAST[1])) return 'its range is not public';
  return undefined;
}
