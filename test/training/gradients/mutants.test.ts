import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { GradientBuilder } from '../../../src/training/gradients/gradient-builder.ts';
import type { GradientRule } from '../../../src/training/gradients/gradient-rule.ts';
import { GRADIENT_RULES } from '../../../src/training/gradients/rules.ts';
import { awayFromZero, checkGradient, type CheckedInput } from './check-gradient.ts';

/** A deliberately wrong rule, and the smallest case that must show it. */
interface Mutant {
  readonly op: string;
  readonly what: string;
  readonly rule: GradientRule;
  readonly inputs: readonly CheckedInput[];
}

const scaledBy =
  (key: string, factor: number, index = 0): GradientRule =>
  (node, b: GradientBuilder) =>
    (GRADIENT_RULES.get(key)?.(node, b) ?? []).map((gradient, at) =>
      gradient === undefined || at !== index ? gradient : b.scale(gradient, factor),
    );

const MUTANTS: readonly Mutant[] = [
  {
    op: 'Relu',
    what: 'passes everything',
    rule: (node) => [node.gradient()],
    inputs: [{ shape: [4, 5], draw: awayFromZero(0.1) }],
  },
  {
    op: 'Tanh',
    what: '1 - Y instead of 1 - Y^2',
    rule: (node, b) => [b.mul(node.gradient(), b.sub(b.scalar(1, node.output()), node.output()))],
    inputs: [{ shape: [3, 4] }],
  },
  {
    op: 'Sub',
    what: 'dB without its sign',
    rule: scaledBy(':Sub', -1, 1),
    inputs: [{ shape: [3, 4] }, { shape: [4] }],
  },
  { op: 'Exp', what: 'one percent too much', rule: scaledBy(':Exp', 1.01), inputs: [{ shape: [3] }] },
  {
    op: 'Softmax',
    what: 'forgets the sum',
    rule: (node, b) => [b.mul(node.gradient(), node.output())],
    inputs: [{ shape: [3, 5] }],
  },
  {
    op: 'Div',
    what: 'dB = -dY / B',
    rule: (node, b) => [b.div(node.gradient(), node.input(1)), b.op('Neg', [b.div(node.gradient(), node.input(1))])],
    inputs: [{ shape: [3, 4] }, { shape: [3, 4], draw: (random) => 1 + random.uniform() }],
  },
  {
    op: 'MatMul',
    what: 'dB of the transposed product',
    rule: (node, b) => [
      b.matMul(node.gradient(), node.input(1), { b: true }),
      b.matMul(node.gradient(), node.input(0), { a: true }),
    ],
    inputs: [{ shape: [3, 3] }, { shape: [3, 3] }],
  },
];

describe('the gradient check catches wrong rules', () => {
  for (const { op, what, rule, inputs } of MUTANTS) {
    it(`${op}: ${what}`, async () => {
      const { maxRelativeError } = await checkGradient({
        inputs,
        seed: 3,
        rules: new Map([...GRADIENT_RULES, [`:${op}`, rule]]),
        build: (b, x) => [b.op(op, x)],
      });
      // The checks of the true rules allow 3e-3; every mutant has to be beyond it.
      assert.ok(maxRelativeError > 3e-3, `error ${maxRelativeError}`);
    });
  }
});
