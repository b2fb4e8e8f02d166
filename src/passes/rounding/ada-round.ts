import { keyedRandom } from '../../data/training/keyed-random.ts';
import { defined } from '../../errors.ts';
import { GraphBuilder } from '../../onnx/graph-builder.ts';
import type { Model } from '../../onnx/model.ts';
import type { NdArray } from '../../onnx/nd-array.ts';
import type { Runtime, Session } from '../../runtime/session.ts';
import { differentiate } from '../../training/differentiate.ts';
import { optimizerFragment, optimizerScalars } from '../../training/optimizers/optimizers.ts';
import { StaticTypes } from '../../training/static-types.ts';

/** A layer as products of matrices, one a group: y = x W + b, with rows of calibration data. */
export interface RoundingProblem {
  readonly groups: number;
  readonly rows: number;
  readonly columns: number;
  /** Output channels of a group. */
  readonly outputs: number;
  /** [groups, rows, columns]: inputs as the quantized layers before give them. */
  readonly x: Float32Array;
  /** [groups, rows, outputs]: outputs of the layer in float on float inputs, bias included. */
  readonly y: Float32Array;
  /** [groups, columns, outputs] */
  readonly weights: Float32Array;
  /** Of each output channel, [groups, outputs]. */
  readonly scales: Float32Array;
  readonly bias: Float32Array;
  /** Smallest and largest code, counted from the one that stands for 0. */
  readonly low: number;
  readonly high: number;
  /** Where the layer's output is cut off behind it: a Relu is [0, Infinity]. */
  readonly clip: readonly [min: number, max: number] | undefined;
}

export interface AdaRoundSettings {
  readonly iterations: number;
  /** Rows of one iteration. */
  readonly batch: number;
  readonly seed: number;
}

export interface RoundedLayer {
  /** [groups, columns, outputs], counted from the code of 0. */
  readonly codes: Int32Array;
}

/** Weight of the term that drives h to 0 and 1, and the stretch of the sigmoid, as in the paper. */
const LAMBDA = 0.01;
const [ZETA, GAMMA] = [1.1, -0.1];
/** The exponent of that term falls from 20 to 2 once a fifth of the iterations are over; before, the term is off. */
const [BETA_START, BETA_END] = [20, 2];
const WARM_UP = 0.2;
/** Ten times the paper's, for a tenth of its iterations. */
const LEARNING_RATE = 0.01;
const ADAM = { name: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;

interface RunContext {
  readonly runtime: Runtime;
  readonly threads: number;
  readonly signal: AbortSignal;
}

/**
 * Learns for each weight whether to round it down or up, so that the layer's output (behind what cuts it off) on quantized inputs comes
 * as near as it can to the float output: W = s clip(floor(W / s) + h(V), low, high), h a stretched sigmoid that is driven to 0 or 1.
 * Each iteration is one run of a training graph of standard operators.
 *
 * @throws CompressionError MODEL_RUN; AbortError when canceled
 * @see Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020, eq. 21 to 25
 */
export async function adaRound(
  problem: RoundingProblem,
  settings: AdaRoundSettings,
  context: RunContext,
): Promise<RoundedLayer> {
  const batch = Math.min(settings.batch, problem.rows);
  const graph = roundingGraph(problem, batch);
  const session = await context.runtime.createSession(graph.model, { threads: context.threads });
  try {
    return { codes: hardened(problem, await learn(problem, { ...settings, batch }, session, context)) };
  } finally {
    await session.release();
  }
}

async function learn(
  problem: RoundingProblem,
  { iterations, batch, seed }: AdaRoundSettings,
  session: Session,
  { signal }: RunContext,
): Promise<Float32Array> {
  const { groups, columns, outputs } = problem;
  const dims = [groups, columns, outputs];
  const zeros = (): NdArray => array(new Float32Array(groups * columns * outputs), dims);
  let state: State = { v: array(startOf(problem), dims), first: zeros(), second: zeros() };
  let spare: State = { v: zeros(), first: zeros(), second: zeros() };
  const x = new Float32Array(groups * batch * columns);
  const y = new Float32Array(groups * batch * outputs);
  const scalarsOf = optimizerScalars(ADAM);
  const random = keyedRandom(seed, 0);
  for (let step = 0; step < iterations; step += 1) {
    signal.throwIfAborted();
    pickRows(problem, { x, y, batch }, () => random.uniform());
    const progress = (step / iterations - WARM_UP) / (1 - WARM_UP);
    const scalars = {
      ...scalarsOf.at(step + 1, LEARNING_RATE),
      beta: BETA_START + (BETA_END - BETA_START) * Math.max(0, progress),
      weight: progress < 0 ? 0 : LAMBDA,
    };
    const feeds: Record<string, NdArray> = {
      x: array(x, [groups, batch, columns]),
      y: array(y, [groups, batch, outputs]),
      ...state,
    };
    for (const [name, value] of Object.entries(scalars)) feeds[name] = array(Float32Array.of(value), []);
    await session.run(feeds, [], { next_v: spare.v, next_first: spare.first, next_second: spare.second });
    [state, spare] = [spare, state];
  }
  return state.v.data as Float32Array;
}

interface State {
  readonly [name: string]: NdArray;
  readonly v: NdArray;
  readonly first: NdArray;
  readonly second: NdArray;
}

function array(data: Float32Array, dims: readonly number[]): NdArray {
  return { type: 'float', dims, data };
}

/** Rows drawn anew in each iteration, the same of all groups. */
function pickRows(
  problem: RoundingProblem,
  { x, y, batch }: { readonly x: Float32Array; readonly y: Float32Array; readonly batch: number },
  uniform: () => number,
): void {
  const { groups, rows, columns, outputs } = problem;
  for (let i = 0; i < batch; i += 1) {
    const row = Math.min(rows - 1, Math.floor(uniform() * rows));
    for (let group = 0; group < groups; group += 1) {
      const place = group * rows + row;
      const to = group * batch + i;
      x.set(problem.x.subarray(place * columns, (place + 1) * columns), to * columns);
      y.set(problem.y.subarray(place * outputs, (place + 1) * outputs), to * outputs);
    }
  }
}

/** V for which floor(W / s) + h(V) = W / s. */
function startOf({ weights, scales, columns, outputs }: RoundingProblem): Float32Array {
  return weights.map((value, i) => {
    const position = value / (scales[channelOf(i, columns, outputs)] ?? 1);
    const fraction = position - Math.floor(position);
    return -Math.log((ZETA - GAMMA) / (fraction - GAMMA) - 1);
  });
}

function channelOf(index: number, columns: number, outputs: number): number {
  return Math.floor(index / (columns * outputs)) * outputs + (index % outputs);
}

function hardened({ weights, scales, columns, outputs, low, high }: RoundingProblem, v: Float32Array): Int32Array {
  return Int32Array.from(weights, (value, i) => {
    const down = Math.floor(value / (scales[channelOf(i, columns, outputs)] ?? 1));
    return Math.min(Math.max(down + ((v[i] ?? 0) >= 0 ? 1 : 0), low), high);
  });
}

/** One iteration: forward, loss, gradient by V, Adam. */
function roundingGraph(problem: RoundingProblem, batch: number): { readonly model: Model } {
  const { groups, columns, outputs, weights, scales, low, high, clip } = problem;
  const b = new GraphBuilder('ada_round');
  const shape = [groups, columns, outputs];
  const x = b.input('x', 'float', [groups, batch, columns]);
  const y = b.input('y', 'float', [groups, batch, outputs]);
  const v = b.input('v', 'float', shape);
  const moments = new Map([
    ['first_moment', b.input('first', 'float', shape)],
    ['second_moment', b.input('second', 'float', shape)],
  ]);
  const [beta, weight] = ['beta', 'weight'].map((name) => b.input(name, 'float', []));
  const floors = weights.map((value, i) => Math.floor(value / (scales[channelOf(i, columns, outputs)] ?? 1)));
  const constant = (name: string, data: Float32Array, dims: readonly number[]): string =>
    b.array(name, { type: 'float', dims, data });
  const [zero, one, two] = [b.float('zero', 0), b.float('one', 1), b.float('two', 2)];
  const stretched = b.op('Add', [
    b.op('Mul', [b.op('Sigmoid', [v]), b.float('stretch', ZETA - GAMMA)]),
    b.float('gamma', GAMMA),
  ]);
  const h = b.op('Clip', [stretched, zero, one]);
  const codes = b.op('Clip', [
    b.op('Add', [constant('floors', floors, shape), h]),
    b.float('low', low),
    b.float('high', high),
  ]);
  const rounded = b.op('Mul', [codes, constant('scales', scales, [groups, 1, outputs])]);
  const made = b.op('Add', [b.op('MatMul', [x, rounded]), constant('bias', problem.bias, [groups, 1, outputs])]);
  const behind = (value: string): string => {
    if (clip === undefined) return value;
    const [min, max] = clip;
    return max === Infinity && min === 0
      ? b.op('Relu', [value])
      : b.op('Clip', [value, b.float('clip_min', min), b.float('clip_max', max)]);
  };
  const difference = b.op('Sub', [behind(made), behind(y)]);
  const all = { attributes: { keepdims: 0 } };
  const squares = b.op('ReduceSum', [b.op('Mul', [difference, difference])], all);
  const error = b.op('Mul', [squares, b.float('per_row', 1 / batch)]);
  const distance = b.op('Abs', [b.op('Sub', [b.op('Mul', [h, two]), one])]);
  const undecided = b.op('ReduceSum', [b.op('Sub', [one, b.op('Pow', [distance, beta ?? ''])])], all);
  const loss = b.op('Add', [error, b.op('Mul', [undecided, weight ?? ''])]);
  const model = b.model(21, { 'com.microsoft': 1 });
  const gradients = differentiate(b, { loss, wrt: [v], types: new StaticTypes(model) });
  const update = optimizerFragment({ b, scalar: (name) => b.input(name, 'float', []) }, ADAM);
  const next = update({
    value: v,
    gradient: defined(gradients.get(v), 'gradient of V'),
    decays: false,
    moment: (name) => defined(moments.get(name), name),
  });
  b.output(next.value, 'next_v', 'float', shape);
  b.output(defined(next.moments.get('first_moment'), 'first moment'), 'next_first', 'float', shape);
  b.output(defined(next.moments.get('second_moment'), 'second moment'), 'next_second', 'float', shape);
  return { model };
}
