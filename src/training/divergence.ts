/** Losses over which the trend is judged. */
const WINDOW = 20;
/** The recent mean may be this many times the loss at the start. */
const TOLERATED_RISE = 10;
/** A tiny loss at the start (a trained model) says nothing about what is normal; 1 is in the order of an untrained one. */
const SMALLEST_REFERENCE = 1;

/** Why a run cannot go on. */
export interface Divergence {
  readonly reason: string;
  /** True when not even the first step gave a number: a lower learning rate will not help. */
  readonly atStart: boolean;
}

/** Watches the losses of a run. Its state is plain data, so that a resumed run judges as the first one would. */
export class DivergenceWatch {
  readonly #recent: number[];
  #steps: number;
  #reference: number;

  constructor(state: DivergenceState = { recent: [], steps: 0, reference: 0 }) {
    this.#recent = [...state.recent];
    this.#steps = state.steps;
    this.#reference = state.reference;
  }

  get state(): DivergenceState {
    return { recent: [...this.#recent], steps: this.#steps, reference: this.#reference };
  }

  /** @returns what is wrong, if anything */
  add(loss: number): Divergence | undefined {
    const last = this.#recent.at(-1);
    if (!Number.isFinite(loss)) {
      return last === undefined
        ? { reason: `the loss of the very first batch is ${loss}`, atStart: true }
        : { reason: `the loss became ${loss} after ${last.toPrecision(4)}`, atStart: false };
    }
    this.#recent.push(loss);
    this.#steps += 1;
    if (this.#recent.length > WINDOW) this.#recent.shift();
    const mean = this.#recent.reduce((sum, value) => sum + value, 0) / this.#recent.length;
    if (this.#steps <= WINDOW) {
      this.#reference = Math.max(SMALLEST_REFERENCE, this.#steps === 1 ? loss : this.#reference);
      return undefined;
    }
    if (mean <= TOLERATED_RISE * this.#reference) return undefined;
    const reason = `the mean loss of the last ${WINDOW} batches is ${mean.toPrecision(4)}, it was ${this.#reference.toPrecision(4)} at the start`;
    return { reason, atStart: false };
  }
}

export interface DivergenceState {
  readonly recent: readonly number[];
  readonly steps: number;
  readonly reference: number;
}
