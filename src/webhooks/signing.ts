import { randomBytes } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import type { SecretPair } from '../schemas/webhook.ts';

/** How long the secret before the current one still signs. */
export const ROTATION_MS = 24 * 3600 * 1000;

/** `whsec_` and 32 random bytes in base64; Standard Webhooks asks for 24 to 64. */
export function newSecret(): string {
  return `whsec_${randomBytes(32).toString('base64')}`;
}

export function newSecrets(): SecretPair {
  return { current: newSecret(), previous: null };
}

/** A new current secret; the one before it signs as well until a day from now. */
export function rotated(secrets: SecretPair, nowMs: number): SecretPair {
  const validUntil = new Date(nowMs + ROTATION_MS).toISOString();
  return { current: newSecret(), previous: { secret: secrets.current, validUntil } };
}

/** Until when the previous secret signs; null when it does not any more. */
export function previousValidUntil(secrets: SecretPair, nowMs: number): string | null {
  const { previous } = secrets;
  return previous !== null && Date.parse(previous.validUntil) > nowMs ? previous.validUntil : null;
}

/**
 * The headers of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, one signature for each secret in force, so
 * that a receiver may change its secret at any time within the rotation.
 *
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function signedHeaders(
  message: { readonly webhookId: string; readonly body: string },
  secrets: SecretPair,
  nowMs: number,
): Readonly<Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string>> {
  const { webhookId, body } = message;
  const at = new Date(nowMs);
  const inForce = [secrets.current];
  if (secrets.previous !== null && previousValidUntil(secrets, nowMs) !== null) inForce.push(secrets.previous.secret);
  return {
    'webhook-id': webhookId,
    'webhook-timestamp': String(Math.floor(nowMs / 1000)),
    'webhook-signature': inForce.map((secret) => new Webhook(secret).sign(webhookId, at, body)).join(' '),
  };
}
