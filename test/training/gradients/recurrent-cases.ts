import { float, type RuleCase } from './rule-case.ts';
import type { CheckedInput } from './check-gradient.ts';

const [STEPS, BATCH, INPUT, HIDDEN] = [4, 2, 3, 5];

interface Options {
  readonly name: string;
  readonly direction?: 'forward' | 'reverse' | 'bidirectional';
  readonly attributes?: Readonly<Record<string, number>>;
  /** Whether the initial states and the biases are given. */
  readonly isBare?: boolean;
  /** Outputs of the loss: 0 the sequence, 1 the last state, 2 the last cell. */
  readonly outputs: readonly number[];
  readonly steps?: number;
}

/** Small weights: saturated gates have no gradient to speak of. */
const small = (shape: readonly number[]): CheckedInput => float(shape, (random) => 0.5 * random.normal());

function recurrent(op: 'RNN' | 'GRU' | 'LSTM', options: Options): RuleCase {
  const { name, direction = 'forward', attributes = {}, isBare = false, outputs, steps = STEPS } = options;
  const gates = { RNN: 1, GRU: 3, LSTM: 4 }[op];
  const directions = direction === 'bidirectional' ? 2 : 1;
  const state = small([directions, BATCH, HIDDEN]);
  const weights = [small([directions, gates * HIDDEN, INPUT]), small([directions, gates * HIDDEN, HIDDEN])];
  const states = op === 'LSTM' ? [state, state] : [state];
  const given = isBare ? weights : [...weights, small([directions, 2 * gates * HIDDEN]), ...states];
  return {
    op: `:${op}`,
    name,
    inputs: [float([steps, BATCH, INPUT]), ...given],
    build: (b, [x = '', w = '', r = '', bias = '', ...start]) => {
      const inputs = isBare ? [x, w, r] : [x, w, r, bias, '', ...start];
      const all = b.ops(op, inputs, op === 'LSTM' ? 3 : 2, {
        attributes: { hidden_size: HIDDEN, direction, ...attributes },
      });
      return outputs.map((index) => all[index] ?? '');
    },
  };
}

/** RNN, GRU and LSTM in all directions; losses on the sequence, on the last states, on all of them. */
export const RECURRENT_CASES: readonly RuleCase[] = [
  recurrent('RNN', { name: 'forward', outputs: [0, 1] }),
  recurrent('RNN', { name: 'two directions, no bias', direction: 'bidirectional', isBare: true, outputs: [0] }),
  recurrent('LSTM', { name: 'forward', outputs: [0, 1, 2] }),
  recurrent('LSTM', { name: 'last state only', outputs: [1] }),
  recurrent('LSTM', { name: 'reverse, no bias', direction: 'reverse', isBare: true, outputs: [0] }),
  recurrent('LSTM', { name: 'two directions', direction: 'bidirectional', outputs: [0, 2] }),
  recurrent('LSTM', { name: 'one step', outputs: [0], steps: 1 }),
  recurrent('GRU', { name: 'forward', outputs: [0, 1] }),
  recurrent('GRU', { name: 'linear before reset', attributes: { linear_before_reset: 1 }, outputs: [0] }),
  recurrent('GRU', { name: 'two directions, no bias', direction: 'bidirectional', isBare: true, outputs: [0, 1] }),
  recurrent('GRU', {
    name: 'two directions, linear before reset',
    direction: 'bidirectional',
    attributes: { linear_before_reset: 1 },
    outputs: [1],
  }),
];
