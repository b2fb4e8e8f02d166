import type { NdArray } from '../onnx/nd-array.ts';

/** A `mask` of ones and zeros only changes between steps (`MaskUpdates`); a `score` is what masks are chosen by. */
export type StateKind = 'parameter' | 'statistic' | 'moment' | 'average' | 'accumulator' | 'mask' | 'score';

/** A float tensor that goes into a step and comes out changed. */
export interface StateTensor {
  /** Name of the graph input. */
  readonly name: string;
  readonly kind: StateKind;
  /** The initializer it is, or belongs to. */
  readonly of: string;
  /** False for what the loss brought along (regressors): it is no part of the trained model. */
  readonly isModel: boolean;
  readonly dims: readonly number[];
  /** Zeros when absent. Not to be written into. */
  readonly initial?: Float32Array;
}

/** One graph that is run again and again, and the state it reads and writes. */
export interface StateStep {
  readonly reads: readonly string[];
  /** Output name by state name. */
  readonly writes: ReadonlyMap<string, string>;
}

interface Slot {
  readonly tensor: StateTensor;
  /** What the next step reads. */
  front: Float32Array;
  /** What the next step writes into. */
  back: Float32Array;
}

/**
 * Parameters, moments and statistics of a run, each in two buffers: a step reads one and writes the other, then they
 * change places. So nothing is copied and nothing allocated from step to step; a step that fails leaves the state as it was.
 */
export class TrainingState {
  readonly #slots = new Map<string, Slot>();

  constructor(tensors: readonly StateTensor[]) {
    for (const tensor of tensors) {
      const length = tensor.dims.reduce((product, size) => product * size, 1);
      const front = tensor.initial === undefined ? new Float32Array(length) : Float32Array.from(tensor.initial);
      this.#slots.set(tensor.name, { tensor, front, back: new Float32Array(length) });
    }
  }

  get tensors(): readonly StateTensor[] {
    return [...this.#slots.values()].map(({ tensor }) => tensor);
  }

  /** The arrays a step is fed, by input name: views of the state. */
  feedsOf(step: StateStep): Record<string, NdArray> {
    return Object.fromEntries(step.reads.map((name) => [name, this.#view(name, 'front')]));
  }

  /** The arrays a step writes its new state into, by output name. */
  targetsOf(step: StateStep): Record<string, NdArray> {
    return Object.fromEntries([...step.writes].map(([name, output]) => [output, this.#view(name, 'back')]));
  }

  /** Makes what the step wrote the current state. */
  advance(step: StateStep): void {
    for (const name of step.writes.keys()) {
      const slot = this.#slot(name);
      [slot.front, slot.back] = [slot.back, slot.front];
    }
  }

  /** The current values: a view, valid until the next step. */
  values(name: string): Float32Array {
    return this.#slot(name).front;
  }

  /** Sets every tensor of a kind to 0. */
  clear(kind: StateKind): void {
    for (const { tensor, front } of this.#slots.values()) if (tensor.kind === kind) front.fill(0);
  }

  /** Takes over values. @throws RangeError for an unknown name or another length */
  load(name: string, values: Float32Array): void {
    this.#slot(name).front.set(values);
  }

  /** A copy of everything, by name. */
  snapshot(): Map<string, Float32Array> {
    return new Map([...this.#slots].map(([name, { front }]) => [name, Float32Array.from(front)]));
  }

  #view(name: string, side: 'front' | 'back'): NdArray {
    const slot = this.#slot(name);
    return { type: 'float', dims: slot.tensor.dims, data: slot[side] };
  }

  #slot(name: string): Slot {
    const slot = this.#slots.get(name);
    if (slot === undefined) throw new RangeError(`there is no state "${name}"`);
    return slot;
  }
}
