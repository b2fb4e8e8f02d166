import { CompressionError } from '../errors.ts';
import type { Clock } from '../jobs/clock.ts';
import type {
  ChangeEndpoint,
  CreateEndpoint,
  Delivery,
  EndpointRecord,
  WebhookEndpoint,
  WebhookSecret,
} from '../schemas/webhook.ts';
import { deliveryView, type DeliveryStore } from './delivery-store.ts';
import { endpointView, type EndpointStore } from './endpoint-store.ts';
import { redelivery, testDelivery } from './event-sink.ts';
import { previousValidUntil } from './signing.ts';
import type { TenantSecret } from './tenant-secret.ts';
import type { UrlPolicy } from './url-policy.ts';
import type { Marker } from './webhook-keys.ts';

interface PageQuery {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/** What the HTTP side asks of webhooks. What belongs to another tenant is not there: NOT_FOUND. */
export class WebhookService {
  readonly #parts: {
    readonly deliveries: DeliveryStore;
    readonly endpoints: EndpointStore;
    readonly tenantSecret: TenantSecret;
    readonly policy: UrlPolicy;
    readonly clock: Clock;
    readonly offer: (marker: Marker) => void;
  };

  constructor(parts: {
    readonly deliveries: DeliveryStore;
    readonly endpoints: EndpointStore;
    readonly tenantSecret: TenantSecret;
    readonly policy: UrlPolicy;
    readonly clock: Clock;
    readonly offer: (marker: Marker) => void;
  }) {
    this.#parts = parts;
  }

  /** @throws CompressionError WEBHOOK_URL_REFUSED */
  checkUrl(url: string): void {
    this.#parts.policy.check(url);
  }

  /** @throws CompressionError WEBHOOK_URL_REFUSED, WEBHOOK_LIMIT */
  async createEndpoint(tenant: string, request: CreateEndpoint): Promise<WebhookEndpoint> {
    this.checkUrl(request.url);
    const record = await this.#parts.endpoints.create(tenant, request);
    return { ...this.#view(record), secret: record.secrets.current };
  }

  /** @throws CompressionError QUERY_INVALID for a cursor that names no endpoint */
  async listEndpoints(
    tenant: string,
    query: PageQuery,
  ): Promise<{ items: WebhookEndpoint[]; nextCursor: string | null }> {
    const all = await this.#parts.endpoints.list(tenant);
    const { limit, cursor } = query;
    const start = cursor === undefined ? 0 : all.findIndex(({ id }) => id === cursor) + 1;
    if (cursor !== undefined && start === 0)
      throw new CompressionError('QUERY_INVALID', 'The query is not valid: /cursor must be a nextCursor of this list', {
        places: [{ pointer: '/cursor', message: 'must be a nextCursor of this list' }],
      });
    const items = all.slice(start, start + limit);
    const more = start + limit < all.length;
    return { items: items.map((record) => this.#view(record)), nextCursor: more ? (items.at(-1)?.id ?? null) : null };
  }

  async getEndpoint(tenant: string, id: string): Promise<WebhookEndpoint> {
    return this.#view(await this.#find(tenant, id));
  }

  /** With `rotateSecret` the new secret is in the answer. @throws CompressionError WEBHOOK_URL_REFUSED */
  async changeEndpoint(tenant: string, id: string, request: ChangeEndpoint): Promise<WebhookEndpoint> {
    if (request.url !== undefined) this.checkUrl(request.url);
    const record = await this.#parts.endpoints.change(tenant, id, request);
    if (record === undefined) throw notFound(id);
    return request.rotateSecret === true
      ? { ...this.#view(record), secret: record.secrets.current }
      : this.#view(record);
  }

  async removeEndpoint(tenant: string, id: string): Promise<void> {
    if (!(await this.#parts.endpoints.remove(tenant, id))) throw notFound(id);
  }

  async listDeliveries(
    tenant: string,
    endpointId: string,
    query: PageQuery,
  ): Promise<{ items: Delivery[]; nextCursor: string | null }> {
    await this.#find(tenant, endpointId);
    return this.#parts.deliveries.list(tenant, endpointId, query);
  }

  /** Deliveries of the webhook that a job names itself. */
  async listJobDeliveries(
    tenant: string,
    jobId: string,
    query: PageQuery,
  ): Promise<{ items: Delivery[]; nextCursor: string | null }> {
    return this.#parts.deliveries.list(tenant, jobId, query);
  }

  /** Sends the same message once more, with the same webhook-id. @throws CompressionError CONFLICT when disabled */
  async redeliver(tenant: string, endpointId: string, deliveryId: string): Promise<Delivery> {
    await this.#findEnabled(tenant, endpointId);
    const found = await this.#parts.deliveries.read({ tenant, target: endpointId, id: deliveryId });
    if (found === undefined) throw notFound(deliveryId);
    return this.#deliver(redelivery(found.record, this.#parts.clock.now()));
  }

  /** @throws CompressionError CONFLICT when disabled */
  async test(tenant: string, endpointId: string): Promise<Delivery> {
    const endpoint = await this.#findEnabled(tenant, endpointId);
    return this.#deliver(testDelivery(tenant, endpoint, this.#parts.clock.now()));
  }

  async secret(tenant: string): Promise<WebhookSecret> {
    return this.#secretView(await this.#parts.tenantSecret.get(tenant));
  }

  async rotateSecret(tenant: string): Promise<WebhookSecret> {
    return this.#secretView(await this.#parts.tenantSecret.rotate(tenant));
  }

  async #deliver(record: Parameters<DeliveryStore['create']>[0]): Promise<Delivery> {
    this.#parts.offer(await this.#parts.deliveries.create(record));
    return deliveryView(record);
  }

  async #find(tenant: string, id: string): Promise<EndpointRecord> {
    const record = await this.#parts.endpoints.get(tenant, id);
    if (record === undefined) throw notFound(id);
    return record;
  }

  async #findEnabled(tenant: string, id: string): Promise<EndpointRecord> {
    const record = await this.#find(tenant, id);
    if (!record.enabled)
      throw new CompressionError(
        'CONFLICT',
        `Webhook endpoint ${id} is disabled (${record.disabledReason ?? 'manual'}); enable it first: PATCH {"enabled": true}`,
      );
    return record;
  }

  #view(record: EndpointRecord): WebhookEndpoint {
    return endpointView(record, this.#parts.clock.now());
  }

  #secretView(secrets: EndpointRecord['secrets']): WebhookSecret {
    return {
      secret: secrets.current,
      previousSecretValidUntil: previousValidUntil(secrets, this.#parts.clock.now()),
    };
  }
}

function notFound(id: string): CompressionError {
  return new CompressionError(
    'NOT_FOUND',
    `There is no ${id.startsWith('dlv_') ? 'delivery' : 'webhook endpoint'} ${id}`,
  );
}
