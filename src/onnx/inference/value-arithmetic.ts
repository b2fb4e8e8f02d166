import { DATA_TYPES, isFloatType, type DataType } from '../data-type.ts';
import type { Dimension, Shape } from '../value-type.ts';
import type { SymbolTable } from './symbol-table.ts';
import { MAX_TRACKED_ELEMENTS } from './rule.ts';

/** Arithmetic on tracked elements: numbers, symbols (integers by construction) and null for unknown. */
export type BinaryOperation = (a: Dimension, b: Dimension, symbols: SymbolTable, type: DataType) => Dimension;
export type UnaryOperation = (a: Dimension, type: DataType) => Dimension;

export const binaryOperations = {
  add: (a, b, symbols, type) => onNumbers(a, b, (x, y) => round(x + y, type)) ?? symbols.add(a, b),
  subtract: (a, b, symbols, type) => onNumbers(a, b, (x, y) => round(x - y, type)) ?? symbols.subtract(a, b),
  multiply: (a, b, symbols, type) => onNumbers(a, b, (x, y) => round(x * y, type)) ?? symbols.multiply(a, b),
  divide: (a, b, symbols, type) => {
    if (a === null || b === null || b === 0) return null;
    if (typeof a === 'number' && typeof b === 'number') {
      return round(isFloatType(type) ? a / b : Math.trunc(a / b), type);
    }
    if (a === b) return 1;
    // A symbol is a size, never negative: truncation and floor agree.
    return typeof b === 'number' && !isFloatType(type) ? symbols.floorDivide(a, b) : null;
  },
  modulo: (a, b, _symbols, type) => {
    // Python's sign rule; fmod only matters for floats, which are not followed.
    if (b === 0 || isFloatType(type)) return null;
    return onNumbers(a, b, (x, y) => ((x % y) + y) % y) ?? null;
  },
  min: (a, b, symbols) => symbols.min(a, b),
  max: (a, b, symbols) => symbols.max(a, b),
  equal: (a, b) => (a !== null && a === b ? 1 : (onNumbers(a, b, () => 0) ?? null)),
  less: (a, b) => onNumbers(a, b, (x, y) => Number(x < y)) ?? null,
  lessOrEqual: (a, b) => onNumbers(a, b, (x, y) => Number(x <= y)) ?? null,
  greater: (a, b) => onNumbers(a, b, (x, y) => Number(x > y)) ?? null,
  greaterOrEqual: (a, b) => onNumbers(a, b, (x, y) => Number(x >= y)) ?? null,
  and: (a, b) => (a === 0 || b === 0 ? 0 : (onNumbers(a, b, () => 1) ?? null)),
  or: (a, b) => (isTrue(a) || isTrue(b) ? 1 : (onNumbers(a, b, () => 0) ?? null)),
} satisfies Record<string, BinaryOperation>;

export const unaryOperations = {
  negate: (a, type) => (typeof a === 'number' ? round(0 - a, type) : null),
  absolute: (a) => (typeof a === 'number' ? Math.abs(a) : a),
  // Symbols are whole numbers, also after a cast to float.
  floor: (a) => (typeof a === 'number' ? Math.floor(a) : a),
  ceil: (a) => (typeof a === 'number' ? Math.ceil(a) : a),
  not: (a) => (typeof a === 'number' ? Number(a === 0) : null),
  squareRoot: (a, type) => (typeof a === 'number' ? round(Math.sqrt(a), type) : null),
} satisfies Record<string, UnaryOperation>;

/** The element as it is after Cast to `type`. */
export function convertElement(value: Dimension, type: DataType): Dimension {
  if (typeof value !== 'number') return type === 'bool' ? null : value;
  if (type === 'bool') return Number(value !== 0);
  if (type === 'string') return null;
  return isFloatType(type) ? round(value, type) : round(Math.trunc(value), type);
}

/** Elements of `shape` broadcast to `target`; undefined when a size is not fixed or there are too many. */
export function expandElements(
  values: readonly Dimension[] | undefined,
  shape: Shape | undefined,
  target: Shape | undefined,
): readonly Dimension[] | undefined {
  if (values === undefined || shape === undefined || target === undefined) return undefined;
  const from = fixedDims(shape);
  const to = fixedDims(target);
  if (from === undefined || to === undefined) return undefined;
  const count = to.reduce((product, size) => product * size, 1);
  if (count > MAX_TRACKED_ELEMENTS) return undefined;
  if (count === values.length) return values;
  const result: Dimension[] = [];
  for (let flat = 0; flat < count; flat += 1) {
    let rest = flat;
    let source = 0;
    let stride = 1;
    for (let axis = to.length - 1; axis >= 0; axis -= 1) {
      const size = to[axis] ?? 1;
      const index = rest % size;
      rest = (rest - index) / size;
      const own = from[axis - (to.length - from.length)] ?? 1;
      if (own > 1) source += index * stride;
      stride *= own;
    }
    result.push(values[source] ?? null);
  }
  return result;
}

/** The sizes when each is a number. */
export function fixedDims(shape: Shape | undefined): readonly number[] | undefined {
  return shape?.every((dim) => typeof dim === 'number') === true ? shape : undefined;
}

/** `value` in the precision of `type`; null when an integer type cannot hold it exactly here. */
function round(value: number, type: DataType): number | null {
  if (Number.isNaN(value)) return null;
  if (type === 'float') return Math.fround(value);
  if (isFloatType(type)) return type === 'double' ? value : null;
  if (type === 'int64' || type === 'uint64') {
    return Number.isSafeInteger(value) || !Number.isFinite(value) ? value : null;
  }
  const bits = DATA_TYPES[type].bits;
  const [low, high] = type.startsWith('u') ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
  return value >= low && value <= high ? value : null;
}

/** The result on two numbers; undefined when one of them is a symbol or unknown. */
function onNumbers(a: Dimension, b: Dimension, of: (x: number, y: number) => number | null): Dimension | undefined {
  return typeof a === 'number' && typeof b === 'number' ? of(a, b) : undefined;
}

function isTrue(value: Dimension): boolean {
  return typeof value === 'number' && value !== 0;
}
