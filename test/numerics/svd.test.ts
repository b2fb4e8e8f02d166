import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { gramOfRows, multiply, multiplyTransposed, transpose } from '../../src/numerics/matrix.ts';
import { svd, type Svd } from '../../src/numerics/svd.ts';
import { symmetricEigen } from '../../src/numerics/symmetric-eigen.ts';
import { identity, largestDifference, matrix } from './helpers.ts';

/** Values of numpy 2.4.6 (LAPACK) for the same matrices; a vector's largest component made positive. */
const GOLDEN = [
  {
    rows: 4,
    cols: 7,
    seed: 1,
    values: [1.923251193202756, 1.5887889080988178, 1.0621500503705763, 0.8562792444870843],
    left: [-0.34479422446820673, -0.5823877373857267, 0.6535190144196261, -0.3389017024272705],
  },
  {
    rows: 9,
    cols: 5,
    seed: 2,
    values: [2.3482166392960786, 1.9809621316336268, 1.2502882153043284, 1.052607906372479, 0.694639266859803],
    left: [
      0.31703253768467354, 0.39874891305553833, 0.07044368206915542, 0.3138481087134797, -0.437907372456372,
      0.4488745089848432, 0.23033563701391419, 0.07087182045457505, -0.4309271567429654,
    ],
  },
];

function product({ values, left, right }: Svd, rows: number, cols: number): Float64Array {
  const count = values.length;
  const scaled = left.map((value, i) => value * (values[Math.floor(i / rows)] ?? 0));
  return multiply(transpose(scaled, count, rows), right, { rows, inner: count, cols });
}

describe('svd', () => {
  for (const { rows, cols, seed, values, left } of GOLDEN) {
    it(`gives numpy's values and first vector for ${rows} x ${cols}`, () => {
      const result = svd(matrix(rows, cols, seed), rows, cols);
      // Both are float64: a few units in the last place of the largest value.
      assert.ok(largestDifference(result.values, values) < 1e-14);
      const own = result.left.subarray(0, rows);
      const sign = Math.sign((own[0] ?? 1) * (left[0] ?? 1));
      assert.ok(
        largestDifference(
          own.map((value) => value * sign),
          left,
        ) < 1e-13,
      );
    });
  }

  it('multiplies back to the matrix, with orthonormal vectors, whatever the shape', () => {
    const size = fc.integer({ min: 1, max: 12 });
    fc.assert(
      fc.property(size, size, fc.nat(), (rows, cols, seed) => {
        const a = matrix(rows, cols, seed);
        const result = svd(a, rows, cols);
        const count = Math.min(rows, cols);
        assert.ok(largestDifference(product(result, rows, cols), a) < 1e-13);
        const short = rows <= cols ? result.left : result.right;
        assert.ok(largestDifference(gramOfRows(short, count, count), identity(count)) < 1e-13);
        assert.ok(result.values.every((value, i) => i === 0 || value <= (result.values[i - 1] ?? 0)));
      }),
      { numRuns: 60 },
    );
  });

  it('finds the rank of a matrix that has less than its size lets it have', () => {
    const a = multiply(matrix(20, 3, 1), matrix(3, 30, 2), { rows: 20, inner: 3, cols: 30 });
    const { values } = svd(a, 20, 30);
    assert.ok((values[2] ?? 0) > 0.1);
    assert.ok((values[3] ?? 1) < 1e-13 * (values[0] ?? 0));
  });

  it('goes by the Gram matrix where Jacobi would take long, and loses nothing that float32 holds', () => {
    const [rows, cols] = [160, 700];
    const a = matrix(rows, cols, 5);
    const result = svd(a, rows, cols);
    assert.ok(largestDifference(product(result, rows, cols), a) < 1e-12);
    assert.ok(largestDifference(gramOfRows(result.left, rows, rows), identity(rows)) < 1e-12);
  });

  it('takes zeros, and refuses what is not finite', () => {
    assert.deepEqual([...svd(new Float64Array(6), 2, 3).values], [0, 0]);
    assert.throws(() => svd(Float64Array.of(1, NaN), 1, 2), RangeError);
  });

  it('gives the same bits twice', () => {
    const a = matrix(30, 40, 9);
    assert.deepEqual(svd(a, 30, 40), svd(a, 30, 40));
  });
});

describe('symmetricEigen', () => {
  it("gives numpy's eigenvalues", () => {
    const a = matrix(6, 6, 3);
    const symmetric = a.map((value, i) => value + (a[(i % 6) * 6 + Math.floor(i / 6)] ?? 0));
    const { values } = symmetricEigen(symmetric, 6);
    const expected = [
      1.9607075513483152, 1.8812536841938283, -0.11982667805911948, -0.8430442647134685, -1.5472191291839816,
      -2.0364885446814625,
    ];
    assert.ok(largestDifference(values, expected) < 1e-13);
  });

  it('satisfies A v = lambda v, for matrices with equal eigenvalues too', () => {
    const cases: [string, Float64Array, number][] = [
      ['random', gramOfRows(matrix(40, 60, 4), 40, 60), 40],
      ['identity', identity(7), 7],
      ['zeros', new Float64Array(25), 5],
      ['one value', Float64Array.of(-3), 1],
      ['rank 2', gramOfRows(matrix(15, 2, 6), 15, 2), 15],
      // Covariances of layers whose inputs hang together: most eigenvalues are rounding of zero.
      ['rank 24 of 128', gramOfRows(matrix(128, 24, 7), 128, 24), 128],
      ['rank 24 of 192', gramOfRows(matrix(192, 24, 8), 192, 24), 192],
      ['rank 45 of 192', gramOfRows(matrix(192, 45, 9), 192, 45), 192],
    ];
    for (const [name, a, n] of cases) {
      const { values, vectors } = symmetricEigen(a, n);
      const applied = multiplyTransposed(vectors, a, { rows: n, inner: n, cols: n });
      const scaled = vectors.map((value, i) => value * (values[Math.floor(i / n)] ?? 0));
      assert.ok(largestDifference(applied, scaled) < 1e-12, name);
      assert.ok(largestDifference(gramOfRows(vectors, n, n), identity(n)) < 1e-13, name);
    }
  });
});
