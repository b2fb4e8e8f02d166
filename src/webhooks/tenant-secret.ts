import type { Clock } from '../jobs/clock.ts';
import { defined } from '../errors.ts';
import { SecretDocument } from '../schemas/webhook.ts';
import type { SecretPair } from '../schemas/webhook.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { newSecrets, rotated } from './signing.ts';
import { updateJson } from './stored-document.ts';
import { secretKey } from './webhook-keys.ts';

/** The secret of a tenant that signs the webhooks its jobs name; made when it is first asked for. */
export class TenantSecret {
  readonly #store: ObjectStore;
  readonly #clock: Clock;

  constructor(store: ObjectStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  get(tenant: string): Promise<SecretPair> {
    return this.#update(tenant, (current) => (current === undefined ? newSecrets() : undefined));
  }

  rotate(tenant: string): Promise<SecretPair> {
    return this.#update(tenant, (current) =>
      current === undefined ? newSecrets() : rotated(current, this.#clock.now()),
    );
  }

  async #update(
    tenant: string,
    change: (current: SecretPair | undefined) => SecretPair | undefined,
  ): Promise<SecretPair> {
    const document = await updateJson(
      this.#store,
      secretKey(tenant),
      SecretDocument,
      (current): SecretDocument | undefined => {
        const secrets = change(current?.secrets);
        return secrets === undefined ? undefined : { recordVersion: 1, secrets };
      },
    );
    return defined(document, 'the webhook secret').secrets;
  }
}
