import { messageOf } from '../errors.ts';
import type { Clock } from '../jobs/clock.ts';
import type { JobLog } from '../jobs/job-log.ts';
import type { Deliverer } from './deliver.ts';
import type { DeliveryStore } from './delivery-store.ts';
import { Lanes } from './lanes.ts';
import type { Marker } from './webhook-keys.ts';

/** Longest time between two looks at the store: how late another process's work is found at most. */
const SWEEP_INTERVAL_MS = 5_000;
/** Shortest time between two looks at the store. */
const MIN_INTERVAL_MS = 100;
const EXPIRE_INTERVAL_MS = 3600 * 1000;
/** Due deliveries of one lane that are remembered while it is full; the others are found by the next sweep. */
const BACKLOG = 200;
/** How long `stop` waits for attempts under way before it cuts them off. */
const STOP_PATIENCE_MS = 3_000;

/**
 * Finds deliveries that are due and has them attempted. Any number of processes may run one on the same store: who
 * attempts what is decided by the lease in the record.
 */
export class Dispatcher {
  readonly #deliveries: DeliveryStore;
  readonly #deliverer: Pick<Deliverer, 'visit'>;
  readonly #clock: Clock;
  readonly #log: JobLog;
  readonly #lanes: Lanes;
  readonly #active = new Map<string, Promise<void>>();
  readonly #backlog = new Map<string, Marker[]>();
  readonly #cutOff = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;
  #sweeping: Promise<void> | undefined;
  #expiredAt = -Infinity;
  #running = false;
  #stopped = false;
  /** The last sweep left something in the store that is due: there was no place for it. */
  #cutShort = false;

  constructor(parts: {
    readonly deliveries: DeliveryStore;
    readonly deliverer: Pick<Deliverer, 'visit'>;
    readonly clock: Clock;
    readonly log: JobLog;
    readonly lanes?: Lanes;
  }) {
    this.#deliveries = parts.deliveries;
    this.#deliverer = parts.deliverer;
    this.#clock = parts.clock;
    this.#log = parts.log;
    this.#lanes = parts.lanes ?? new Lanes();
  }

  start(): void {
    this.#running = true;
    this.#wakeIn(0);
  }

  /** Starts nothing new, gives attempts under way a moment, then cuts them off; somebody else goes on with those. */
  async stop(): Promise<void> {
    this.#running = false;
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#sweeping;
    const patience = setTimeout(() => this.#cutOff.abort(), STOP_PATIENCE_MS);
    await this.idle();
    clearTimeout(patience);
  }

  /** Attempts a delivery that was just made, without waiting for a sweep. */
  offer(marker: Marker): void {
    if (this.#running) this.#take(marker);
  }

  /** One look at the store: everything that is due is started, or remembered where its lane is full. */
  async sweep(): Promise<void> {
    let nextMs = SWEEP_INTERVAL_MS;
    this.#backlog.clear();
    this.#cutShort = false;
    const later = (atMs: number) => {
      nextMs = Math.min(nextMs, atMs - this.#clock.now());
    };
    for await (const marker of this.#deliveries.due(later)) {
      this.#cutShort = this.#lanes.full;
      if (this.#stopped || this.#cutShort) break;
      this.#take(marker);
    }
    if (this.#clock.monotonic() - this.#expiredAt >= EXPIRE_INTERVAL_MS) {
      this.#expiredAt = this.#clock.monotonic();
      await this.#deliveries.expire();
    }
    this.#wakeIn(nextMs);
  }

  /** Resolves when no attempt is under way. */
  async idle(): Promise<void> {
    while (this.#active.size > 0) await Promise.all(this.#active.values());
  }

  #take(marker: Marker): void {
    if (!this.#start(marker)) this.#remember(marker);
  }

  /** False when there is no place for it now. */
  #start(marker: Marker): boolean {
    if (this.#active.has(marker.key)) return true;
    const leave = this.#lanes.enter(marker.tenant, marker.lane);
    if (leave === undefined) return false;
    const work = this.#visit(marker).then((succeeded) => {
      this.#active.delete(marker.key);
      leave(succeeded);
      this.#startWaiting();
    });
    this.#active.set(marker.key, work);
    return true;
  }

  /** @returns whether the endpoint took it; undefined when it was not asked */
  async #visit(marker: Marker): Promise<boolean | undefined> {
    try {
      const visit = await this.#deliverer.visit(marker, this.#cutOff.signal);
      if (visit === 'failed') this.#wakeIn(SWEEP_INTERVAL_MS); // its retry may be due earlier than the sweep knows
      return visit === 'nothing' ? undefined : visit === 'delivered';
    } catch (error) {
      // One bad record, or a store that does not answer, must not keep the others from going out.
      this.#log.warn(
        { event: 'webhook.visit-failed', deliveryId: marker.id, tenant: marker.tenant, error: messageOf(error) },
        'a webhook delivery could not be attempted; the next round tries again',
      );
      return undefined;
    }
  }

  #remember(marker: Marker): void {
    const lane = `${marker.tenant} ${marker.lane}`;
    const waiting = this.#backlog.get(lane) ?? [];
    this.#backlog.set(lane, waiting);
    if (waiting.length >= BACKLOG) this.#cutShort = true;
    else if (!waiting.some(({ key }) => key === marker.key)) waiting.push(marker);
  }

  /** A place is free: for whoever waits for it, and then for what a sweep finds. */
  #startWaiting(): void {
    if (!this.#running) return;
    for (const [lane, waiting] of this.#backlog) {
      for (let next = waiting[0]; next !== undefined && this.#start(next); next = waiting[0]) waiting.shift();
      if (waiting.length === 0) this.#backlog.delete(lane);
    }
    if (this.#cutShort) this.#wakeIn(MIN_INTERVAL_MS);
  }

  #wakeIn(ms: number): void {
    if (!this.#running) return;
    const wait = Math.max(ms, ms === 0 ? 0 : MIN_INTERVAL_MS);
    const at = performance.now() + wait;
    if (at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => void this.#sweepNow(), wait);
    this.#timer.unref();
  }

  async #sweepNow(): Promise<void> {
    await this.#sweeping;
    this.#timerAt = Infinity;
    this.#sweeping = this.sweep().catch((error: unknown) => {
      this.#log.warn(
        { event: 'webhook.sweep-failed', error: messageOf(error) },
        'due webhooks could not be looked up; the next round tries again',
      );
      this.#wakeIn(SWEEP_INTERVAL_MS);
    });
    await this.#sweeping;
  }
}
