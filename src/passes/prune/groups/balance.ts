import type { ChannelAtoms } from './channel-atoms.ts';

/** An axis whose equal parts, one a group of a grouped convolution, must all lose as many positions. */
export interface Balance {
  /** Positions of all parts, one part after the other. */
  readonly atoms: Int32Array;
  readonly parts: number;
  /** Why what cannot be balanced stays. */
  readonly reason: string;
}

/** Channels with the same number of positions in each part. */
interface Kind {
  /** The parts they lie in, and how many positions in each. */
  readonly parts: Int32Array;
  readonly counts: Int32Array;
  readonly roots: number[];
  /** How many of `roots` are in a bundle. */
  used: number;
}

/**
 * Bundles channels so that whichever bundle goes, every part of every balanced axis loses as many: channels of different
 * parts are united, in order, into the smallest bundles that a greedy choice finds (the first of each part, the second of
 * each, where no other layer says otherwise). What frozen channels leave without a counterpart is frozen too.
 */
export function balanceChannels(balances: readonly Balance[], atoms: ChannelAtoms): void {
  // Bundles of one axis can be uneven in another; there are fewer free channels each time.
  for (let isSettled = false; !isSettled;) {
    isSettled = true;
    for (const balance of balances) if (bundle(balance, atoms)) isSettled = false;
  }
}

/** @returns whether anything was united or frozen */
function bundle(balance: Balance, atoms: ChannelAtoms): boolean {
  const kinds = unevenKinds(balance, atoms);
  if (kinds.length === 0) return false;
  const sums = new Int32Array(balance.parts);
  for (let first = takeFirst(kinds); first !== undefined; first = takeFirst(kinds)) {
    sums.fill(0);
    add(sums, first.kind);
    const roots = [first.root];
    while (!isEven(sums)) {
      const next = takeBest(kinds, sums);
      if (next === undefined) {
        for (const root of roots) atoms.freeze(root, balance.reason);
        return true;
      }
      add(sums, next.kind);
      roots.push(next.root);
    }
    for (const root of roots) atoms.unite(first.root, root);
  }
  return true;
}

/** Channels that would leave the parts uneven if they went alone, by kind, in order of first position. */
function unevenKinds({ atoms: positions, parts }: Balance, atoms: ChannelAtoms): Kind[] {
  const size = positions.length / parts;
  const countsOf = new Map<number, Map<number, number>>();
  for (let i = 0; i < positions.length; i += 1) {
    const root = atoms.root(positions[i] ?? 0);
    const counts = countsOf.get(root) ?? new Map<number, number>();
    countsOf.set(root, counts);
    const part = Math.floor(i / size);
    counts.set(part, (counts.get(part) ?? 0) + 1);
  }
  const kinds = new Map<string, Kind>();
  for (const [root, counts] of countsOf) {
    const [own] = counts.values();
    const isAlike = counts.size === parts && [...counts.values()].every((count) => count === own);
    if (isAlike || atoms.frozenReason(root) !== undefined) continue;
    const key = [...counts].join(' ');
    const known = kinds.get(key);
    if (known !== undefined) known.roots.push(root);
    else
      kinds.set(key, {
        parts: Int32Array.from(counts.keys()),
        counts: Int32Array.from(counts.values()),
        roots: [root],
        used: 0,
      });
  }
  return [...kinds.values()];
}

interface Taken {
  readonly kind: Kind;
  readonly root: number;
}

function take(kind: Kind | undefined): Taken | undefined {
  const root = kind?.roots[kind.used];
  if (kind === undefined || root === undefined) return undefined;
  kind.used += 1;
  return { kind, root };
}

function takeFirst(kinds: readonly Kind[]): Taken | undefined {
  return take(kinds.find(({ used, roots }) => used < roots.length));
}

/** The kind that brings the sums nearest to each other, by their variance; the first of equal ones. */
function takeBest(kinds: readonly Kind[], sums: Int32Array): Taken | undefined {
  let total = 0;
  for (const sum of sums) total += sum;
  let best: Kind | undefined;
  let least = Infinity;
  for (const kind of kinds) {
    if (kind.used === kind.roots.length) continue;
    const { parts, counts } = kind;
    // n Σ (s + c)² - (Σ s + c)², without what is the same for all.
    let [squares, added] = [0, 0];
    for (let i = 0; i < parts.length; i += 1) {
      const count = counts[i] ?? 0;
      squares += count * (count + 2 * (sums[parts[i] ?? 0] ?? 0));
      added += count;
    }
    const variance = sums.length * squares - added * (added + 2 * total);
    if (variance >= least) continue;
    least = variance;
    best = kind;
  }
  return take(best);
}

function add(sums: Int32Array, { parts, counts }: Kind): void {
  for (let i = 0; i < parts.length; i += 1) {
    const part = parts[i] ?? 0;
    sums[part] = (sums[part] ?? 0) + (counts[i] ?? 0);
  }
}

function isEven(sums: Int32Array): boolean {
  return sums.every((sum) => sum === sums[0]);
}
