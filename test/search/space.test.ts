import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { CompressionError } from '../../src/errors.ts';
import { SearchSpace, type Dimension } from '../../src/search/space.ts';
import { mutateOne, neighbour, uniformCrossover } from '../../src/search/variation.ts';
import { mixedSpace, smallSpace } from './helpers.ts';

describe('SearchSpace', () => {
  it('counts its points', () => {
    assert.equal(smallSpace().size, 24);
    assert.equal(mixedSpace().size, Infinity);
  });

  it('orders a choice of numbers by size, and no other choice', () => {
    const space = mixedSpace();
    assert.deepEqual(
      [0, 1, 2, 3].map((d) => space.ordered(d)),
      [false, true, true, true],
    );
    assert.deepEqual(
      [0, 1, 2].map((i) => space.decode([0, i, 0, 0])['bits']),
      [2, 4, 8],
    );
  });

  it('decodes indices, steps and logarithmic positions', () => {
    const point = mixedSpace().decode([2, 1, 2, 0.5]);
    assert.deepEqual({ ...point, rate: 0 }, { block: { kind: 'inverted', expand: 4 }, bits: 4, depth: 20, rate: 0 });
    assert.ok(Math.abs(Number(point['rate']) - 1e-2) < 1e-15);
    assert.equal(mixedSpace().decode([0, 0, 0, 0])['rate'], 1e-4);
    assert.equal(mixedSpace().decode([0, 0, 0, 1])['rate'], 1);
  });

  it('encodes what it decodes, whatever the order of names', () => {
    const space = mixedSpace();
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const coordinates = space.sample(new SeededRandom(seed));
        const point = space.decode(coordinates);
        const turned = Object.fromEntries(Object.entries(point).reverse());
        // exp and log undo each other but for rounding.
        space.encode(turned).forEach((c, d) => assert.ok(Math.abs(c - (coordinates[d] ?? 0)) < 1e-12));
        assert.equal(space.key(turned), space.key(point));
      }),
    );
  });

  it('takes a value of nested JSON by content', () => {
    const point = { block: { expand: 4, kind: 'inverted' }, bits: 8, depth: 14, rate: 1 };
    assert.deepEqual(mixedSpace().encode(point), [2, 2, 1, 1]);
  });

  const wrong: readonly [string, readonly Dimension[], RegExp][] = [
    ['no dimension', [], /at least one dimension/],
    ['no values', [{ name: 'a', type: 'choice', values: [] }], /"a" has no values/],
    [
      'a value twice',
      [
        {
          name: 'a',
          type: 'choice',
          values: [
            { x: 1, y: 2 },
            { y: 2, x: 1 },
          ],
        },
      ],
      /twice/,
    ],
    ['a range upside down', [{ name: 'a', type: 'integer', min: 3, max: 2 }], /min <= max/],
    ['a fraction', [{ name: 'a', type: 'integer', min: 0, max: 2, step: 0.5 }], /whole numbers/],
    ['a logarithm of 0', [{ name: 'a', type: 'real', min: 0, max: 2, log: true }], /min > 0/],
    ['no end', [{ name: 'a', type: 'real', min: 0, max: Infinity }], /finite/],
    [
      'a name twice',
      [
        { name: 'a', type: 'real', min: 0, max: 1 },
        { name: 'a', type: 'choice', values: [1] },
      ],
      /"a" is given twice/,
    ],
  ];
  for (const [what, dimensions, message] of wrong)
    it(`refuses ${what}`, () => {
      assert.throws(() => new SearchSpace(dimensions), { name: 'CompressionError', code: 'RECIPE_INVALID', message });
    });

  it('refuses a point that is not its own', () => {
    const space = smallSpace();
    for (const point of [
      { a: 'x', b: 4, c: true },
      { a: 'x', b: 0.5, c: true },
      { a: 'w', b: 0, c: true },
      { a: 'x', b: 0 },
      { a: 'x', b: 0, c: true, d: 1 },
    ])
      assert.throws(
        () => space.encode(point),
        (error) => error instanceof CompressionError && error.code === 'RECIPE_INVALID',
      );
  });

  it('samples every value, evenly', () => {
    const space = smallSpace();
    const rng = new SeededRandom(3);
    const counts = new Map<string, number>();
    for (let i = 0; i < 24_000; i += 1) {
      const key = space.key(space.decode(space.sample(rng)));
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    assert.equal(counts.size, 24);
    // Binomial with mean 1000: standard deviation 31; 5 of them.
    for (const count of counts.values()) assert.ok(Math.abs(count - 1000) < 155);
  });
});

describe('variation', () => {
  it('moves to another value of the dimension, inside its range', () => {
    const space = new SearchSpace([
      { name: 'unordered', type: 'choice', values: ['a', 'b', 'c'] },
      { name: 'pair', type: 'integer', min: 0, max: 1 },
      { name: 'long', type: 'integer', min: 0, max: 99 },
      { name: 'real', type: 'real', min: 0, max: 1 },
    ]);
    const rng = new SeededRandom(5);
    for (let d = 0; d < 4; d += 1) {
      const reached = new Set<number>();
      for (let i = 0; i < 2000; i += 1) {
        const from = space.sampleDimension(d, rng);
        const to = neighbour(space, d, from, rng);
        assert.notEqual(to, from);
        assert.ok(to >= 0 && to <= (d === 3 ? 1 : space.count(d) - 1), `${to}`);
        reached.add(to);
      }
      assert.ok(reached.size >= Math.min(2000, space.count(d)));
    }
  });

  it('moves ordered values to near ones', () => {
    const space = new SearchSpace([{ name: 'long', type: 'integer', min: 0, max: 99 }]);
    const rng = new SeededRandom(6);
    let sum = 0;
    for (let i = 0; i < 4000; i += 1) sum += Math.abs(neighbour(space, 0, 50, rng) - 50);
    // Mean of |N(0, 15)| is 15 sqrt(2/pi) = 11.97; its standard error is 9/sqrt(4000) = 0.14.
    assert.ok(Math.abs(sum / 4000 - 11.97) < 0.7);
  });

  it('mutates one dimension of those that have a choice', () => {
    const space = new SearchSpace([
      { name: 'fixed', type: 'choice', values: [7] },
      { name: 'free', type: 'integer', min: 0, max: 4 },
      { name: 'other', type: 'choice', values: ['a', 'b'] },
    ]);
    const rng = new SeededRandom(7);
    for (let i = 0; i < 100; i += 1) {
      const to = mutateOne(space, [0, 2, 1], rng);
      assert.equal(to.filter((c, d) => c !== [0, 2, 1][d]).length, 1);
      assert.equal(to[0], 0);
    }
    assert.deepEqual(mutateOne(new SearchSpace([{ name: 'fixed', type: 'choice', values: [7] }]), [0], rng), [0]);
  });

  it('crosses coordinates of both parents', () => {
    const child = uniformCrossover(Array<number>(64).fill(0), Array<number>(64).fill(1), new SeededRandom(8));
    const ones = child.filter((c) => c === 1).length;
    assert.ok(ones > 16 && ones < 48);
  });
});
