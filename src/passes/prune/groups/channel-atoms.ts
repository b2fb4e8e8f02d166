/**
 * Channels that stand or fall together, as a union-find. An atom is one position of one axis at first; rules unite atoms
 * that can only be removed together, and freeze those that cannot be removed at all. Near-linear in the number of positions.
 */
export class ChannelAtoms {
  #parents = new Int32Array(1024);
  /** Index into `#reasons` by root; 0 when the atom may be removed. */
  #frozen = new Int32Array(1024);
  readonly #reasons: string[] = [''];
  readonly #reasonIndex = new Map<string, number>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** `count` new atoms, each on its own. */
  fresh(count: number): Int32Array {
    const from = this.#count;
    this.#count += count;
    if (this.#count > this.#parents.length) {
      const size = Math.max(this.#count, this.#parents.length * 2);
      this.#parents = grown(this.#parents, size);
      this.#frozen = grown(this.#frozen, size);
    }
    const atoms = new Int32Array(count);
    for (let i = 0; i < count; i += 1) {
      atoms[i] = from + i;
      this.#parents[from + i] = from + i;
    }
    return atoms;
  }

  root(atom: number): number {
    const parents = this.#parents;
    let at = atom;
    for (;;) {
      const parent = parents[at] ?? at;
      if (parent === at) return at;
      // Path halving keeps the trees flat.
      const next = parents[parent] ?? parent;
      parents[at] = next;
      at = next;
    }
  }

  /** The older root stays, so that the result does not depend on the shape of the trees. */
  unite(a: number, b: number): void {
    const [x, y] = [this.root(a), this.root(b)];
    if (x === y) return;
    const [kept, gone] = x < y ? [x, y] : [y, x];
    this.#parents[gone] = kept;
    if (this.#frozen[kept] === 0) this.#frozen[kept] = this.#frozen[gone] ?? 0;
  }

  freeze(atom: number, reason: string): void {
    const root = this.root(atom);
    if (this.#frozen[root] !== 0) return;
    let index = this.#reasonIndex.get(reason);
    if (index === undefined) {
      index = this.#reasons.length;
      this.#reasons.push(reason);
      this.#reasonIndex.set(reason, index);
    }
    this.#frozen[root] = index;
  }

  /** Why the atom must stay; undefined when it may be removed. */
  frozenReason(atom: number): string | undefined {
    const index = this.#frozen[this.root(atom)] ?? 0;
    return index === 0 ? undefined : this.#reasons[index];
  }
}

function grown(array: Int32Array<ArrayBuffer>, size: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(size);
  larger.set(array);
  return larger;
}
