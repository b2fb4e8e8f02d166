import type { Dimension } from '../value-type.ts';

/** Coefficients by monomial; a monomial is its atoms, sorted and joined by NUL ('' is the constant term). */
type Polynomial = ReadonlyMap<string, number>;

const JOIN = '\u0000';
const MAX_TERMS = 8;
const MAX_NAME_LENGTH = 200;

/**
 * Arithmetic on dimensions that keeps symbols. A sum or product of symbols becomes a derived symbol whose name is its
 * canonical form (`2*h`, `h + w`, `floor((h + 1)/2)`), so equal expressions have equal names, whatever the way they were
 * made. null is unknown and makes every result unknown. Sizes are assumed to be at least 1, as ONNX exporters do.
 */
export class SymbolTable {
  readonly #polynomials = new Map<string, Polynomial>();
  readonly #taken = new Set<string>();
  /** Operands of the atoms `min(…)`, `max(…)`, `broadcast(…)`, so that nested ones become one. */
  readonly #operands = new Map<string, { readonly operator: string; readonly sizes: readonly (number | string)[] }>();
  /** What the atoms `floor(…/n)` divide, so that nested ones become one. */
  readonly #quotients = new Map<string, { readonly numerator: Polynomial; readonly divisor: number }>();

  readonly #fresh = new Set<string>();

  /** Reserves a name that the model uses, so that `fresh` never gives it away. */
  reserve(name: string): void {
    this.#taken.add(name);
  }

  /** A new symbol for a size that only the data decides: `base`, or `base_1`, `base_2` … when taken. Deterministic. */
  fresh(base: string): string {
    const short = base.slice(0, MAX_NAME_LENGTH);
    let name = short;
    for (let suffix = 1; this.#taken.has(name); suffix += 1) name = `${short}_${suffix}`;
    this.#taken.add(name);
    this.#fresh.add(name);
    return name;
  }

  /** True for a symbol that `fresh` gave. */
  isFresh(name: string): boolean {
    return this.#fresh.has(name);
  }

  add(a: Dimension, b: Dimension): Dimension {
    if (typeof a === 'number' && typeof b === 'number') return known(a + b);
    return this.#combine(a, b, (p, q) => linear(p, q, 1));
  }

  subtract(a: Dimension, b: Dimension): Dimension {
    if (typeof a === 'number' && typeof b === 'number') return known(a - b);
    return this.#combine(a, b, (p, q) => linear(p, q, -1));
  }

  multiply(a: Dimension, b: Dimension): Dimension {
    if (a === 0 || b === 0) return 0;
    if (typeof a === 'number' && typeof b === 'number') return known(a * b);
    return this.#combine(a, b, (p, q) => {
      const product = new Map<string, number>();
      for (const [left, x] of p) for (const [right, y] of q) addTerm(product, joinMonomials(left, right), x * y);
      return product;
    });
  }

  product(dims: readonly Dimension[]): Dimension {
    let result: Dimension = 1;
    for (const dim of dims) result = this.multiply(result, dim);
    return result;
  }

  sum(dims: readonly Dimension[]): Dimension {
    let result: Dimension = 0;
    for (const dim of dims) result = this.add(result, dim);
    return result;
  }

  /** Rounds down; `divisor` > 0. */
  floorDivide(a: Dimension, divisor: number): Dimension {
    if (a === null || !Number.isSafeInteger(divisor) || divisor <= 0) return null;
    if (typeof a === 'number') return known(Math.floor(a / divisor));
    const whole = new Map<string, number>();
    const rest = new Map<string, number>();
    for (const [monomial, coefficient] of this.#polynomialOf(a)) {
      const quotient = Math.floor(coefficient / divisor);
      addTerm(whole, monomial, quotient);
      addTerm(rest, monomial, coefficient - quotient * divisor);
    }
    if (rest.size === 0) return this.#dimensionOf(whole);
    let common = divisor;
    for (const coefficient of rest.values()) common = greatestCommonDivisor(common, coefficient);
    const reduced = new Map([...rest].map(([monomial, coefficient]) => [monomial, coefficient / common] as const));
    if (reduced.size === 1 && reduced.has('')) return this.#dimensionOf(whole); // 0 <= constant rest < divisor
    const atom = this.#floorAtom(reduced, divisor / common);
    return atom === null ? null : this.add(this.#dimensionOf(whole), atom);
  }

  /** floor(numerator / divisor) as one symbol; floor((floor(p/q) + c)/n) is floor((p + c*q)/(q*n)). */
  #floorAtom(numerator: Polynomial, divisor: number): Dimension {
    const [inner, ...others] = [...numerator].filter(([monomial]) => monomial !== '');
    if (inner !== undefined && others.length === 0 && inner[1] === 1) {
      const quotient = this.#quotients.get(inner[0]);
      if (quotient !== undefined) {
        const offset = (numerator.get('') ?? 0) * quotient.divisor;
        const whole = linear(quotient.numerator, new Map(offset === 0 ? [] : [['', offset]]), 1);
        return this.floorDivide(this.#dimensionOf(whole), quotient.divisor * divisor);
      }
    }
    const atom = bounded(`floor(${parenthesized(numerator)}/${divisor})`);
    if (atom !== null) this.#quotients.set(atom, { numerator, divisor });
    return atom;
  }

  /** Rounds up; `divisor` > 0. */
  ceilDivide(a: Dimension, divisor: number): Dimension {
    return this.floorDivide(this.add(a, divisor - 1), divisor);
  }

  /** a / b where b is known to divide a (Reshape's -1). A number that is not divided exactly gives undefined. */
  divideExactly(a: Dimension, b: Dimension): Dimension | undefined {
    if (a === null || b === null || b === 0) return null;
    if (a === b) return 1;
    if (b === 1) return a;
    if (typeof a === 'number' && typeof b === 'number') return a % b === 0 ? a / b : undefined;
    const numerator = this.#polynomialOf(a);
    const denominator = this.#polynomialOf(b);
    const quotient = divideByMonomial(numerator, denominator) ?? proportion(numerator, denominator);
    if (quotient !== undefined) return this.#dimensionOf(quotient);
    return bounded(`${parenthesized(numerator)}/${parenthesized(denominator)}`);
  }

  min(a: Dimension, b: Dimension): Dimension {
    return this.#extreme('min', a, b, Math.min);
  }

  max(a: Dimension, b: Dimension): Dimension {
    return this.#extreme('max', a, b, Math.max);
  }

  /**
   * Numpy broadcasting of two sizes; undefined when they conflict. A fixed size above 1 wins over a symbol; two different
   * symbols give `broadcast(a, b)`.
   */
  broadcast(a: Dimension, b: Dimension): Dimension | undefined {
    if (a === b) return a;
    if (a === 1) return b;
    if (b === 1) return a;
    if (typeof a === 'number') return typeof b === 'number' ? undefined : a;
    if (typeof b === 'number') return b;
    if (a === null || b === null) return null;
    return this.#joined('broadcast', [a, b]);
  }

  /** `operator(…)` over all operands, nested ones of the same operator flattened, sorted, each once. */
  #joined(operator: 'min' | 'max' | 'broadcast', sizes: readonly (number | string)[]): Dimension {
    const flat = new Set<number | string>();
    for (const size of sizes) {
      const nested = typeof size === 'string' ? this.#operands.get(size) : undefined;
      for (const operand of nested?.operator === operator ? nested.sizes : [size]) flat.add(operand);
    }
    const numbers = [...flat].filter((size) => typeof size === 'number');
    const symbols = [...flat].filter((size) => typeof size === 'string').sort();
    const fixed = numbers.length === 0 ? [] : [operator === 'min' ? Math.min(...numbers) : Math.max(...numbers)];
    const [smallest] = fixed;
    if (symbols.length === 0) return smallest ?? null;
    // Declared sizes are at least 1; derived and data-dependent ones may be less.
    if (smallest === 1 && symbols.every((symbol) => this.#isDeclared(symbol))) {
      if (operator === 'min') return 1;
      fixed.length = 0;
    }
    const operands = [...fixed, ...symbols];
    const [only = null] = operands;
    if (operands.length === 1) return only;
    const atom = bounded(`${operator}(${operands.join(', ')})`);
    if (atom !== null) this.#operands.set(atom, { operator, sizes: operands });
    return atom;
  }

  #isDeclared(symbol: string): boolean {
    return (
      !this.#fresh.has(symbol) &&
      !this.#polynomials.has(symbol) &&
      !this.#operands.has(symbol) &&
      !this.#quotients.has(symbol)
    );
  }

  #extreme(name: 'min' | 'max', a: Dimension, b: Dimension, of: (x: number, y: number) => number): Dimension {
    if (a === b) return a;
    if (typeof a === 'number' && typeof b === 'number') return of(a, b);
    if (a === null || b === null) return null;
    const difference = this.subtract(a, b);
    if (typeof difference === 'number') return of(difference, 0) === difference ? a : b;
    return this.#joined(name, [a, b]);
  }

  #combine(a: Dimension, b: Dimension, with_: (p: Polynomial, q: Polynomial) => Polynomial): Dimension {
    if (a === null || b === null) return null;
    if (typeof a === 'number' && !Number.isSafeInteger(a)) return null;
    if (typeof b === 'number' && !Number.isSafeInteger(b)) return null;
    return this.#dimensionOf(with_(this.#polynomialOf(a), this.#polynomialOf(b)));
  }

  #polynomialOf(dim: number | string): Polynomial {
    if (typeof dim === 'number') return new Map(dim === 0 ? [] : [['', dim]]);
    return this.#polynomials.get(dim) ?? new Map([[dim, 1]]);
  }

  #dimensionOf(polynomial: Polynomial): Dimension {
    if (polynomial.size === 0) return 0;
    const [first] = polynomial;
    if (polynomial.size === 1 && first !== undefined) {
      const [monomial, coefficient] = first;
      if (monomial === '') return known(coefficient);
      if (coefficient === 1 && !monomial.includes(JOIN)) return monomial;
    }
    if (polynomial.size > MAX_TERMS) return null;
    for (const coefficient of polynomial.values()) if (!Number.isSafeInteger(coefficient)) return null;
    const name = bounded(print(polynomial));
    if (name !== null) this.#polynomials.set(name, polynomial);
    return name;
  }
}

function known(value: number): number | null {
  // Infinity stands for an int64 bound beyond 2^53.
  return Number.isSafeInteger(value) || Math.abs(value) === Infinity ? value : null;
}

function bounded(name: string): string | null {
  return name.length > MAX_NAME_LENGTH ? null : name;
}

function addTerm(terms: Map<string, number>, monomial: string, coefficient: number): void {
  const sum = (terms.get(monomial) ?? 0) + coefficient;
  if (sum === 0) terms.delete(monomial);
  else terms.set(monomial, sum);
}

function linear(p: Polynomial, q: Polynomial, factor: 1 | -1): Polynomial {
  const result = new Map(p);
  for (const [monomial, coefficient] of q) addTerm(result, monomial, factor * coefficient);
  return result;
}

function joinMonomials(a: string, b: string): string {
  if (a === '') return b;
  if (b === '') return a;
  return [...a.split(JOIN), ...b.split(JOIN)].sort().join(JOIN);
}

/** p / q for a q of one term; undefined when it does not divide each term. */
function divideByMonomial(p: Polynomial, q: Polynomial): Polynomial | undefined {
  const [divisor] = q;
  if (q.size !== 1 || divisor === undefined) return undefined;
  const [divisorMonomial, divisorCoefficient] = divisor;
  const result = new Map<string, number>();
  for (const [monomial, coefficient] of p) {
    if (coefficient % divisorCoefficient !== 0) return undefined;
    const atoms = monomial === '' ? [] : monomial.split(JOIN);
    for (const atom of divisorMonomial === '' ? [] : divisorMonomial.split(JOIN)) {
      const at = atoms.indexOf(atom);
      if (at < 0) return undefined;
      atoms.splice(at, 1);
    }
    result.set(atoms.join(JOIN), coefficient / divisorCoefficient);
  }
  return result;
}

/** The factor f with p = f * q, as a polynomial; undefined when p is no integer multiple (or monomial multiple) of q. */
function proportion(p: Polynomial, q: Polynomial): Polynomial | undefined {
  const [leadingP] = p;
  if (leadingP === undefined || p.size !== q.size) return undefined;
  for (const [monomial, coefficient] of q) {
    const factor = divideByMonomial(new Map([leadingP]), new Map([[monomial, coefficient]]));
    if (factor === undefined) continue;
    const [[factorMonomial, factorCoefficient] = ['', 1]] = factor;
    let equal = true;
    for (const [term, value] of q) {
      if (p.get(joinMonomials(term, factorMonomial)) !== value * factorCoefficient) equal = false;
    }
    if (equal) return factor;
  }
  return undefined;
}

function greatestCommonDivisor(a: number, b: number): number {
  let [x, y] = [Math.abs(a), Math.abs(b)];
  while (y !== 0) [x, y] = [y, x % y];
  return x;
}

/** Canonical text: symbols in code-point order, the constant last. */
function print(polynomial: Polynomial): string {
  const terms = [...polynomial].sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1));
  let text = '';
  for (const [monomial, coefficient] of terms) {
    const magnitude = Math.abs(coefficient);
    const atoms = monomial.split(JOIN).join('*');
    const body = monomial === '' ? String(magnitude) : magnitude === 1 ? atoms : `${magnitude}*${atoms}`;
    if (text === '') text = coefficient < 0 ? `-${body}` : body;
    else text += coefficient < 0 ? ` - ${body}` : ` + ${body}`;
  }
  return text;
}

function parenthesized(polynomial: Polynomial): string {
  const text = print(polynomial);
  return polynomial.size > 1 || text.includes('*') ? `(${text})` : text;
}
