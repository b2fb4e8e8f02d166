import { z } from 'zod';
import { EndpointId, JobId, Timestamp } from './common.ts';
import { JOB_EVENT_TYPES, JobEventType } from './job.ts';

export const MAX_URL_LENGTH = 2048;

export const DeliveryId = z
  .string()
  .regex(/^dlv_[0-9a-z]{16,64}$/, 'must be the id of a delivery: dlv_ and lower-case letters or digits')
  .describe('Id of a delivery');

const Url = z
  .string()
  .min(1)
  .max(MAX_URL_LENGTH)
  .describe('Where deliveries go: https, a public host, port 443 or 8443 (see docs/webhooks.md)');
const Events = z
  .array(JobEventType)
  .min(1)
  .max(JOB_EVENT_TYPES.length)
  .describe('Which events are sent; by default those that end a job');
const Description = z.string().max(256);

export const CreateEndpoint = z.strictObject({
  url: Url,
  events: Events.optional(),
  description: Description.default(''),
});
export type CreateEndpoint = z.infer<typeof CreateEndpoint>;

export const ChangeEndpoint = z.strictObject({
  url: Url.optional(),
  events: Events.nullable().optional().describe('null: the default again'),
  description: Description.optional(),
  enabled: z.boolean().optional(),
  rotateSecret: z
    .literal(true)
    .optional()
    .describe(
      'Makes a new secret, which is in the answer; for 24 hours deliveries are signed with the old one as well',
    ),
});
export type ChangeEndpoint = z.infer<typeof ChangeEndpoint>;

/** Why an endpoint gets nothing: its owner said so, it answered 410, or everything failed for five days. */
export const DisabledReason = z.enum(['manual', 'gone', 'failing']);
export type DisabledReason = z.infer<typeof DisabledReason>;

export const WebhookEndpoint = z.object({
  id: EndpointId,
  url: z.string(),
  events: z.array(JobEventType).nullable().describe('null: the events that end a job'),
  description: z.string(),
  enabled: z.boolean(),
  disabledReason: DisabledReason.nullable(),
  failingSince: Timestamp.nullable().describe('First failure since the last success'),
  createdAt: Timestamp,
  updatedAt: Timestamp,
  previousSecretValidUntil: Timestamp.nullable().describe(
    'Until then deliveries carry a signature of the old secret too',
  ),
  secret: z.string().optional().describe('Signing secret; only in the answer that made it'),
});
export type WebhookEndpoint = z.infer<typeof WebhookEndpoint>;

export const WebhookSecret = z.object({
  secret: z.string().describe('Signs the webhooks that jobs name themselves'),
  previousSecretValidUntil: Timestamp.nullable(),
});
export type WebhookSecret = z.infer<typeof WebhookSecret>;

export const AttemptError = z.enum([
  'http-status',
  'redirect',
  'timeout',
  'blocked',
  'dns',
  'tls',
  'connection',
  'protocol',
]);
export type AttemptError = z.infer<typeof AttemptError>;

export const DeliveryAttempt = z.object({
  at: Timestamp,
  durationMs: z.number().int(),
  status: z.number().int().nullable().describe('HTTP status; null when there was no answer'),
  error: AttemptError.nullable().describe('null: delivered'),
  detail: z.string().nullable().describe('The error in words. What the endpoint answered is never kept'),
});
export type DeliveryAttempt = z.infer<typeof DeliveryAttempt>;

const DeliveryEventType = z.enum([...JOB_EVENT_TYPES, 'webhook.test']);

/** Why a delivery that is not delivered is not tried again. */
const GivenUp = z.enum(['attempts-used', 'gone', 'endpoint-disabled', 'endpoint-deleted']);

export const Delivery = z.object({
  id: DeliveryId,
  webhookId: z.string().describe('Header webhook-id: the same for every attempt and redelivery of one event'),
  endpoint: EndpointId.nullable().describe('null: the webhook of a job'),
  job: JobId.nullable(),
  type: DeliveryEventType,
  status: z.enum(['pending', 'delivered', 'failed']),
  givenUp: GivenUp.nullable(),
  attempts: z.array(DeliveryAttempt),
  nextAttemptAt: Timestamp.nullable(),
  createdAt: Timestamp,
  finishedAt: Timestamp.nullable(),
  redeliveryOf: DeliveryId.nullable(),
});
export type Delivery = z.infer<typeof Delivery>;

/** What the store keeps of a delivery, under compare-and-set. */
export const DeliveryRecord = Delivery.extend({
  recordVersion: z.literal(1),
  tenant: z.string(),
  /** Where the webhook of a job goes; an endpoint's URL is looked up for each attempt. */
  url: z.string().nullable(),
  /** Deliveries of one lane wait for each other; see lanes.ts. */
  lane: z.string(),
  /** The request's body, the same for all attempts. */
  body: z.string(),
  maxAttempts: z.number().int(),
  /** Whoever makes an attempt just now. */
  lease: z.object({ owner: z.string(), until: Timestamp }).nullable(),
});
export type DeliveryRecord = z.infer<typeof DeliveryRecord>;

/** Signing secrets: the current one, and after a rotation for a while the one before. */
export const SecretPair = z.object({
  current: z.string(),
  previous: z.object({ secret: z.string(), validUntil: Timestamp }).nullable(),
});
export type SecretPair = z.infer<typeof SecretPair>;

export const EndpointRecord = WebhookEndpoint.omit({ secret: true, previousSecretValidUntil: true }).extend({
  secrets: SecretPair,
  /** Failures since the last success, counted at most every ten minutes. */
  failures: z.number().int(),
  lastFailureAt: Timestamp.nullable(),
});
export type EndpointRecord = z.infer<typeof EndpointRecord>;

/** All endpoints of a tenant are one object: an event finds them with one read, and their number is exact. */
export const EndpointsDocument = z.object({ recordVersion: z.literal(1), endpoints: z.array(EndpointRecord) });
export type EndpointsDocument = z.infer<typeof EndpointsDocument>;

export const SecretDocument = z.object({ recordVersion: z.literal(1), secrets: SecretPair });
export type SecretDocument = z.infer<typeof SecretDocument>;
