import type { ChannelAtoms } from './channel-atoms.ts';

/**
 * One axis of one value: the atom at each position, or fixed, which is an axis that cannot lose positions and need not be
 * followed. Values that have the same channels share the same `atoms` array.
 */
export type Axis =
  { readonly kind: 'channels'; readonly atoms: Int32Array } | { readonly kind: 'fixed'; readonly reason: string };

export type Axes = readonly Axis[];

/** An axis of size 1 is not followed: it broadcasts, and nothing can be taken out of it. It freezes nobody. */
export const SINGLE: Axis = { kind: 'fixed', reason: 'it has one position only' };

export function fixedAxis(reason: string): Axis {
  return { kind: 'fixed', reason };
}

export function channelsAxis(atoms: Int32Array): Axis {
  return atoms.length === 1 ? SINGLE : { kind: 'channels', atoms };
}

export function freezeAxis(axis: Axis | undefined, reason: string, atoms: ChannelAtoms): void {
  if (axis?.kind !== 'channels') return;
  for (const atom of axis.atoms) atoms.freeze(atom, reason);
}

/** The axis position by position, for concatenations: a fixed one becomes frozen atoms. */
export function positionsOf(axis: Axis, size: number, atoms: ChannelAtoms): Int32Array {
  if (axis.kind === 'channels') return axis.atoms;
  const fresh = atoms.fresh(size);
  for (const atom of fresh) atoms.freeze(atom, axis.reason);
  return fresh;
}

/** Makes the positions of both axes stand and fall together, one by one. Sizes are equal where both have channels. */
export function coupleAxes(a: Axis, b: Axis, atoms: ChannelAtoms): Axis {
  if (a.kind === 'fixed') {
    freezeAxis(b, a.reason, atoms);
    return a;
  }
  if (b.kind === 'fixed') {
    freezeAxis(a, b.reason, atoms);
    return b;
  }
  if (a.atoms === b.atoms) return a;
  if (a.atoms.length !== b.atoms.length) {
    const reason = `sizes ${a.atoms.length} and ${b.atoms.length} meet where equal ones are expected`;
    freezeAxis(a, reason, atoms);
    freezeAxis(b, reason, atoms);
    return fixedAxis(reason);
  }
  const count = a.atoms.length;
  for (let i = 0; i < count; i += 1) atoms.unite(a.atoms[i] ?? 0, b.atoms[i] ?? 0);
  return a;
}

/** [a, b] -> [a, a, b, b] for 2 times. */
export function repeatEach(axis: Axis, times: number): Axis {
  if (axis.kind === 'fixed' || times === 1) return axis;
  const result = new Int32Array(axis.atoms.length * times);
  for (let i = 0; i < result.length; i += 1) result[i] = axis.atoms[Math.floor(i / times)] ?? 0;
  return { kind: 'channels', atoms: result };
}

/** [a, b] -> [a, b, a, b] for 2 times. */
export function repeatAll(axis: Axis, times: number): Axis {
  if (axis.kind === 'fixed' || times === 1) return axis;
  const { length } = axis.atoms;
  const result = new Int32Array(length * times);
  for (let i = 0; i < times; i += 1) result.set(axis.atoms, i * length);
  return { kind: 'channels', atoms: result };
}

/** Every `step`-th position from `from` on, `count` of them. */
export function pick(axis: Axis, { from, count, step = 1 }: { from: number; count: number; step?: number }): Axis {
  if (axis.kind === 'fixed') return axis;
  const result = new Int32Array(count);
  for (let i = 0; i < count; i += 1) result[i] = axis.atoms[from + i * step] ?? 0;
  return channelsAxis(result);
}
