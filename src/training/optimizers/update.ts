import { CompressionError } from '../../errors.ts';
import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import type { Bounds } from '../forward-rewrite.ts';
import type { StateKind, StateTensor } from '../training-state.ts';
import { withAdaptiveRate } from './adaptive-rate.ts';
import type { OptimizerSettings } from './optimizer.ts';
import { clipByGlobalNorm, optimizerFragment } from './optimizers.ts';

export interface UpdateSettings {
  readonly optimizer: OptimizerSettings;
  /** Largest global norm of the gradients, those of adder layers left out: they have a norm of their own. Absent: not clipped. */
  readonly clipNorm?: number | undefined;
  /** Whether an exponential moving average of the trained values is kept. */
  readonly average: boolean;
}

export interface UpdatedParameter {
  readonly state: StateTensor;
  readonly gradient: string;
  readonly decays: boolean;
  /** Whether the parameter learns at the rate of an adder layer. */
  readonly isAdder: boolean;
  /** What its value is held to. */
  readonly bounds?: Bounds | undefined;
}

/** Collects what a graph reads and writes besides its batch. */
export class StateIo {
  readonly b: GraphBuilder;
  readonly reads: string[] = [];
  readonly writes = new Map<string, string>();
  readonly scalars: string[] = [];
  /** State that was made here, beside what the caller had. */
  readonly made: StateTensor[] = [];

  constructor(b: GraphBuilder) {
    this.b = b;
  }

  /** Declares the state as a graph input; again: no change. */
  read(state: StateTensor): string {
    if (this.reads.includes(state.name)) return state.name;
    const name = this.b.input(state.name, 'float', state.dims);
    if (name !== state.name) throw new CompressionError('INTERNAL', `the graph already has a value "${state.name}"`);
    this.reads.push(name);
    return name;
  }

  make(kind: StateKind, base: string, like: StateTensor, initial?: Float32Array): StateTensor {
    const name = this.b.fresh(base);
    const { of, isModel, dims } = like;
    const state: StateTensor = { name, kind, of, isModel, dims, ...(initial === undefined ? {} : { initial }) };
    // The name is taken by now, so this is no `input` of the builder.
    this.b.graph.inputs.push({ name, type: { kind: 'tensor', elementType: 'float', shape: dims } });
    this.reads.push(name);
    this.made.push(state);
    return state;
  }

  write(state: StateTensor, value: string): void {
    this.writes.set(state.name, value);
  }

  readonly scalar = (name: string): string => {
    if (!this.scalars.includes(name)) this.scalars.push(this.b.input(name, 'float', []));
    return name;
  };
}

/** Name of the scalar that the moving average goes by: new = old + rate * (value - old). */
export const AVERAGE_RATE = 'average_rate';

/**
 * Writes the optimizer's step for all parameters, and the moving averages of them and of the running statistics.
 *
 * @param statistics - state with its new value
 * @returns the gradients' norm before clipping, where they are clipped
 */
export function writeUpdates(
  io: StateIo,
  parameters: readonly UpdatedParameter[],
  statistics: readonly { readonly state: StateTensor; readonly value: string }[],
  settings: UpdateSettings,
): string | undefined {
  const { b } = io;
  const free = parameters.filter(({ isAdder }) => !isAdder).map(({ gradient }) => gradient);
  const isClipped = settings.clipNorm !== undefined && free.length > 0;
  const clipped = isClipped ? clipByGlobalNorm(b, free, settings.clipNorm) : undefined;
  const clippedOf = new Map(free.map((gradient, index) => [gradient, clipped?.gradients[index] ?? gradient]));
  const update = optimizerFragment({ b, scalar: io.scalar }, settings.optimizer);
  const averaged = [...statistics];
  for (const { state, gradient, decays, isAdder, bounds } of parameters) {
    const moments = new Map<string, StateTensor>();
    const updated = update({
      value: state.name,
      gradient: isAdder ? withAdaptiveRate(b, gradient, state.dims) : (clippedOf.get(gradient) ?? gradient),
      decays,
      moment: (name) => {
        const made = io.make('moment', `${state.name}.${name}`, state);
        moments.set(name, made);
        return made.name;
      },
    });
    const value = bounds === undefined ? updated.value : bounded(b, updated.value, bounds);
    io.write(state, value);
    for (const [name, value] of updated.moments) {
      const moment = moments.get(name);
      if (moment !== undefined) io.write(moment, value);
    }
    averaged.push({ state, value });
  }
  if (settings.average) {
    const rate = io.scalar(AVERAGE_RATE);
    for (const { state, value } of averaged) {
      if (!state.isModel) continue;
      const average = io.make('average', `${state.name}.average`, state, state.initial);
      const step = b.op('Mul', [b.op('Sub', [value, average.name]), rate]);
      io.write(average, b.op('Add', [average.name, step]));
    }
  }
  return clipped?.norm;
}

function bounded(b: GraphBuilder, value: string, { low, high }: Bounds): string {
  const bound = (name: string, limit: number | undefined): string => (limit === undefined ? '' : b.float(name, limit));
  return b.op('Clip', [value, bound('low', low), ...(high === undefined ? [] : [bound('high', high)])]);
}
