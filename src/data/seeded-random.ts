/** xoshiro128** seeded by splitmix32: the same numbers for the same seed on every machine. */
export class SeededRandom {
  readonly #state: Uint32Array;
  #spare: number | undefined;

  constructor(seed: number) {
    // Seeds reach 2^53: both halves count.
    let word = (seed >>> 0) ^ Math.imul(Math.floor(seed / 2 ** 32) >>> 0, 0x9e3779b1);
    this.#state = Uint32Array.from({ length: 4 }, () => {
      word = (word + 0x9e3779b9) | 0;
      let mixed = word;
      mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      return mixed ^ (mixed >>> 15);
    });
  }

  /** 0 to 2^32 - 1. */
  uint32(): number {
    const [a = 0, b = 0, c = 0, d = 0] = this.#state;
    const product = Math.imul(b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const third = c ^ a;
    const fourth = d ^ b;
    this.#state[1] = b ^ third;
    this.#state[0] = a ^ fourth;
    this.#state[2] = third ^ (b << 9);
    this.#state[3] = (fourth << 11) | (fourth >>> 21);
    return result;
  }

  /** [0, 1), 32 bits. */
  uniform(): number {
    return this.uint32() / 2 ** 32;
  }

  /** Standard normal, by Marsaglia's polar method. */
  normal(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    for (;;) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const square = x * x + y * y;
      if (square >= 1 || square === 0) continue;
      const factor = Math.sqrt((-2 * Math.log(square)) / square);
      this.#spare = y * factor;
      return x * factor;
    }
  }
}
