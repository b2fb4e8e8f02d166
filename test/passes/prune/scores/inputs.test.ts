import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { inverseCholesky } from '../../../../src/numerics/cholesky.ts';
import { makeNode, type Node } from '../../../../src/onnx/node.ts';
import { inputRows } from '../../../../src/passes/layer-inputs/input-rows.ts';
import { rowMask } from '../../../../src/passes/prune/scores/choose-masks.ts';
import { wandaScores } from '../../../../src/passes/prune/scores/wanda.ts';
import { sparseGpt } from '../../../../src/passes/prune/scores/sparse-gpt.ts';
import { groupMatrix } from '../../../../src/passes/layer-inputs/weight-matrix.ts';
import { weightTargets, type WeightTarget } from '../../../../src/passes/layer-inputs/weight-targets.ts';
import { net, noise, runtime, weight } from '../../quantize/helpers.ts';

/** Made by test/golden/prune/make_golden.py with numpy. */
interface Golden {
  readonly name: string;
  readonly method: 'wanda' | 'sparsegpt';
  readonly rows: number;
  readonly columns: number;
  readonly samples: number;
  readonly sparsity?: number;
  readonly n_zero?: number;
  readonly m?: number;
  readonly weights: readonly number[];
}
const GOLDEN = JSON.parse(readFileSync('test/golden/prune/golden.json', 'utf8')) as Golden[];

/** As `correlated` of make_golden.py. */
function correlated(rows: number, columns: number): Float64Array {
  const x = Float64Array.from(noise(rows * columns, 5));
  for (let r = 0; r < rows; r += 1)
    for (let c = 1; c < columns; c += 1)
      x[r * columns + c] = 0.6 * (x[r * columns + c - 1] ?? 0) + 0.8 * (x[r * columns + c] ?? 0);
  return x.map((value, i) => value * (0.2 + ((i % columns) % 5)));
}

function products(x: Float64Array, rows: number, columns: number): Float64Array {
  const sums = new Float64Array(columns * columns);
  for (let r = 0; r < rows; r += 1)
    for (let i = 0; i < columns; i += 1)
      for (let j = 0; j < columns; j += 1)
        sums[i * columns + j] = (sums[i * columns + j] ?? 0) + (x[r * columns + i] ?? 0) * (x[r * columns + j] ?? 0);
  return sums;
}

describe('scores from layer inputs against numpy', () => {
  for (const golden of GOLDEN)
    it(golden.name, () => {
      const { rows, columns, samples, sparsity = 0 } = golden;
      const weights = noise(rows * columns, 11);
      const h = products(correlated(samples, columns), samples, columns);
      const layout = { outputs: rows, inputs: columns, kernel: 1, outputStride: columns, inputStride: 1, groups: 1 };
      let result: ArrayLike<number>;
      if (golden.method === 'wanda') {
        const squares = Float64Array.from({ length: columns }, (_, c) => h[c * columns + c] ?? 0);
        const mask = rowMask(
          wandaScores(weights, layout, { columns, rows: samples, groups: [squares] }),
          layout,
          sparsity,
        );
        result = weights.map((value, i) => value * (mask[i] ?? 1));
      } else {
        const matrix = groupMatrix(weights, layout, 0);
        const { m, n_zero: zeros = 0 } = golden;
        sparseGpt(
          matrix,
          h,
          m === undefined ? { kind: 'elements', sparsity } : { kind: 'n-of-m', zeros, m, inputs: columns },
        );
        result = matrix.data;
      }
      golden.weights.forEach((expected, i) => {
        const got = result[i] ?? NaN;
        assert.equal(got === 0, expected === 0, `element ${i}: ${got}, expected ${expected}`);
        // Float64 on both sides; the golden values have ten digits, the condition number is some hundreds.
        assert.ok(Math.abs(got - expected) < 1e-8, `element ${i}: ${got}, expected ${expected}`);
      });
    });
});

describe('inverseCholesky', () => {
  it('gives U with U^T U A = I', () => {
    const n = 17;
    const a = products(correlated(40, n), 40, n);
    const u = inverseCholesky(a, n);
    assert.ok(u !== undefined);
    for (let i = 0; i < n; i += 1) for (let j = 0; j < i; j += 1) assert.equal(u[i * n + j], 0);
    const inverse = products(u, n, n);
    for (let i = 0; i < n; i += 1)
      for (let j = 0; j < n; j += 1) {
        let sum = 0;
        for (let k = 0; k < n; k += 1) sum += (inverse[i * n + k] ?? 0) * (a[k * n + j] ?? 0);
        assert.ok(Math.abs(sum - (i === j ? 1 : 0)) < 1e-9);
      }
  });

  it('says when there is none', () => {
    assert.equal(inverseCholesky(Float64Array.of(1, 2, 2, 1), 2), undefined);
  });
});

/** The layer's output as its rows times its matrix must be what ONNX Runtime computes. */
async function assertRowsGiveOutput(
  node: Node,
  weightDims: readonly number[],
  inputDims: readonly number[],
): Promise<void> {
  const model = net({
    nodes: [node],
    tensors: [weight('w', weightDims)],
    inputs: { x: inputDims },
    outputs: { y: [] },
  });
  model.graph.outputs = [{ name: 'y', type: undefined }];
  const input = {
    type: 'float' as const,
    dims: inputDims,
    data: noise(
      inputDims.reduce((a, b) => a * b, 1),
      3,
    ),
  };
  const session = await runtime.createSession(model, { threads: 1 });
  const expected = (await session.run({ x: input })).get('y');
  await session.release();
  const [target] = weightTargets(model, { exclude: [] }).targets as [WeightTarget];
  const { layout } = target;
  const values = model.graph.initializers.get('w')?.floats() ?? new Float32Array(0);
  const isConv = node.opType === 'Conv';
  const plane = isConv ? (expected?.dims.slice(2) ?? []).reduce((a, b) => a * b, 1) : 1;
  for (let group = 0; group < layout.groups; group += 1) {
    const place = { input, layout, kernelShape: weightDims.slice(2) };
    const rows = inputRows(node, place, group, { perSample: 1e9, seed: 0, firstSample: 0 });
    const matrix = groupMatrix(values, layout, group);
    assert.equal(rows.columns, matrix.columns);
    for (let r = 0; r < rows.count; r += 1)
      for (let o = 0; o < matrix.rows; o += 1) {
        let sum = 0;
        for (let c = 0; c < rows.columns; c += 1)
          sum += (rows.data[r * rows.columns + c] ?? 0) * (matrix.data[o * matrix.columns + c] ?? 0);
        const output = group * matrix.rows + o;
        const at = isConv
          ? (Math.floor(r / plane) * layout.outputs + output) * plane + (r % plane)
          : r * layout.outputs + output;
        assert.ok(Math.abs(sum - Number(expected?.data[at])) < 1e-5, `row ${r}, output ${output}`);
      }
  }
}

describe('inputRows', () => {
  const cases: [string, Node, number[], number[]][] = [
    [
      'Conv, padded and strided',
      makeNode('Conv', ['x', 'w'], ['y'], { attributes: { pads: [1, 0, 2, 1], strides: [2, 1] } }),
      [4, 3, 3, 2],
      [2, 3, 7, 6],
    ],
    [
      'Conv, grouped and dilated',
      makeNode('Conv', ['x', 'w'], ['y'], { attributes: { group: 2, dilations: [1, 2] } }),
      [6, 2, 2, 3],
      [2, 4, 5, 8],
    ],
    [
      'Conv, depthwise, SAME_LOWER',
      makeNode('Conv', ['x', 'w'], ['y'], { attributes: { group: 3, auto_pad: 'SAME_LOWER', strides: [2, 2] } }),
      [3, 1, 2, 3],
      [1, 3, 5, 6],
    ],
    ['Conv, one axis', makeNode('Conv', ['x', 'w'], ['y'], { attributes: { pads: [1, 1] } }), [4, 2, 3], [2, 2, 9]],
    ['Gemm, transposed weight', makeNode('Gemm', ['x', 'w'], ['y'], { attributes: { transB: 1 } }), [4, 5], [3, 5]],
    ['MatMul of three axes', makeNode('MatMul', ['x', 'w'], ['y']), [5, 4], [2, 3, 5]],
  ];
  for (const [name, node, weightDims, inputDims] of cases)
    it(`are what the layer multiplies: ${name}`, () => assertRowsGiveOutput(node, weightDims, inputDims));

  it('are drawn from all stretches of a sample, the same for the same seed', () => {
    const node = makeNode('Conv', ['x', 'w'], ['y']);
    const layout = { outputs: 1, inputs: 1, kernel: 1, outputStride: 1, inputStride: 1, groups: 1 };
    const input = {
      type: 'float' as const,
      dims: [1, 1, 10, 10],
      data: Float32Array.from({ length: 100 }, (_, i) => i),
    };
    const draw = (seed: number) => [
      ...inputRows(node, { input, layout, kernelShape: [1, 1] }, 0, { perSample: 10, seed, firstSample: 0 }).data,
    ];
    assert.deepEqual(
      draw(1).map((value) => Math.floor(value / 10)),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    );
    assert.deepEqual(draw(1), draw(1));
    assert.notDeepEqual(draw(1), draw(2));
  });
});
