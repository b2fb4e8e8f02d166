import { gramOfRows } from '../../numerics/matrix.ts';
import { symmetricEigen } from '../../numerics/symmetric-eigen.ts';
import type { Model } from '../../onnx/model.ts';
import type { NdArray } from '../../onnx/nd-array.ts';
import { differentiate } from '../differentiate.ts';
import { expose, probeNetwork, runProbe, type ProbeContext } from './probe-network.ts';

/** Keeps logarithm and quotient finite for eigenvalues of 0. */
const SMALLEST = 1e-5;

/**
 * Covariance of Jacobians: how differently the network answers to changes of different samples. Of the correlations between the
 * samples' gradients of the summed scores by the input, with eigenvalues v: -sum(ln(v + k) + 1 / (v + k)).
 *
 * @returns undefined where the scores do not depend on a sample, so that nothing is correlated
 * @see Mellor et al., "Neural Architecture Search without Training", first version 2020 (arXiv 2006.04647v1)
 */
export async function jacobianCovariance(
  model: Model,
  feeds: Readonly<Record<string, NdArray>>,
  context: ProbeContext,
): Promise<number | undefined> {
  const shapes = Object.fromEntries(Object.entries(feeds).map(([name, { dims }]) => [name, dims]));
  const network = probeNetwork(model, shapes, 'batch');
  const { b, types, scores } = network;
  const seed = b.array('ones', ones(types.shape(scores)));
  const inputs = network.model.graph.inputs.flatMap(({ name }) => (types.isFloat(name) ? [name] : []));
  const gradients = [...differentiate(b, { loss: [{ of: scores, gradient: seed }], wrt: inputs, types }).values()];
  const outputs = gradients.map((gradient) => expose(network, gradient));
  const results = await runProbe(network, feeds, context);
  const parts = outputs.map((name) => results.get(name)?.data as Float32Array);
  const samples = types.shape(scores)[0] ?? 1;
  const correlations = correlationsOf(rowsOf(parts, samples), samples);
  if (!correlations.every(Number.isFinite)) return undefined;
  let score = 0;
  for (const value of symmetricEigen(correlations, samples).values) {
    score -= Math.log(value + SMALLEST) + 1 / (value + SMALLEST);
  }
  return score;
}

/** The gradients of each sample, those of all inputs behind each other. */
function rowsOf(parts: readonly Float32Array[], samples: number): Float64Array {
  const rows = new Float64Array(parts.reduce((sum, { length }) => sum + length, 0));
  const width = rows.length / samples;
  for (let i = 0; i < samples; i += 1) {
    let place = i * width;
    for (const part of parts) {
      const own = part.length / samples;
      rows.set(part.subarray(i * own, (i + 1) * own), place);
      place += own;
    }
  }
  return rows;
}

/** Pearson's correlation of each pair of rows. */
function correlationsOf(rows: Float64Array, n: number): Float64Array {
  const width = rows.length / n;
  for (let i = 0; i < n; i += 1) {
    const row = rows.subarray(i * width, (i + 1) * width);
    let mean = 0;
    for (const value of row) mean += value / width;
    for (let k = 0; k < width; k += 1) row[k] = (row[k] ?? 0) - mean;
  }
  const covariance = gramOfRows(rows, n, width);
  return covariance.map((value, k) => {
    const [i, j] = [Math.floor(k / n), k % n];
    return i === j && value > 0 ? 1 : value / Math.sqrt((covariance[i * n + i] ?? 0) * (covariance[j * n + j] ?? 0));
  });
}

function ones(dims: readonly number[]): NdArray {
  return { type: 'float', dims, data: new Float32Array(dims.reduce((a, c) => a * c, 1)).fill(1) };
}
