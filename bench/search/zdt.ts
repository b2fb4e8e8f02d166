import { SearchSpace, type Point } from '../../src/search/space.ts';

/**
 * Test problems of two objectives over 30 reals in [0, 1], with fronts that are known.
 * @see Zitzler, Deb & Thiele, "Comparison of Multiobjective Evolutionary Algorithms: Empirical Results", 2000
 */
export interface ZdtProblem {
  readonly name: string;
  readonly evaluate: (point: Point) => readonly [number, number];
  /** Hypervolume of the true front up to (1.1, 1.1). */
  readonly hypervolume: number;
}

export const ZDT_REFERENCE = [1.1, 1.1] as const;
const DIMENSIONS = 30;

export const zdtSpace = new SearchSpace(
  Array.from({ length: DIMENSIONS }, (_, i) => ({ name: `x${i}`, type: 'real', min: 0, max: 1 })),
);

/** f1 = x0, f2 = g h(f1, g) with g = 1 + 9 mean(x1 .. x29); the front has g = 1. */
function problem(name: string, h: (ratio: number, f1: number) => number, hypervolume: number): ZdtProblem {
  return {
    name,
    hypervolume,
    evaluate(point) {
      const x = zdtSpace.encode(point);
      const [f1 = 0, ...others] = x;
      const g = 1 + (9 * others.reduce((sum, value) => sum + value, 0)) / (DIMENSIONS - 1);
      return [f1, g * h(f1 / g, f1)];
    },
  };
}

export const ZDT: readonly ZdtProblem[] = [
  // Integrals of the front: 0.1 + 2/3 + 0.11, and 0.1 + 1/3 + 0.11.
  problem('ZDT1', (ratio) => 1 - Math.sqrt(ratio), 2 / 3 + 0.21),
  problem('ZDT2', (ratio) => 1 - ratio ** 2, 1 / 3 + 0.21),
  // Five pieces; of 2,000,001 points of f2(f1), by NumPy.
  problem('ZDT3', (ratio, f1) => 1 - Math.sqrt(ratio) - ratio * Math.sin(10 * Math.PI * f1), 1.331762),
];
