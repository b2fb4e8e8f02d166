import type { Dimension, Shape } from '../value-type.ts';
import { InferenceConflict, broadcastShapes, showShape, tensor, type InferRule } from './rule.ts';

const ELLIPSIS = '...';

/** Einsum: letters name axes, `...` the broadcast rest; without `->`, the letters that occur once, sorted. */
export const einsum: InferRule = (context) => {
  const equation = context.node.string('equation', '').replaceAll(' ', '');
  const [left = '', right] = equation.split('->');
  const terms = left.split(',');
  if (terms.length !== context.inputCount) {
    throw new InferenceConflict(`equation has ${terms.length} terms for ${context.inputCount} inputs`);
  }
  const sizes = new Map<string, Dimension>();
  const counts = new Map<string, number>();
  const rests: Shape[] = [];
  for (const [index, term] of terms.entries()) {
    const shape = context.shape(index);
    const labels = labelsOf(term);
    for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
    if (shape === undefined) {
      if (labels.includes(ELLIPSIS)) return [tensor(context.elementType(0), undefined)];
      for (const label of labels) if (!sizes.has(label)) sizes.set(label, null);
      continue;
    }
    const restRank = shape.length - labels.filter((label) => label !== ELLIPSIS).length;
    if (restRank < 0 || (restRank > 0 && !labels.includes(ELLIPSIS))) {
      throw new InferenceConflict(`term "${term}" does not fit ${showShape(shape)}`);
    }
    let axis = 0;
    for (const label of labels) {
      if (label === ELLIPSIS) {
        rests.push(shape.slice(axis, axis + restRank));
        axis += restRank;
        continue;
      }
      const size = shape[axis++] ?? null;
      const before = sizes.get(label);
      const merged = before === undefined || before === null ? size : context.symbols.broadcast(before, size);
      if (merged === undefined) throw new InferenceConflict(`"${label}" is ${before ?? '?'} and ${size ?? '?'}`);
      sizes.set(label, merged ?? before ?? null);
    }
  }
  const once = [...counts].filter(([label, count]) => count === 1 && label !== ELLIPSIS).map(([label]) => label);
  const output = right === undefined ? [...(counts.has(ELLIPSIS) ? [ELLIPSIS] : []), ...once.sort()] : labelsOf(right);
  const rest = broadcastShapes(context.symbols, rests) ?? [];
  const shape = output.flatMap((label): Dimension[] => (label === ELLIPSIS ? [...rest] : [sizes.get(label) ?? null]));
  return [tensor(context.elementType(0), shape)];
};

function labelsOf(term: string): string[] {
  const labels: string[] = [];
  for (let at = 0; at < term.length; at += 1) {
    if (term.startsWith(ELLIPSIS, at)) {
      labels.push(ELLIPSIS);
      at += 2;
    } else labels.push(term.charAt(at));
  }
  return labels;
}
