import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Int8Latency } from '../../../src/passes/cost/int8-latency.ts';
import { emptyCostTable } from '../../../src/passes/cost/kernel-cost-table.ts';
import { convs, int8Table, timeOf } from './helpers.ts';

const int8 = (...widths: readonly number[]) => timeOf(convs(...widths), new Int8Latency(int8Table()));
const close = (actual: number, expected: number) => {
  assert.ok(Math.abs(actual - expected) < 1e-6 * expected, `${actual} instead of ${expected}`);
};
const products = (outputs: number, inputs: number) => (outputs * inputs * 9 * 64) / 1000;

describe('int8 latency', () => {
  it('goes by how outputs fill blocks of 8 and inputs fours, and by themselves where outputs are few; activations are part of convolutions', () => {
    close(int8(16, 32, 16), 2 * products(16, 32));
    close(int8(16, 24, 16), 2 * products(16, 24));
    close(int8(16, 28, 16), 2 * products(32, 16) + products(16, 28));
    close(int8(16, 30, 16), 4 * products(32, 16) + 4 * products(16, 30));
    close(int8(16, 14, 16), 8 * products(16, 16) + 4 * products(16, 14));
  });

  it('takes a measured width as it was measured, and leaves out what was measured in float alone', () => {
    close(int8(12, 12), 8 * products(16, 12));
    close(int8(24, 24), products(24, 24));
  });

  it('fills outputs up to what a register holds', () => {
    const wide = new Int8Latency({ ...int8Table(), convolutionBlock: 16 });
    close(timeOf(convs(16, 40), wide), products(48, 16));
    close(timeOf(convs(16, 48), wide), products(48, 16));
  });

  it('can be less for more channels', () => {
    assert.ok(int8(16, 16, 16) < int8(16, 12, 16));
  });

  it('knows nothing by an empty table', () => {
    assert.ok(new Int8Latency(emptyCostTable()).knowsNothing);
  });
});
