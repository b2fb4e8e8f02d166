import type { Axis } from '../axis.ts';
import type { ChannelRule } from '../rule.ts';
import { broadcast } from './elementwise.ts';

/** Y = A' B' + C: the contracted axes go together, rows and columns of the result go with those they come from. */
export const gemm: ChannelRule = (of) => {
  const [a, b] = [of.input(0), of.input(1)];
  if (a?.length !== 2 || b?.length !== 2) return 'has an input of unknown rank';
  const [transA, transB] = [of.node.int('transA', 0) !== 0, of.node.int('transB', 0) !== 0];
  of.couple(a[transA ? 0 : 1], b[transB ? 1 : 0]);
  let axes = [a[transA ? 1 : 0], b[transB ? 0 : 1]].map((axis) => axis ?? of.fixed('has no such axis'));
  const [c, shape] = [of.input(2), of.shape(2)];
  if (of.has(2)) {
    if (c === undefined || shape === undefined) return 'has an input of unknown rank';
    axes = axes.map((axis, at) => {
      const from = at - (2 - c.length);
      return c[from] === undefined || shape[from] === 1 ? axis : of.couple(axis, c[from]);
    });
  }
  of.output(0, axes);
  return undefined;
};

/** Numpy matmul: the last axis of A goes with the second last of B; leading axes broadcast. */
export const matMul: ChannelRule = (of) => {
  const [a, b] = [of.input(0), of.input(1)];
  if (a === undefined || b === undefined || a.length < 2 || b.length < 2) return 'has an input of rank below 2';
  of.couple(a.at(-1), b.at(-2));
  const leading = broadcast(of, [0, 1], 2);
  const [row, column] = [a.at(-2), b.at(-1)];
  if (leading === undefined || row === undefined || column === undefined) return 'has an input of unknown rank';
  of.output(0, [...leading, row, column]);
  return undefined;
};

/** Axes of one label go together. */
export const einsum: ChannelRule = (of) => {
  const [left = '', right] = of.node.string('equation', '').replaceAll(' ', '').split('->');
  if (right === undefined || left.includes('.') || /(\w)\w*\1/.test(right)) return 'has an equation without a rule';
  const labels = new Map<string, Axis>();
  for (const [index, term] of left.split(',').entries()) {
    const axes = of.input(index);
    if (axes?.length !== term.length) return 'has an input of unknown rank';
    if (new Set(term).size !== term.length) return 'takes a diagonal';
    for (const [at, label] of Array.from(term).entries()) {
      // Numpy broadcasts a labelled axis of size 1.
      if (of.size(index, at) === 1) continue;
      labels.set(label, of.couple(axes[at], labels.get(label)));
    }
  }
  of.output(
    0,
    Array.from(right).map((label) => labels.get(label) ?? of.fixed('has one position')),
  );
  return undefined;
};
