import { canonicalJson } from '../canonical-json.ts';
import type { SeededRandom } from '../data/seeded-random.ts';
import { CompressionError } from '../errors.ts';

export type JsonValue =
  string | number | boolean | null | readonly JsonValue[] | { readonly [name: string]: JsonValue };

/** One of a list. Numbers alone are ordered by size, whatever the order they are given in; all else has no order. */
export interface ChoiceDimension {
  readonly name: string;
  readonly type: 'choice';
  /** At least one; no two alike. */
  readonly values: readonly JsonValue[];
}

/** min, min + step, ... up to max. */
export interface IntegerDimension {
  readonly name: string;
  readonly type: 'integer';
  readonly min: number;
  readonly max: number;
  /** 1 unless given. */
  readonly step?: number;
}

/** [min, max], searched evenly in the value or, with `log`, in its logarithm. */
export interface RealDimension {
  readonly name: string;
  readonly type: 'real';
  readonly min: number;
  readonly max: number;
  /** Needs min > 0. */
  readonly log?: boolean;
}

/** Counts only where another dimension, a choice, has this value; elsewhere its own value says nothing. */
export interface Condition {
  readonly dimension: string;
  readonly value: JsonValue;
}

export type Dimension = (ChoiceDimension | IntegerDimension | RealDimension) & { readonly when?: Condition };

/** A value for each dimension, by name. */
export type Point = Readonly<Record<string, JsonValue>>;

/** A point as numbers, one a dimension: the index of its value (0 ..), or where it lies in the range of a real (0 .. 1). */
export type Coordinates = readonly number[];

interface Axis {
  readonly dimension: Dimension;
  /** Infinity for a real. */
  readonly count: number;
  readonly ordered: boolean;
  readonly valueAt: (coordinate: number) => JsonValue;
  /** undefined when the value is none of the dimension's. */
  readonly coordinateOf: (value: JsonValue | undefined) => number | undefined;
}

/** What a search chooses among: an ordered list of named dimensions, independent of each other but for conditions on one choice. */
export class SearchSpace {
  readonly dimensions: readonly Dimension[];
  /** Number of points that differ in what counts; Infinity when a dimension is real. */
  readonly size: number;
  readonly #axes: readonly Axis[];

  /** By dimension: the dimension that it depends on, and the coordinate that this has to have. */
  readonly #conditions: readonly ({ readonly on: number; readonly at: number } | undefined)[];

  /** @throws CompressionError RECIPE_INVALID when a dimension is empty, is no range, has the name of another, or a condition that cannot be */
  constructor(dimensions: readonly Dimension[]) {
    if (dimensions.length === 0) throw invalid('a search space needs at least one dimension, got none');
    const names = new Set<string>();
    for (const { name } of dimensions) {
      if (names.has(name)) throw invalid(`dimension "${name}" is given twice; give each dimension a name of its own`);
      names.add(name);
    }
    this.dimensions = dimensions;
    this.#axes = dimensions.map(axisOf);
    this.#conditions = dimensions.map(({ name, when }) => {
      if (when === undefined) return undefined;
      const on = dimensions.findIndex((other) => other.name === when.dimension);
      const at = this.#axes[on]?.coordinateOf(when.value);
      if (at === undefined || dimensions[on]?.when !== undefined)
        throw invalid(`dimension "${name}" depends on ${canonicalJson(when)}, which the space has not`);
      return { on, at };
    });
    const ons = new Set(this.#conditions.flatMap((condition) => (condition === undefined ? [] : [condition.on])));
    if (ons.size > 1) throw invalid('dimensions may depend on one choice only');
    this.size = this.#countPoints([...ons][0]);
  }

  /** @param on - the dimension that others depend on, if any */
  #countPoints(on: number | undefined): number {
    const product = (isCounted: (d: number) => boolean): number =>
      this.#axes.reduce((size, { count }, d) => (isCounted(d) ? size * count : size), 1);
    if (on === undefined) return product(() => true);
    let size = 0;
    for (let at = 0; at < this.count(on); at += 1) {
      size += product((d) => d !== on && (this.#conditions[d]?.at ?? at) === at);
    }
    return size;
  }

  /** Whether other dimensions depend on dimension `d`. */
  isCondition(d: number): boolean {
    return this.#conditions.some((condition) => condition?.on === d);
  }

  /** Whether dimension `d` counts at a point. */
  isActive(d: number, coordinates: Coordinates): boolean {
    const condition = this.#conditions[d];
    return condition === undefined || coordinates[condition.on] === condition.at;
  }

  /** The same text for points that differ in nothing that counts. */
  identity(coordinates: Coordinates): string {
    return coordinates.map((coordinate, d) => (this.isActive(d, coordinates) ? coordinate : '')).join();
  }

  /** How many values dimension `d` has; Infinity for a real. */
  count(d: number): number {
    return this.#axes[d]?.count ?? 0;
  }

  /** Whether values of dimension `d` that lie side by side are alike. */
  ordered(d: number): boolean {
    return this.#axes[d]?.ordered ?? false;
  }

  decode(coordinates: Coordinates): Point {
    return Object.fromEntries(
      this.#axes.map(({ dimension, valueAt }, d) => [dimension.name, valueAt(coordinates[d] ?? 0)]),
    );
  }

  /** @throws CompressionError RECIPE_INVALID when a value is missing, is none of its dimension's, or has no dimension */
  encode(point: Point): Coordinates {
    const known = new Set(this.dimensions.map(({ name }) => name));
    const stray = Object.keys(point).find((name) => !known.has(name));
    if (stray !== undefined) throw invalid(`"${stray}" is no dimension; the space has ${[...known].join(', ')}`);
    return this.#axes.map(({ dimension, coordinateOf }) => {
      const value = point[dimension.name];
      const coordinate = coordinateOf(value);
      if (coordinate === undefined)
        throw invalid(
          `dimension "${dimension.name}" has no value ${value === undefined ? '(none given)' : JSON.stringify(value)}`,
        );
      return coordinate;
    });
  }

  /** The same text for the same point, whatever the order of its names: to tell whether it was seen before. */
  key(point: Point): string {
    return canonicalJson(point);
  }

  /** A point drawn evenly. */
  sample(rng: SeededRandom): Coordinates {
    return this.#axes.map(({ count }) => sampleAxis(count, rng));
  }

  /** A coordinate of dimension `d` drawn evenly. */
  sampleDimension(d: number, rng: SeededRandom): number {
    return sampleAxis(this.count(d), rng);
  }
}

function sampleAxis(count: number, rng: SeededRandom): number {
  return count === Infinity ? rng.uniform() : Math.floor(rng.uniform() * count);
}

function axisOf(dimension: Dimension): Axis {
  switch (dimension.type) {
    case 'choice':
      return choiceAxis(dimension);
    case 'integer':
      return integerAxis(dimension);
    case 'real':
      return realAxis(dimension);
  }
}

function choiceAxis(dimension: ChoiceDimension): Axis {
  const { name, values } = dimension;
  if (values.length === 0) throw invalid(`dimension "${name}" has no values; give at least one`);
  const ordered = values.every((value) => typeof value === 'number');
  const listed = ordered ? values.toSorted((a, b) => a - b) : values;
  const indices = new Map(listed.map((value, i) => [canonicalJson(value), i]));
  if (indices.size < listed.length) throw invalid(`dimension "${name}" has a value twice; give each value once`);
  return {
    dimension,
    count: listed.length,
    ordered,
    valueAt: (i) => listed[i] ?? null,
    coordinateOf: (value) => (value === undefined ? undefined : indices.get(canonicalJson(value))),
  };
}

function integerAxis(dimension: IntegerDimension): Axis {
  const { name, min, max, step = 1 } = dimension;
  if (![min, max, step].every(Number.isSafeInteger) || min > max || step < 1)
    throw invalid(
      `dimension "${name}": expected whole numbers with min <= max and step >= 1, got min ${min}, max ${max}, step ${step}`,
    );
  const count = Math.floor((max - min) / step) + 1;
  return {
    dimension,
    count,
    ordered: true,
    valueAt: (i) => min + i * step,
    coordinateOf: (value) => {
      const i = typeof value === 'number' ? (value - min) / step : NaN;
      return Number.isInteger(i) && i >= 0 && i < count ? i : undefined;
    },
  };
}

function realAxis(dimension: RealDimension): Axis {
  const { name, min, max, log = false } = dimension;
  if (!Number.isFinite(min) || !Number.isFinite(max) || min >= max || (log && min <= 0))
    throw invalid(
      `dimension "${name}": expected finite min < max${log ? ', min > 0 for a logarithmic range' : ''}, got min ${min}, max ${max}`,
    );
  const width = log ? Math.log(max / min) : max - min;
  return {
    dimension,
    count: Infinity,
    ordered: true,
    valueAt: (u) => (u === 1 ? max : Math.min(max, Math.max(min, log ? min * Math.exp(u * width) : min + u * width))),
    coordinateOf: (value) => {
      if (typeof value !== 'number' || !(value >= min && value <= max)) return undefined;
      return (log ? Math.log(value / min) : value - min) / width;
    },
  };
}

function invalid(message: string): CompressionError {
  return new CompressionError('RECIPE_INVALID', `search space: ${message}`);
}
