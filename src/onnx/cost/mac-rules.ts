import type { Node } from '../node.ts';
import type { Shape } from '../value-type.ts';

/** What a rule sees: shapes by input and output index, as inferred. */
export interface MacInputs {
  readonly node: Node;
  readonly input: (index: number) => Shape | undefined;
  readonly output: (index: number) => Shape | undefined;
}

/**
 * How many multiply-accumulates an operator does, and which inputs are its activation and its weight (for the bit widths).
 * `weightBits` and `activationBits` replace the widths of these inputs where the operator packs or quantizes itself.
 */
export interface MacRule {
  readonly activation: number;
  readonly weight: number;
  /** undefined when a size is not known. */
  readonly macs: (of: MacInputs) => number | undefined;
  readonly weightBits?: (node: Node) => number;
  readonly activationBits?: number;
}

/** N * M * output pixels * (C / group) * kernel pixels. */
function convolution(activation: number, weight: number): MacRule {
  return {
    activation,
    weight,
    macs: ({ input, output }) => times(count(output(0)), count(input(weight)?.slice(1))),
  };
}

/** Elements of the result times K, the last size of the left operand. */
function product(activation: number, weight: number, more: Partial<MacRule> = {}): MacRule {
  return {
    activation,
    weight,
    macs: ({ input, output }) => times(count(output(0)), fixed(input(activation)?.at(-1))),
    ...more,
  };
}

/** M * N * K; K is the size of A that the result does not have. */
function gemm(activation: number, weight: number): MacRule {
  return {
    activation,
    weight,
    macs: ({ node, input, output }) => {
      const k = input(activation)?.at(node.int('transA', 0) === 0 ? -1 : 0);
      return times(count(output(0)), fixed(k));
    },
  };
}

/** seq * batch * directions * gates * hidden * (input + hidden); peepholes, biases and gate products are not counted. */
function recurrent(gates: number): MacRule {
  return {
    activation: 0,
    weight: 1,
    macs: ({ input }) => {
      const [data, recurrence] = [input(0), input(2)];
      const steps = times(fixed(data?.[0]), fixed(data?.[1]));
      const hidden = fixed(recurrence?.[2]);
      const inner = sum(fixed(data?.[2]), hidden);
      return times(
        steps,
        times(fixed(recurrence?.[0]), times(hidden === undefined ? undefined : gates * hidden, inner)),
      );
    },
  };
}

/** Projection to Q, K and V, then scores and weighted sum over the whole sequence (past included). */
const attention = (past: number): MacRule => ({
  activation: 0,
  weight: 1,
  macs: ({ input, output }) => {
    const [data, weight, result] = [input(0), input(1), output(0)];
    const rows = times(fixed(data?.[0]), fixed(data?.[1]));
    const projection = times(rows, count(weight));
    const earlier = past < 0 || input(past) === undefined ? 0 : fixed(input(past)?.[3]);
    const total = sum(fixed(data?.[1]), earlier);
    return sum(projection, times(2, times(rows, times(total, fixed(result?.[2])))));
  },
});

const RULES: Readonly<Record<string, MacRule>> = {
  ':Conv': convolution(0, 1),
  ':ConvInteger': convolution(0, 1),
  ':QLinearConv': convolution(0, 3),
  // Each input pixel meets the whole kernel of each output channel of its group: W is [C, M/group, kernel...].
  ':ConvTranspose': {
    activation: 0,
    weight: 1,
    macs: ({ input }) => times(count(input(0)), count(input(1)?.slice(1))),
  },
  ':MatMul': product(0, 1),
  ':MatMulInteger': product(0, 1),
  ':QLinearMatMul': product(0, 3),
  ':Gemm': gemm(0, 1),
  // The zoo's adder layer subtracts and sums: nothing is multiplied.
  'ai.tersor:Adder2D': { activation: 0, weight: 1, macs: () => 0 },
  ':LSTM': recurrent(4),
  ':GRU': recurrent(3),
  ':RNN': recurrent(1),
  ':Einsum': { activation: 0, weight: 1, macs: einsumMacs },
  'com.microsoft:Attention': attention(4),
  'com.microsoft:DynamicQuantizeMatMul': product(0, 1, { activationBits: 8 }),
  'com.microsoft:FusedConv': convolution(0, 1),
  'com.microsoft:FusedGemm': gemm(0, 1),
  'com.microsoft:FusedMatMul': fusedProduct(),
  'com.microsoft:TransposeMatMul': fusedProduct(),
  'com.microsoft:MatMulInteger16': product(0, 1),
  'com.microsoft:MatMulIntegerToFloat': product(0, 1),
  'com.microsoft:MatMulNBits': product(0, 1, { weightBits: (node) => node.int('bits', 4) }),
  'com.microsoft:MatMulBnb4': product(0, 1, { weightBits: () => 4 }),
  'com.microsoft:QAttention': attention(8),
  'com.microsoft:QGemm': gemm(0, 3),
  'com.microsoft:QLinearConv': convolution(0, 3),
};

/** Operators that multiply and accumulate, but whose count this table does not know: they are reported. */
export const UNCOUNTED = new Set([
  ':Attention',
  ':DeformConv',
  ':DFT',
  ':STFT',
  'com.microsoft:DynamicQuantizeLSTM',
  'com.microsoft:GroupQueryAttention',
  'com.microsoft:MultiHeadAttention',
]);

export function macRuleOf(node: Node): MacRule | undefined {
  return RULES[`${node.domain}:${node.opType}`];
}

function fusedProduct(): MacRule {
  return {
    activation: 0,
    weight: 1,
    macs: ({ node, input, output }) => {
      const left = input(0);
      const k = node.int('transA', 0) !== 0 && left !== undefined && left.length > 1 ? left.at(-2) : left?.at(-1);
      return times(count(output(0)), fixed(k));
    },
  };
}

/** Two operands: the product of all sizes that letters name; with more operands the order of contraction decides. */
function einsumMacs({ node, input }: MacInputs): number | undefined {
  const [left = ''] = node.string('equation', '').replaceAll(' ', '').split('->');
  const terms = left.split(',');
  if (terms.length === 1) return 0;
  if (terms.length > 2 || left.includes('...')) return undefined;
  const sizes = new Map<string, number | undefined>();
  terms.forEach((term, index) =>
    term.split('').forEach((label, axis) => sizes.set(label, fixed(input(index)?.[axis]))),
  );
  return [...sizes.values()].reduce<number | undefined>((total, size) => times(total, size), 1);
}

function count(shape: Shape | undefined): number | undefined {
  return shape?.reduce<number | undefined>((total, size) => times(total, fixed(size)), 1);
}

function fixed(size: Shape[number] | undefined): number | undefined {
  return typeof size === 'number' ? size : undefined;
}

function times(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a * b;
}

function sum(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a + b;
}
