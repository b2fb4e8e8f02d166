import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fitLinear, RegressionSums } from '../../../../src/passes/prune/recovery/regression.ts';
import { Weights } from './helpers.ts';

const [ROWS, INPUTS, OUTPUTS] = [60, 5, 3];

/** Rows whose columns depend on each other and have means, and what is to be explained by them. */
function rows(): { x: Float32Array; y: Float32Array } {
  const weights = new Weights();
  const x = weights.noise([ROWS, INPUTS]).map((value, i) => value + (i % INPUTS));
  for (let row = 0; row < ROWS; row += 1)
    x[row * INPUTS + 4] = (x[row * INPUTS] ?? 0) * 0.9 + (x[row * INPUTS + 4] ?? 0) * 0.1;
  return { x, y: weights.noise([ROWS, OUTPUTS]) };
}

function sumsOf(x: Float32Array, y: Float32Array): RegressionSums {
  const sums = new RegressionSums(INPUTS, OUTPUTS);
  for (const [from, to] of [
    [0, 25],
    [25, ROWS],
  ] as const) {
    const part = [x.slice(from * INPUTS, to * INPUTS), y.slice(from * OUTPUTS, to * OUTPUTS)] as const;
    sums.addRows(...part, to - from);
    sums.addProducts(...part, to - from);
  }
  return sums;
}

describe('fitLinear', () => {
  for (const shifts of [true, false]) {
    it(`lies where the gradient of the damped squares vanishes, ${shifts ? 'with' : 'without'} a bias`, () => {
      const { x, y } = rows();
      const weights = Float64Array.from(new Weights().noise([OUTPUTS, INPUTS]));
      const bias = Float64Array.of(0.5, -1, 2);
      const damping = 0.05;
      const fit = fitLinear(sumsOf(x, y), { weights, bias, shifts, damping });
      assert.ok(fit !== undefined);
      let squares = 0;
      for (let i = 0; i < INPUTS; i += 1) {
        const column = Array.from({ length: ROWS }, (_, row) => x[row * INPUTS + i] ?? 0);
        const mean = shifts ? column.reduce((sum, value) => sum + value, 0) / ROWS : 0;
        squares += column.reduce((sum, value) => sum + (value - mean) ** 2, 0) / ROWS;
      }
      const weight = (list: Float64Array, o: number, i: number): number => list[o * INPUTS + i] ?? NaN;
      let [rest, variance] = [0, 0];
      for (let o = 0; o < OUTPUTS; o += 1) {
        const wanted = Array.from({ length: ROWS }, (_, row) => y[row * OUTPUTS + o] ?? 0);
        const residuals = wanted.map((value, row) => {
          let own = value - (bias[o] ?? 0) - (fit.shift[o] ?? 0);
          for (let i = 0; i < INPUTS; i += 1) own -= weight(fit.weights, o, i) * (x[row * INPUTS + i] ?? 0);
          return own;
        });
        const mean = wanted.reduce((sum, value) => sum + value, 0) / ROWS;
        variance += wanted.reduce((sum, value) => sum + (value - mean) ** 2, 0) / ROWS;
        rest += residuals.reduce((sum, value) => sum + value * value, 0) / ROWS;
        if (shifts) assert.ok(Math.abs(residuals.reduce((sum, value) => sum + value, 0)) < 1e-9);
        else assert.equal(fit.shift[o], 0);
        for (let i = 0; i < INPUTS; i += 1) {
          const pulled = ((damping * squares) / INPUTS) * (weight(fit.weights, o, i) - weight(weights, o, i));
          const gradient =
            residuals.reduce((sum, value, row) => sum - value * (x[row * INPUTS + i] ?? 0), 0) / ROWS + pulled;
          assert.ok(Math.abs(gradient) < 1e-9, `d/dw[${o}, ${i}] is ${gradient}`);
        }
      }
      // The report's figure is the residuals' own.
      assert.ok(Math.abs(fit.errorAfter - rest / variance) < 1e-9);
      assert.ok(fit.errorBefore > fit.errorAfter);
    });
  }

  it('leaves weights as they are where the inputs say nothing', () => {
    const sums = new RegressionSums(2, 1);
    const [x, y] = [new Float32Array(8), Float32Array.of(1, 2, 3, 6)];
    sums.addRows(x, y, 4);
    sums.addProducts(x, y, 4);
    const fit = fitLinear(sums, {
      weights: Float64Array.of(4, 5),
      bias: Float64Array.of(1),
      shifts: true,
      damping: 1e-3,
    });
    assert.deepEqual([...(fit?.weights ?? [])], [4, 5]);
    assert.deepEqual([...(fit?.shift ?? [])], [2]);
  });
});
