import { logDeterminant } from '../../numerics/log-determinant.ts';
import type { Model } from '../../onnx/model.ts';
import type { NdArray } from '../../onnx/nd-array.ts';
import type { Graph } from '../../onnx/graph.ts';
import type { Node } from '../../onnx/node.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import { expose, probeNetwork, runProbe, type ProbeContext } from './probe-network.ts';

/** Added to the diagonal: two samples of one pattern must not make the logarithm infinite. */
const EPSILON = 1e-6;

/**
 * NASWOT: how well the pattern of units that are on tells the samples of a batch apart. K[i, j] counts units that are alike for
 * samples i and j; the score is ln |det K|.
 *
 * @returns undefined where the network has no rectifiers
 * @see Mellor et al., "Neural Architecture Search without Training", ICML 2021, eq. 2 and 3
 */
export async function activationPatternScore(
  model: Model,
  feeds: Readonly<Record<string, NdArray>>,
  context: ProbeContext,
): Promise<number | undefined> {
  const shapes = Object.fromEntries(Object.entries(feeds).map(([name, { dims }]) => [name, dims]));
  const network = probeNetwork(model, shapes, 'batch');
  const { b, types } = network;
  const { graph } = network.model;
  const rectified = graph.nodes.filter((node) => isRectifier(node, graph)).map(({ inputs }) => inputs[0] ?? '');
  if (rectified.length === 0) return undefined;
  let units = 0;
  const zero = b.float('zero', 0);
  const alike = rectified.map((value) => {
    const shape = types.shape(value);
    units += elementCount(shape.slice(1));
    const on = b.op('Cast', [b.op('Greater', [value, zero])], { attributes: { to: 1 } });
    const rows = b.op('Reshape', [on, b.ints('rows', [shape[0] ?? 1, -1])]);
    return b.op('FusedMatMul', [rows, rows], { domain: 'com.microsoft', attributes: { transB: 1 } });
  });
  const patterns = expose(network, b.op('Sum', alike));
  const results = await runProbe(network, feeds, context);
  const both = Float64Array.from(results.get(patterns)?.data as Float32Array);
  const samples = Math.sqrt(both.length);
  const kernel = both.map((count, k) => {
    const [i, j] = [Math.floor(k / samples), k % samples];
    // Both on, or both off: of all units those that are on for neither.
    const off = units - (both[i * samples + i] ?? 0) - (both[j * samples + j] ?? 0) + count;
    return count + off + (i === j ? EPSILON : 0);
  });
  return logDeterminant(kernel, samples);
}

/** Units that are either on or off: ReLU, and Clip from 0 on (ReLU6). */
function isRectifier(node: Node, graph: Graph): boolean {
  if (node.domain !== '') return false;
  if (node.opType === 'Relu') return true;
  return node.opType === 'Clip' && graph.initializers.get(node.inputs[1] ?? '')?.floats()[0] === 0;
}
