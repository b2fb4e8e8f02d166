import { SeededRandom } from '../data/seeded-random.ts';

export type KMeansInit =
  /** Evenly between the smallest and the largest value: keeps the few large ones, which matter most. */
  | 'linear'
  /** Evenly by number of values. */
  | 'density'
  /** Values drawn from the seed. */
  | 'random';

export interface Clusters {
  /** Centroids in rising order, as float32; none is unused. */
  readonly centroids: Float32Array;
  /** Index of each value's centroid. */
  readonly indices: Uint8Array;
}

export interface KMeansOptions {
  /** 2 to 256. */
  readonly clusters: number;
  readonly init: KMeansInit;
  readonly seed: number;
  /** Zeros keep a centroid of their own that stays exactly 0, and do not pull at the others. */
  readonly pinZero: boolean;
}

const MAX_ITERATIONS = 300;

/**
 * k-means of single numbers (Lloyd). The values are sorted once; an iteration then costs k searches, since clusters are
 * intervals and their sums are differences of running sums. O(n log n + iterations k log n). The same input gives the same bits.
 *
 * @param values - finite
 * @see Lloyd, "Least squares quantization in PCM", 1982; initialization: Han et al., "Deep Compression", ICLR 2016, 3.2
 */
export function kMeans(values: Float32Array, options: KMeansOptions): Clusters {
  const { pinZero } = options;
  const sorted = (pinZero ? values.filter((value) => value !== 0) : Float32Array.from(values)).sort();
  const free = options.clusters - (pinZero ? 1 : 0);
  const found = sorted.length === 0 ? [] : lloyd(sorted, { ...options, clusters: free });
  // A centroid that comes out as 0 would be the pinned one's twin.
  const all = new Set([...found.map(Math.fround).filter((value) => !pinZero || value !== 0), ...(pinZero ? [0] : [])]);
  const centroids = Float32Array.from(all).sort();
  const indices = assign(values, centroids, pinZero);
  return withoutUnused(centroids, indices);
}

function lloyd(sorted: Float32Array, options: KMeansOptions): number[] {
  const distinct = new Set(sorted);
  if (distinct.size <= options.clusters) return [...distinct];
  const sums = new Float64Array(sorted.length + 1);
  for (let i = 0; i < sorted.length; i += 1) sums[i + 1] = (sums[i] ?? 0) + (sorted[i] ?? 0);
  let centroids = initial(sorted, options);
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration += 1) {
    const next: number[] = [];
    let from = 0;
    for (const [k, centroid] of centroids.entries()) {
      const above = centroids[k + 1];
      const to = above === undefined ? sorted.length : lowerBound(sorted, (centroid + above) / 2);
      // An empty cluster keeps its place: a neighbour may leave it values later.
      next.push(to > from ? ((sums[to] ?? 0) - (sums[from] ?? 0)) / (to - from) : centroid);
      from = Math.max(from, to);
    }
    const moved = next.some((value, k) => value !== centroids[k]);
    centroids = next;
    if (!moved) break;
  }
  return centroids;
}

function initial(sorted: Float32Array, { clusters, init, seed }: KMeansOptions): number[] {
  const last = sorted.length - 1;
  const [min, max] = [sorted[0] ?? 0, sorted[last] ?? 0];
  switch (init) {
    case 'linear':
      return Array.from({ length: clusters }, (_, k) => min + ((max - min) * (k + 0.5)) / clusters);
    case 'density':
      return Array.from(
        { length: clusters },
        (_, k) => sorted[Math.floor(((k + 0.5) / clusters) * sorted.length)] ?? 0,
      );
    case 'random': {
      const random = new SeededRandom(seed);
      const chosen = new Set<number>();
      while (chosen.size < clusters) chosen.add(sorted[Math.floor(random.uniform() * sorted.length)] ?? 0);
      return [...chosen].sort((a, b) => a - b);
    }
  }
}

/** The first index whose value is at least `limit`. */
function lowerBound(sorted: Float32Array, limit: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? 0) < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

function assign(values: Float32Array, centroids: Float32Array, pinZero: boolean): Uint8Array {
  const zero = centroids.indexOf(0);
  const indices = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i += 1) {
    const value = values[i] ?? 0;
    let [low, high] = [0, centroids.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value < ((centroids[middle] ?? 0) + (centroids[middle + 1] ?? 0)) / 2) high = middle;
      else low = middle + 1;
    }
    if (pinZero && value !== 0 && low === zero) low = awayFromZero(value, zero, centroids.length);
    indices[i] = pinZero && value === 0 ? zero : low;
  }
  return indices;
}

/** A weight that pruning left alive keeps a value where there is one of its sign. */
function awayFromZero(value: number, zero: number, count: number): number {
  const neighbour = value < 0 ? zero - 1 : zero + 1;
  return neighbour >= 0 && neighbour < count ? neighbour : zero;
}

function withoutUnused(centroids: Float32Array, indices: Uint8Array): Clusters {
  const used = new Uint8Array(centroids.length);
  for (const index of indices) used[index] = 1;
  const places = new Uint8Array(centroids.length);
  let count = 0;
  for (let k = 0; k < centroids.length; k += 1) {
    places[k] = count;
    count += used[k] ?? 0;
  }
  return { centroids: centroids.filter((_, k) => used[k] === 1), indices: indices.map((index) => places[index] ?? 0) };
}
