/**
 * Where webhooks lie in the store:
 *
 * ```
 * tenants/<tenant>/webhooks/endpoints.json                      all endpoints
 * tenants/<tenant>/webhooks/secret.json                         the secret for the webhooks of jobs
 * tenants/<tenant>/webhooks/deliveries/<target>/<delivery>.json one delivery; target is an endpoint or a job; newest first
 * webhooks/due/<ms>-<delivery>@<target>@<lane>@<tenant>         marker: the delivery is to be attempted then
 * webhooks/expiring/<ms>-<delivery>@<target>@<lane>@<tenant>    marker: the delivery is to be removed then
 * ```
 */
export function endpointsKey(tenant: string): string {
  return `tenants/${tenant}/webhooks/endpoints.json`;
}

export function secretKey(tenant: string): string {
  return `tenants/${tenant}/webhooks/secret.json`;
}

export function deliveriesPrefix(tenant: string, target: string): string {
  return `tenants/${tenant}/webhooks/deliveries/${target}/`;
}

export function deliveryKey({ tenant, target, id }: Omit<DeliveryAddress, 'lane'>): string {
  return `${deliveriesPrefix(tenant, target)}${id}.json`;
}

/** Names a delivery, and what must be known of it before it is read. */
export interface DeliveryAddress {
  readonly id: string;
  /** Id of the endpoint or the job. */
  readonly target: string;
  readonly lane: string;
  readonly tenant: string;
}

export interface Marker extends DeliveryAddress {
  readonly key: string;
  readonly atMs: number;
}

export const DUE_PREFIX = 'webhooks/due/';
export const EXPIRING_PREFIX = 'webhooks/expiring/';

const TIME_DIGITS = 14;
const MARKER =
  /^webhooks\/(?:due|expiring)\/([0-9]{14})-(dlv_[0-9a-z]+)@([a-z]+_[0-9a-z]+)@([0-9a-z_]+)@([A-Za-z0-9._-]+)$/;

export function markerOf(
  prefix: typeof DUE_PREFIX | typeof EXPIRING_PREFIX,
  at: DeliveryAddress,
  atMs: number,
): Marker {
  const { id, target, lane, tenant } = at;
  const key = `${prefix}${timeDigits(atMs)}-${id}@${target}@${lane}@${tenant}`;
  return { id, target, lane, tenant, key, atMs };
}

/** Undefined for a key that is no marker. */
export function parseMarker(key: string): Marker | undefined {
  const [, digits, id, target, lane, tenant] = MARKER.exec(key) ?? [];
  if (id === undefined || target === undefined || lane === undefined || tenant === undefined) return undefined;
  return { key, atMs: Number(digits), id, target, lane, tenant };
}

function timeDigits(ms: number): string {
  return String(ms).padStart(TIME_DIGITS, '0');
}
