import type { GradientBuilder } from './gradient-builder.ts';
import type { ForwardNode, GradientRule } from './gradient-rule.ts';

/** One direction of a recurrent node: matrices without the axis of directions, steps in the order of time. */
interface Direction {
  readonly steps: number;
  readonly batch: number;
  readonly hidden: number;
  readonly isReversed: boolean;
  /** [steps, batch, input] */
  readonly X: string;
  /** [gates hidden, input] and [gates hidden, hidden] */
  readonly W: string;
  readonly R: string;
  /** [gates hidden] each */
  readonly bias: { readonly input: string; readonly recurrent: string } | undefined;
  /** What each step starts from, [steps, batch, hidden]: the initial state, then outputs of the node. */
  readonly before: string;
  /** [batch, hidden] */
  readonly cellStart: string;
  /** Gradients at the step's output, [batch, hidden]; and at the last states. */
  readonly dY: readonly (string | undefined)[];
  readonly dLast: string | undefined;
  readonly dLastCell: string | undefined;
}

/** What a cell's backward pass gives, step by step in the order of time, [batch, gates hidden] each. */
interface CellGradient {
  /** At x W'. */
  readonly atInput: readonly string[];
  /** At h R', where it is another. */
  readonly atRecurrent?: readonly string[];
  /** The state that R multiplied, for each group of rows: [rows, state]; default: `before` for all rows. */
  readonly recurrentRows?: readonly (readonly [number, string])[];
  readonly dStart: string;
  readonly dCellStart?: string;
}

type Cell = (b: GradientBuilder, d: Direction, node: ForwardNode) => CellGradient;

/**
 * Recurrent nodes. Each step's gates are computed again, for all steps at once: what they start from is in the node's output Y, so
 * that only the backward pass goes step by step (Werbos 1990, backpropagation through time).
 */
function recurrentGradient(defaults: readonly string[], cell: Cell): GradientRule {
  return (node, b) => {
    refuseVariants(node, defaults);
    const [steps = 1, batch = 1] = node.inputShape(0);
    const [directions = 1, , hidden = 1] = node.inputShape(2);
    const Y = b.optionalOutput(node.node, 0, {
      elementType: b.types.elementType(node.input(0)) ?? 'float',
      shape: [steps, directions, batch, hidden],
    });
    const parts = Array.from({ length: directions }, (_, index) => {
      const isReversed = index === 1 || node.node.string('direction', 'forward') === 'reverse';
      const direction = directionOf(node, b, { Y, index, isReversed, sizes: { steps, batch, hidden } });
      return inputGradients(node, b, direction, cell(b, direction, node));
    });
    const join = (pick: (part: Gradients) => string | undefined): string | undefined => {
      const all = parts.map(pick).filter((one) => one !== undefined);
      const spread = all.map((one) => b.reshape(one, [1, ...b.shape(one)]));
      return spread.length > 1 ? b.op('Concat', spread, { axis: 0 }) : spread[0];
    };
    const dX = parts.map(({ dX }) => dX).filter((one) => one !== undefined);
    return [
      dX.length > 1 ? b.op('Add', dX) : dX[0],
      join(({ dW }) => dW),
      join(({ dR }) => dR),
      join(({ dB }) => dB),
      undefined,
      node.needs(5) ? join(({ dStart }) => dStart) : undefined,
      node.needs(6) ? join(({ dCellStart }) => dCellStart) : undefined,
    ];
  };
}

function refuseVariants(node: ForwardNode, defaults: readonly string[]): void {
  const { attributes } = node.node;
  const activations = attributes.get('activations');
  const given = activations?.kind === 'strings' ? activations.value.map((name) => new TextDecoder().decode(name)) : [];
  const usual = given.every((name, index) => name.toLowerCase() === defaults[index % defaults.length]?.toLowerCase());
  if (!usual) throw node.unsupported(`its activations are ${given.join(', ')}`);
  if (attributes.has('clip')) throw node.unsupported('it clips its gates');
  if (node.node.int('layout', 0) !== 0) throw node.unsupported('its layout is batch first');
  if (node.node.int('input_forget', 0) !== 0) throw node.unsupported('its input and forget gates are coupled');
  if (node.has(4)) throw node.unsupported('it has sequence lengths');
  if (node.has(7)) throw node.unsupported('it has peephole weights');
}

function directionOf(
  node: ForwardNode,
  b: GradientBuilder,
  at: {
    readonly Y: string;
    readonly index: number;
    readonly isReversed: boolean;
    readonly sizes: { readonly steps: number; readonly batch: number; readonly hidden: number };
  },
): Direction {
  const { Y, index, isReversed, sizes } = at;
  const { steps, batch, hidden } = sizes;
  const pick = (value: string, axis: number): string => {
    const shape = b.shape(value);
    const rest = shape.toSpliced(axis, 1);
    const one = shape[axis] === 1 ? value : b.slice(value, { axes: [axis], starts: [index], ends: [index + 1] });
    return b.reshape(one, rest);
  };
  const inTime = (value: string): string =>
    isReversed ? b.slice(value, { axes: [0], starts: [-1], ends: [-(2 ** 31)], steps: [-1] }) : value;
  const state = (input: number): string =>
    node.has(input) ? pick(node.input(input), 0) : b.zeros([batch, hidden], node.input(0));
  const outputs = inTime(pick(Y, 1));
  const start = b.reshape(state(5), [1, batch, hidden]);
  const earlier = steps === 1 ? undefined : b.slice(outputs, { axes: [0], starts: [0], ends: [steps - 1] });
  const both = node.has(3) ? pick(node.input(3), 0) : undefined;
  const width = node.inputShape(1)[1] ?? 1;
  const half = (value: string, from: number): string =>
    b.slice(value, { axes: [0], starts: [from], ends: [from + width] });
  return {
    ...sizes,
    isReversed,
    X: inTime(node.input(0)),
    W: pick(node.input(1), 0),
    R: pick(node.input(2), 0),
    bias: both === undefined ? undefined : { input: half(both, 0), recurrent: half(both, width) },
    before: earlier === undefined ? start : b.op('Concat', [start, earlier], { axis: 0 }),
    cellStart: state(6),
    dY: node.hasGradient(0)
      ? unstack(b, inTime(pick(node.gradient(0), 1)))
      : Array.from({ length: steps }, () => undefined),
    dLast: node.hasGradient(1) ? pick(node.gradient(1), 0) : undefined,
    dLastCell: node.hasGradient(2) ? pick(node.gradient(2), 0) : undefined,
  };
}

interface Gradients {
  readonly dX: string | undefined;
  readonly dW: string | undefined;
  readonly dR: string | undefined;
  readonly dB: string | undefined;
  readonly dStart: string;
  readonly dCellStart: string | undefined;
}

/** From the gradients at the sums that go into the gates to those at X, W, R and B: one product each for all steps. */
function inputGradients(node: ForwardNode, b: GradientBuilder, d: Direction, cell: CellGradient): Gradients {
  const rowsOf = (value: string): string => b.reshape(value, [d.steps * d.batch, b.shape(value)[2] ?? 1]);
  const atInput = b.op('Concat', [...cell.atInput], { axis: 0 });
  const atRecurrent = cell.atRecurrent === undefined ? atInput : b.op('Concat', [...cell.atRecurrent], { axis: 0 });
  const gates = b.shape(d.W)[0] ?? 1;
  let dX: string | undefined;
  if (node.needs(0)) {
    const inTime = b.reshape(b.matMul(atInput, d.W), b.shape(d.X));
    dX = d.isReversed ? b.slice(inTime, { axes: [0], starts: [-1], ends: [-(2 ** 31)], steps: [-1] }) : inTime;
  }
  const recurrent = (): string => {
    let from = 0;
    const rows = (cell.recurrentRows ?? [[gates, d.before] as const]).map(([count, state]) => {
      const part =
        count === gates ? atRecurrent : b.slice(atRecurrent, { axes: [1], starts: [from], ends: [from + count] });
      from += count;
      return b.matMul(part, rowsOf(state), { a: true });
    });
    return rows.length > 1 ? b.op('Concat', rows, { axis: 0 }) : (rows[0] ?? '');
  };
  return {
    dX,
    dW: node.needs(1) ? b.matMul(atInput, rowsOf(d.X), { a: true }) : undefined,
    dR: node.needs(2) ? recurrent() : undefined,
    dB: node.needs(3) ? b.op('Concat', [b.sum(atInput, [0], 0), b.sum(atRecurrent, [0], 0)], { axis: 0 }) : undefined,
    dStart: cell.dStart,
    dCellStart: cell.dCellStart,
  };
}

/** [steps, batch, n] as `steps` values [batch, n]. */
function unstack(b: GradientBuilder, value: string): string[] {
  const [steps = 1, ...rest] = b.shape(value);
  if (steps === 1) return [b.reshape(value, rest)];
  const sizes = b.ints(Array.from({ length: steps }, () => 1));
  return b.ops('Split', [value, sizes], steps, { axis: 0 }).map((step) => b.reshape(step, rest));
}

/** The gates' slices of the last axis. */
function gatesOf(b: GradientBuilder, value: string, d: Direction, count: number): string[] {
  const sizes = b.ints(Array.from({ length: count }, () => d.hidden));
  return b.ops('Split', [value, sizes], count, { axis: b.shape(value).length - 1 });
}

function withBias(b: GradientBuilder, value: string, bias: string | undefined): string {
  return bias === undefined ? value : b.add(value, bias);
}

/** x W' + Wb and h R' + Rb for all steps, [steps, batch, gates hidden] each. */
function products(b: GradientBuilder, d: Direction): { readonly input: string; readonly recurrent: string } {
  return {
    input: withBias(b, b.matMul(d.X, d.W, { b: true }), d.bias?.input),
    recurrent: withBias(b, b.matMul(d.before, d.R, { b: true }), d.bias?.recurrent),
  };
}

/** dY s (1 - s), s a sigmoid. */
function throughSigmoid(b: GradientBuilder, gradient: string, s: string): string {
  return b.mul(gradient, b.sub(s, b.mul(s, s)));
}

/** dY (1 - t^2), t a hyperbolic tangent. */
function throughTanh(b: GradientBuilder, gradient: string, t: string): string {
  return b.sub(gradient, b.mul(gradient, b.mul(t, t)));
}

function plus(b: GradientBuilder, first: string | undefined, second: string | undefined, like: Direction): string {
  if (first !== undefined && second !== undefined) return b.add(first, second);
  return first ?? second ?? b.zeros([like.batch, like.hidden], like.X);
}

/** h = tanh(x W' + h R' + b). Elman 1990. */
const elmanCell: Cell = (b, d) => {
  const { input, recurrent } = products(b, d);
  const h = unstack(b, b.op('Tanh', [b.add(input, recurrent)]));
  const atInput: string[] = [];
  let next = d.dLast;
  for (let step = d.steps - 1; step >= 0; step -= 1) {
    const atSum = throughTanh(b, plus(b, d.dY[step], next, d), h[step] ?? '');
    atInput.unshift(atSum);
    next = b.matMul(atSum, d.R);
  }
  return { atInput, dStart: plus(b, next, undefined, d) };
};

/**
 * Gates i, o, f = sigmoid, g = tanh of x W' + h R' + b; c = f c + i g, h = o tanh c. The cell states are in no output: a pass of
 * sums and products makes them again. Hochreiter & Schmidhuber 1997; Gers et al. 2000.
 */
const lstmCell: Cell = (b, d) => {
  const { input, recurrent } = products(b, d);
  const [iSum = '', oSum = '', fSum = '', gSum = ''] = gatesOf(b, b.add(input, recurrent), d, 4);
  const [i = [], o = [], f = []] = [iSum, oSum, fSum].map((sum) => unstack(b, b.op('Sigmoid', [sum])));
  const g = unstack(b, b.op('Tanh', [gSum]));
  const cells = [d.cellStart];
  for (let step = 0; step < d.steps; step += 1) {
    const kept = b.mul(f[step] ?? '', cells[step] ?? '');
    cells.push(b.add(kept, b.mul(i[step] ?? '', g[step] ?? '')));
  }
  const atInput: string[] = [];
  let next = d.dLast;
  let nextCell = d.dLastCell;
  for (let step = d.steps - 1; step >= 0; step -= 1) {
    const [iNow = '', oNow = '', fNow = '', gNow = ''] = [i[step], o[step], f[step], g[step]];
    const t = b.op('Tanh', [cells[step + 1] ?? '']);
    const dh = plus(b, d.dY[step], next, d);
    const dc = plus(b, throughTanh(b, b.mul(dh, oNow), t), nextCell, d);
    const atGates = [
      throughSigmoid(b, b.mul(dc, gNow), iNow),
      throughSigmoid(b, b.mul(dh, t), oNow),
      throughSigmoid(b, b.mul(dc, cells[step] ?? ''), fNow),
      throughTanh(b, b.mul(dc, iNow), gNow),
    ];
    const atSum = b.op('Concat', atGates, { axis: 1 });
    atInput.unshift(atSum);
    next = b.matMul(atSum, d.R);
    nextCell = b.mul(dc, fNow);
  }
  return { atInput, dStart: plus(b, next, undefined, d), dCellStart: plus(b, nextCell, undefined, d) };
};

/**
 * z, r = sigmoid, n = tanh(x W' + r (h R' + b)) or, where linear_before_reset is 0, tanh(x W' + (r h) R' + b);
 * h = (1 - z) n + z h. Cho et al. 2014.
 */
const gruCell: Cell = (b, d, node) => {
  const isLinearFirst = node.node.int('linear_before_reset', 0) !== 0;
  const { input, recurrent } = products(b, d);
  const [zInput = '', rInput = '', nInput = ''] = gatesOf(b, input, d, 3);
  const [zState = '', rState = '', nState = ''] = gatesOf(b, recurrent, d, 3);
  const zAll = b.op('Sigmoid', [b.add(zInput, zState)]);
  const rAll = b.op('Sigmoid', [b.add(rInput, rState)]);
  const rowsOfR = (from: number, to: number): string =>
    b.slice(d.R, { axes: [0], starts: [from * d.hidden], ends: [to * d.hidden] });
  const [Rzr, Rn] = [rowsOfR(0, 2), rowsOfR(2, 3)];
  const gated = b.mul(rAll, d.before);
  const bias =
    d.bias === undefined
      ? undefined
      : b.slice(d.bias.recurrent, { axes: [0], starts: [2 * d.hidden], ends: [3 * d.hidden] });
  const nSum = isLinearFirst ? b.mul(rAll, nState) : withBias(b, b.matMul(gated, Rn, { b: true }), bias);
  const nAll = b.op('Tanh', [b.add(nInput, nSum)]);
  const [z = [], r = [], n = [], q = [], h = []] = [zAll, rAll, nAll, nState, d.before].map((all) => unstack(b, all));
  const atInput: string[] = [];
  const atRecurrent: string[] = [];
  let next = d.dLast;
  for (let step = d.steps - 1; step >= 0; step -= 1) {
    const [zNow = '', rNow = '', nNow = '', hNow = ''] = [z[step], r[step], n[step], h[step]];
    const dh = plus(b, d.dY[step], next, d);
    const atN = throughTanh(b, b.sub(dh, b.mul(dh, zNow)), nNow);
    const atZ = throughSigmoid(b, b.mul(dh, b.sub(hNow, nNow)), zNow);
    const behind = isLinearFirst ? b.mul(atN, rNow) : b.matMul(atN, Rn);
    const atR = throughSigmoid(b, isLinearFirst ? b.mul(atN, q[step] ?? '') : b.mul(behind, hNow), rNow);
    atInput.unshift(b.op('Concat', [atZ, atR, atN], { axis: 1 }));
    if (isLinearFirst) atRecurrent.unshift(b.op('Concat', [atZ, atR, behind], { axis: 1 }));
    const throughN = isLinearFirst ? b.matMul(behind, Rn) : b.mul(behind, rNow);
    const throughGates = b.matMul(b.op('Concat', [atZ, atR], { axis: 1 }), Rzr);
    next = b.op('Sum', [b.mul(dh, zNow), throughN, throughGates]);
  }
  const dStart = plus(b, next, undefined, d);
  if (isLinearFirst) return { atInput, atRecurrent, dStart };
  return {
    atInput,
    recurrentRows: [
      [2 * d.hidden, d.before],
      [d.hidden, gated],
    ],
    dStart,
  };
};

export const rnnGradient = recurrentGradient(['Tanh'], elmanCell);
export const lstmGradient = recurrentGradient(['Sigmoid', 'Tanh', 'Tanh'], lstmCell);
export const gruGradient = recurrentGradient(['Sigmoid', 'Tanh'], gruCell);
