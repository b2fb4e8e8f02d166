import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { SymbolTable } from '../../../src/onnx/inference/symbol-table.ts';
import type { Dimension } from '../../../src/onnx/value-type.ts';

type Step = readonly [operation: 'add' | 'subtract' | 'multiply' | 'floorDivide', constant: number];

const steps = fc.array(
  fc.tuple(fc.constantFrom('add', 'subtract', 'multiply', 'floorDivide'), fc.integer({ min: 1, max: 4 })),
  { maxLength: 5 },
);

function apply(symbols: SymbolTable, start: Dimension, list: readonly Step[]): Dimension {
  let value = start;
  for (const [operation, constant] of list) value = symbols[operation](value, constant);
  return value;
}

/** Evaluates a derived symbol: JavaScript with Math.floor is its own reference for this grammar. */
function evaluate(text: string, sizes: Readonly<Record<string, number>>): number {
  const names = Object.keys(sizes);
  const code = text.replaceAll('floor(', 'Math.floor(').replaceAll('min(', 'Math.min(').replaceAll('max(', 'Math.max(');
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- the text comes from our own printer
  const run = new Function(...names, `return ${code};`) as (...values: number[]) => number;
  return run(...names.map((name) => sizes[name] ?? 0));
}

describe('SymbolTable', () => {
  it('agrees with arithmetic on numbers, whatever the steps', () => {
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 500 }), (list, size) => {
        const derived = apply(new SymbolTable(), 'h', list);
        const expected = apply(new SymbolTable(), size, list);
        assert.notEqual(derived, null);
        assert.equal(typeof derived === 'string' ? evaluate(derived, { h: size }) : derived, expected);
      }),
    );
  });

  it('gives equal expressions equal names', () => {
    const symbols = new SymbolTable();
    assert.equal(symbols.add('a', 'b'), symbols.add('b', 'a'));
    assert.equal(symbols.subtract(symbols.add('a', 'b'), 'b'), 'a');
    assert.equal(symbols.multiply(symbols.add('a', 1), 'b'), symbols.add(symbols.multiply('a', 'b'), 'b'));
    assert.equal(symbols.floorDivide(symbols.floorDivide('h', 2), 3), symbols.floorDivide('h', 6));
    assert.equal(symbols.floorDivide(symbols.add(symbols.multiply('h', 4), 3), 4), 'h');
  });

  it('divides products exactly, and says so when numbers do not divide', () => {
    const symbols = new SymbolTable();
    const area = symbols.product(['n', 12, 'h', 'w']);
    assert.equal(symbols.divideExactly(area, symbols.product([3, 'h'])), symbols.product([4, 'n', 'w']));
    assert.equal(symbols.divideExactly(10, 4), undefined);
    assert.equal(symbols.divideExactly(null, 4), null);
  });

  it('broadcasts as numpy does', () => {
    const symbols = new SymbolTable();
    assert.equal(symbols.broadcast('n', 1), 'n');
    assert.equal(symbols.broadcast('n', 5), 5);
    assert.equal(symbols.broadcast(4, 5), undefined);
    assert.equal(symbols.broadcast(null, 1), null);
    assert.equal(symbols.broadcast(symbols.broadcast('b', 'a') ?? null, 'a'), 'broadcast(a, b)');
  });

  it('keeps names short: what grows too long is unknown', () => {
    const symbols = new SymbolTable();
    let sum: Dimension = 'a0';
    for (let index = 1; index < 20; index += 1) sum = symbols.add(sum, `a${index}`);
    assert.equal(sum, null);
  });

  it('never gives a name twice', () => {
    const symbols = new SymbolTable();
    symbols.reserve('n');
    assert.deepEqual([symbols.fresh('n'), symbols.fresh('n')], ['n_1', 'n_2']);
  });
});
