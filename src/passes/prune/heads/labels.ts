import type { Sizes } from '../removal/concrete-types.ts';

/**
 * Which unit (head, hidden feature) each position of one axis of a value belongs to: 0 and up, or -1 for none. Removing units
 * takes their positions out of the axis.
 */
export interface Mark {
  readonly axis: number;
  readonly labels: Int32Array;
}

/** Units that cannot be told apart along an axis and must go together: the class of each. */
export class Merged {
  readonly classes: Int32Array;

  constructor(classes: Int32Array) {
    this.classes = classes;
  }
}

const MAX_BLOCK = 2 ** 24;

/**
 * Where the marked axis is after a Reshape, Flatten, Squeeze or Unsqueeze. When an axis of the result takes positions of
 * several units at each index (grouped-query attention: query heads by key head), those units are merged.
 *
 * @returns undefined when no axis of the result tells units apart
 */
export function reshapeMark(from: Sizes, mark: Mark, to: Sizes): Mark | Merged | undefined {
  const block = blockAround(from, mark.axis, to);
  if (block === undefined || block.size > MAX_BLOCK) return undefined;
  const inner = product(from.slice(mark.axis + 1, block.fromEnd));
  const size = from[mark.axis] ?? 1;
  let merged: Merged | undefined;
  let most = 1;
  for (let axis = block.toStart; axis < block.toEnd; axis += 1) {
    const width = to[axis] ?? 1;
    if (width < 2) continue;
    const after = product(to.slice(axis + 1, block.toEnd));
    const labels = new Int32Array(width).fill(NONE_YET);
    let isFunction = true;
    const groups = new UnionFind(mark.labels);
    for (let p = 0; p < block.size; p += 1) {
      const label = mark.labels[Math.floor(p / inner) % size] ?? -1;
      const at = Math.floor(p / after) % width;
      const known = labels[at] ?? NONE_YET;
      if (known === NONE_YET) labels[at] = label;
      else if (known !== label) {
        isFunction = false;
        if (!groups.join(known, label)) break;
      }
    }
    if (isFunction) return { axis, labels };
    const classes = groups.classes();
    if (classes !== undefined && classes.count > most) {
      most = classes.count;
      merged = new Merged(classes.of);
    }
  }
  return merged;
}

const NONE_YET = -2;

/** The shortest runs of axes with equal products on both sides, the marked axis among them. */
function blockAround(
  from: Sizes,
  axis: number,
  to: Sizes,
): { readonly fromEnd: number; readonly toStart: number; readonly toEnd: number; readonly size: number } | undefined {
  let [i, j] = [0, 0];
  while (i < from.length) {
    const toStart = j;
    let [left, right] = [from[i] ?? 1, to[j] ?? 1];
    i += 1;
    j += 1;
    while (left !== right) {
      if (left < right && i < from.length) left *= from[i++] ?? 1;
      else if (right < left && j < to.length) right *= to[j++] ?? 1;
      else return undefined;
    }
    // Axes of size 1 belong to the block before them.
    while (i < from.length && from[i] === 1) i += 1;
    while (j < to.length && to[j] === 1) j += 1;
    if (axis < i) return { fromEnd: i, toStart, toEnd: Math.min(j, to.length), size: left };
  }
  return undefined;
}

function product(sizes: Sizes): number {
  return sizes.reduce((total, size) => total * size, 1);
}

class UnionFind {
  readonly #parent: Int32Array;
  #isPossible = true;

  constructor(labels: Int32Array) {
    this.#parent = Int32Array.from({ length: unitCount(labels) }, (_, unit) => unit);
  }

  /** False when one of them is no unit: positions that stay are mixed with such that may go. */
  join(a: number, b: number): boolean {
    if (a < 0 || b < 0) this.#isPossible = false;
    else this.#parent[this.#root(Math.max(a, b))] = this.#root(Math.min(a, b));
    return this.#isPossible;
  }

  classes(): { readonly of: Int32Array; readonly count: number } | undefined {
    if (!this.#isPossible) return undefined;
    const numbers = new Map<number, number>();
    const of = this.#parent.map((_, unit) => {
      const root = this.#root(unit);
      const known = numbers.get(root) ?? numbers.size;
      numbers.set(root, known);
      return known;
    });
    return { of, count: numbers.size };
  }

  #root(unit: number): number {
    let root = unit;
    for (let up = this.#parent[root] ?? root; up !== root; up = this.#parent[root] ?? root) root = up;
    return root;
  }
}

/** One more than the largest label. */
export function unitCount(labels: Int32Array): number {
  return labels.reduce((most, label) => Math.max(most, label), -1) + 1;
}

/** Both, where they agree or one has no unit; undefined where they contradict each other. */
export function unite(a: Int32Array, b: Int32Array): Int32Array | undefined {
  const both = a.map((label, at) => (label < 0 ? (b[at] ?? -1) : label));
  return a.length === b.length && both.every((label, at) => (b[at] ?? -1) < 0 || label === b[at]) ? both : undefined;
}
