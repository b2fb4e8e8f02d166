import { CompressionError } from '../../../errors.ts';
import { inferTypes } from '../../../onnx/inference/infer-types.ts';
import type { Model } from '../../../onnx/model.ts';
import { calibrate } from '../../calibrate.ts';
import { targetLabel, weightTargets, type WeightTarget } from '../../layer-inputs/weight-targets.ts';
import type { ObservationPoint, Observations } from '../../observe.ts';
import type { PassContext, Skipped } from '../../pass.ts';
import { visitKernels } from '../equalize/scalable-layer.ts';
import { moveScales, type Branches } from './move-scales.ts';

/** Products that read one value, with what is to be known of it. */
interface ObservedBranches extends Branches {
  readonly channels: number;
  readonly point: ObservationPoint;
}

export interface SmoothReport {
  /** Values that were smoothed: into the constants of what makes them, or by a Mul of their own. */
  readonly folded: number;
  readonly inserted: number;
  readonly largestScale: number;
}

export interface Smoothing {
  readonly report: SmoothReport;
  readonly skipped: readonly Skipped[];
  /** What the added Mul nodes make; their names, too. Their factors are to stay in float: eight bits for all of them would undo what they do. */
  readonly smoothed: ReadonlySet<string>;
}

const SMALLEST_SCALE = 1e-5;

/**
 * Moves outliers of activations into weights: each input channel j of a product of matrices is divided by
 * s_j = max|X_j|^alpha / max|W_j|^(1 - alpha) and its weights are multiplied by it, so both are easy to quantize. The division
 * goes into the constants of the operator before, where nobody else reads its result; else a Mul is added. Changes the model.
 *
 * @param alpha - 0..1: how much of the difficulty goes into the weights
 * @throws CompressionError DATASET_EMPTY, MODEL_RUN
 * @see Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", ICML 2023, eq. 4
 */
export async function smooth(model: Model, alpha: number, context: PassContext): Promise<Smoothing> {
  const feeds = context.data.calibration;
  if (feeds === undefined) throw new CompressionError('PASS_PRECONDITION', 'smooth needs calibration data');
  const { branches, skipped } = findBranches(model);
  const smoothed = new Set<string>();
  let [folded, largestScale] = [0, 1];
  if (branches.length > 0) {
    const observations = await calibrate(
      model,
      branches.map(({ point }) => point),
      feeds,
      context,
    );
    for (const branch of branches) {
      const scales = scalesOf(model, branch, observations, alpha);
      if (scales === undefined) continue;
      const multiplier = moveScales(model, branch, scales);
      largestScale = scales.reduce((a, b) => Math.max(a, b), largestScale);
      if (multiplier === undefined) folded += 1;
      else smoothed.add(multiplier.outputs[0] ?? '');
    }
  }
  return { report: { folded, inserted: smoothed.size, largestScale }, skipped, smoothed };
}

function findBranches(model: Model): { branches: ObservedBranches[]; skipped: Skipped[] } {
  const { targets } = weightTargets(model, { exclude: [] });
  const types = inferTypes(model);
  const byValue = new Map<string, WeightTarget[]>();
  const skipped: Skipped[] = [];
  for (const target of targets) {
    const { nodes } = target;
    const [node] = nodes;
    if (node === undefined || (node.opType !== 'MatMul' && node.opType !== 'Gemm')) continue;
    const value = node.inputs[0] ?? '';
    const type = types.of(model.graph, value);
    const reason = nodes.some(({ inputs }) => inputs[0] !== value)
      ? 'layers with different inputs share its weight'
      : node.int('transA', 0) === 1
        ? 'it reads its input transposed'
        : type?.kind !== 'tensor' || type.elementType !== 'float'
          ? `the type of "${value}" is not float`
          : undefined;
    if (reason !== undefined) skipped.push({ node: targetLabel(target), reason: `not smoothed: ${reason}` });
    else byValue.set(value, [...(byValue.get(value) ?? []), target]);
  }
  const branches = [...byValue].map(([value, own]): ObservedBranches => {
    const channels = own[0]?.layout.inputs ?? 0;
    return { value, targets: own, channels, point: { tensor: value, statistic: { kind: 'channel-range', axis: -1 } } };
  });
  return { branches, skipped };
}

/** s of each channel; 1 where input or weights are always 0. Undefined where the value was never made. */
function scalesOf(
  { graph }: Model,
  { targets, channels, point }: ObservedBranches,
  observations: Observations,
  alpha: number,
): Float64Array | undefined {
  const observed = observations.get(point);
  if (observed?.kind !== 'channel-range') return undefined;
  const largest = new Float64Array(channels);
  for (const { name, layout } of targets) {
    const values = graph.initializers.get(name)?.floats() ?? [];
    visitKernels(layout, (input, _output, from) => {
      largest[input] = Math.max(largest[input] ?? 0, Math.abs(values[from] ?? 0));
    });
  }
  return largest.map((w, j) => {
    const x = Math.max(Math.abs(observed.min[j] ?? 0), Math.abs(observed.max[j] ?? 0));
    return x === 0 || w === 0 ? 1 : Math.max(x ** alpha / w ** (1 - alpha), SMALLEST_SCALE);
  });
}
