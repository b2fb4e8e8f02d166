import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { logDeterminant } from '../../src/numerics/log-determinant.ts';

describe('logDeterminant', () => {
  it('agrees with numpy.linalg.slogdet 2.4.6', () => {
    const a = Float64Array.of(0, 2, 1, 4, 3, -1, 0.5, 0, 7, 1, -2, 3, 2, 2, 0, 1);
    assert.ok(Math.abs(logDeterminant(a, 4) - 4.48863636973214) < 1e-12);
    assert.equal(a[0], 0, 'the matrix is as it was');
  });

  it('is -Infinity for a singular matrix, and 0 for none', () => {
    assert.equal(logDeterminant(Float64Array.of(1, 2, 2, 4), 2), -Infinity);
    assert.equal(logDeterminant(new Float64Array(0), 0), 0);
  });
});
