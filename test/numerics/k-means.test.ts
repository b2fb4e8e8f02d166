import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { kMeans, type KMeansInit } from '../../src/numerics/k-means.ts';
import { noise } from '../passes/quantize/helpers.ts';

const INITS: readonly KMeansInit[] = ['linear', 'density', 'random'];
const options = { clusters: 8, init: 'linear' as KMeansInit, seed: 3, pinZero: false };

describe('kMeans', () => {
  for (const init of INITS) {
    it(`${init}: ends where no value has a nearer centroid and each centroid is its cluster's mean`, () => {
      const values = noise(5000, 2).map((value) => value ** 3);
      const { centroids, indices } = kMeans(values, { ...options, init });
      assert.equal(centroids.length, 8);
      const sums = new Float64Array(8);
      const counts = new Float64Array(8);
      values.forEach((value, i) => {
        const own = indices[i] ?? 0;
        const nearest = Math.min(...centroids.map((centroid) => Math.abs(centroid - value)));
        assert.ok(Math.abs((centroids[own] ?? 0) - value) <= nearest + 1e-7);
        sums[own] = (sums[own] ?? 0) + value;
        counts[own] = (counts[own] ?? 0) + 1;
      });
      centroids.forEach((centroid, k) => assert.ok(Math.abs(centroid - (sums[k] ?? 0) / (counts[k] ?? 1)) < 1e-6));
      assert.deepEqual(kMeans(values, { ...options, init }), { centroids, indices });
    });
  }

  it('finds clusters that are plain to see', () => {
    const { centroids } = kMeans(Float32Array.of(1, 1.5, 9, 9.5, -4, -4.5), { ...options, clusters: 3 });
    assert.deepEqual([...centroids], [-4.25, 1.25, 9.25]);
  });

  it('is exact where there are no more values than centroids', () => {
    const values = Float32Array.of(3, -1, 3, 0.5);
    const { centroids, indices } = kMeans(values, options);
    assert.deepEqual(
      [...indices].map((index) => centroids[index]),
      [...values],
    );
  });

  it('keeps zeros at zero and nothing else there', () => {
    const values = noise(2000, 5).map((value) => (Math.abs(value) < 0.8 ? 0 : value));
    const { centroids, indices } = kMeans(values, { ...options, pinZero: true });
    values.forEach((value, i) => assert.equal((centroids[indices[i] ?? 0] ?? 1) === 0, value === 0));
  });
});
