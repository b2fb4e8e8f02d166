import { CompressionError, defined } from '../../../errors.ts';
import { GraphBuilder } from '../../../onnx/graph-builder.ts';
import type { Model } from '../../../onnx/model.ts';
import type { NdArray } from '../../../onnx/nd-array.ts';
import type { Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { Session } from '../../../runtime/session.ts';
import type { FeedSource, PassContext, Skipped } from '../../pass.ts';
import { nodeLabel } from '../../quantize/node-filter.ts';
import { inputRows, rowsObstacle, type InputRows } from '../../layer-inputs/input-rows.ts';
import { outputRows, realRows } from '../../layer-inputs/output-rows.ts';
import { groupMatrix, putGroup } from '../../layer-inputs/weight-matrix.ts';
import { targetLabel, weightTargets, type WeightTarget } from '../../layer-inputs/weight-targets.ts';
import { affectedValues, losesInputs, type KeptPositions } from './kept-positions.ts';
import { layerBias } from '../../layer-bias.ts';
import { fitLinear, RegressionSums } from './regression.ts';
import { residualSum, type ResidualSum } from './residual-sum.ts';
import { SteppedRun } from '../../stepped-run.ts';

export type RecoveryContext = Pick<PassContext, 'runtime' | 'threads' | 'signal' | 'seed' | 'progress'>;

/** What came before pruning, and which of it is left. */
export interface PrunedFrom {
  /** The model before removal; values have the names they have in the pruned one. */
  readonly original: Model;
  readonly kept: KeptPositions;
}

export interface ReconstructedLayer {
  readonly node: string;
  /** Weights an output channel. */
  readonly inputs: number;
  /** Places of the calibration data that the fit rests on. */
  readonly rows: number;
  /** Mean squared error over the variance of the original's outputs, at these places. */
  readonly errorBefore: number;
  readonly errorAfter: number;
}

export interface Reconstruction {
  readonly layers: readonly ReconstructedLayer[];
  readonly skipped: readonly Skipped[];
}

/** Rows that a layer's fit rests on, about: 32 places of each of 512 images. */
const ROWS = 2 ** 14;
/** Of the mean of the squared inputs. */
const DAMPING = 1e-3;
/** The factorization takes the cube of it: 4,608 about a minute, and 170 MB each of three matrices. */
const MAX_COLUMNS = 4608;
/** Products of fewer columns are made here; above, a session is many times as fast. */
const SMALL_COLUMNS = 48;

/**
 * Gives every layer behind a cut new weights (and bias, where it has a place for one) by least squares: so that on the
 * calibration data its outputs come as near as they can to those of the original at the channels that are left. Layer after
 * layer in graph order, each on the inputs that the layers before it, reconstructed already, really give it; so a layer also
 * makes up for errors of those. Depthwise layers, whose inputs stay whole, are left alone, as are layers that nothing changed for.
 *
 * About one run of either model over the data. Changes `pruned`; deterministic for a seed.
 *
 * @param pruned - `from.original` without the channels that went
 * @throws CompressionError MODEL_RUN; DATASET_EMPTY; AbortError when canceled
 * @see He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017, section 3.1 (2)
 * @see Luo, Wu and Lin, "ThiNet", ICCV 2017, section 3.3
 */
export async function reconstructLayers(
  pruned: Model,
  { original, kept }: PrunedFrom,
  feeds: FeedSource,
  context: RecoveryContext,
): Promise<Reconstruction> {
  const { layers, skipped } = layersToFit(pruned, original, kept);
  const fitted: ReconstructedLayer[] = [];
  const until = endOf(pruned, original, layers);
  const run = new SteppedRun(pruned, feeds, context, { until: until.pruned });
  const reference = new SteppedRun(original, feeds, context, { until: until.original });
  const products = new Products(context);
  try {
    for (const [number, layer] of layers.entries()) {
      context.progress(number / layers.length, `reconstructing ${layer.label}`);
      const sums = await gather(layer, { run, reference, products, samples: feeds.samples, seed: context.seed });
      const result = fit(pruned, layer, sums);
      if (result === undefined) {
        skipped.push({ node: layer.label, reason: 'its inputs or outputs are not finite on the calibration data' });
      } else fitted.push(result);
    }
  } finally {
    await products.release();
  }
  context.progress(1, 'layers reconstructed');
  return { layers: fitted, skipped };
}

/** Past the last nodes that matter: layers, and the sums they go into. */
function endOf(pruned: Model, original: Model, layers: readonly Layer[]): { pruned: number; original: number } {
  const sums = new Set(layers.flatMap(({ residual }) => residual?.sum.outputs ?? []));
  const lastSum = ({ graph }: Model): number => graph.nodes.findLastIndex(({ outputs }) => sums.has(outputs[0] ?? ''));
  return {
    pruned: Math.max(lastSum(pruned), ...layers.map(({ index }) => index)) + 1,
    original: Math.max(lastSum(original), ...layers.map(({ originalIndex }) => originalIndex)) + 1,
  };
}

interface Layer {
  readonly node: Node;
  readonly index: number;
  readonly originalIndex: number;
  readonly label: string;
  readonly target: WeightTarget;
  /** Output channels of the original that are left; undefined: all. */
  readonly outputs: readonly number[] | undefined;
  /** The sum that its outputs go into, where the other operand is not what it was: the layer makes up for that too. */
  readonly residual: ResidualSum | undefined;
}

function layersToFit(pruned: Model, original: Model, kept: KeptPositions): { layers: Layer[]; skipped: Skipped[] } {
  const { targets, skipped: unfit } = weightTargets(pruned, { exclude: [] });
  const affected = affectedValues(original, kept);
  const places = new Map(pruned.graph.nodes.map((node, index) => [node, index]));
  const originals = new Map(original.graph.nodes.map((node, index) => [node.outputs[0] ?? '', index]));
  const layers: Layer[] = [];
  const behind = new Set(
    pruned.graph.nodes.filter(({ outputs }) => affected.has(outputs[0] ?? '')).map((node) => nodeLabel(node)),
  );
  const skipped = unfit.filter(({ node }) => behind.has(node));
  for (const target of targets) {
    const [node, other] = target.nodes;
    if (node === undefined || target.nodes.every(({ outputs }) => !affected.has(outputs[0] ?? ''))) continue;
    const label = targetLabel(target);
    const originalIndex = originals.get(node.outputs[0] ?? '');
    const before = original.graph.nodes[originalIndex ?? -1];
    const reason =
      other !== undefined
        ? 'several layers share its weight'
        : before === undefined || originalIndex === undefined
          ? 'the original has no such layer'
          : obstacleOf(pruned, node, target, losesInputs(before, original.graph, kept));
    if (reason !== undefined || originalIndex === undefined) {
      skipped.push({ node: label, reason: reason ?? '' });
      continue;
    }
    const axes = kept(node.outputs[0] ?? '');
    const outputs = node.opType === 'Conv' ? axes[1] : axes.at(-1);
    const sum = node.opType === 'Conv' ? residualSum(pruned.graph, node, target.layout.outputs) : undefined;
    const residual = sum !== undefined && affected.has(sum.other) ? sum : undefined;
    layers.push({ node, index: places.get(node) ?? 0, originalIndex, label, target, outputs, residual });
  }
  return { layers: layers.map((layer) => lastBeforeSum(layer, layers, places)), skipped };
}

/** Of the layers that a sum waits for, only the last makes up for the others: they are done by then. */
function lastBeforeSum(layer: Layer, layers: readonly Layer[], places: ReadonlyMap<Node, number>): Layer {
  if (layer.residual === undefined) return layer;
  const end = places.get(layer.residual.sum) ?? 0;
  const isLast = layers.every(({ index }) => index <= layer.index || index > end);
  return isLast ? layer : { ...layer, residual: undefined };
}

function obstacleOf(model: Model, node: Node, target: WeightTarget, isCut: boolean): string | undefined {
  const { layout } = target;
  const columns = layout.inputs * layout.kernel;
  if (columns > MAX_COLUMNS)
    return `${columns} weights a channel are too many for least squares, at most ${MAX_COLUMNS}`;
  if (layout.groups > 1 && layout.inputs === 1 && !isCut) {
    return 'it is depthwise: its channels stayed whole';
  }
  if (node.opType === 'Gemm' && node.float('alpha', 1) !== 1) return 'its alpha is not 1';
  if (layerBias(model, node, layout.outputs) === undefined) return 'its bias is not one constant a channel';
  return rowsObstacle(node);
}

interface Sources {
  readonly run: SteppedRun;
  readonly reference: SteppedRun;
  readonly products: Products;
  readonly samples: number;
  readonly seed: number;
}

/** Sums over inputs and wanted outputs, by group of the layer. */
async function gather(layer: Layer, sources: Sources): Promise<RegressionSums[]> {
  const { node, target, outputs } = layer;
  const { layout } = target;
  const perGroup = layout.outputs / layout.groups;
  const sums = Array.from({ length: layout.groups }, () => new RegressionSums(layout.inputs * layout.kernel, perGroup));
  const [input, output] = [node.inputs[0] ?? '', node.outputs[0] ?? ''];
  const perSample = Math.max(1, Math.ceil(ROWS / Math.max(1, sources.samples)));
  const others = layer.residual === undefined ? [] : [layer.residual.other];
  const wanted = sources.reference.advance(layer.originalIndex, [output, ...others]);
  for await (const { values, count, firstSample } of sources.run.advance(layer.index, [input, ...others])) {
    const next = await wanted.next();
    if (next.done === true) throw new CompressionError('INTERNAL', 'two passes over the same data differ');
    const sampling = { perSample, seed: sources.seed, firstSample };
    const rowsOf = (from: ReadonlyMap<string, NdArray>, name: string): InputRows =>
      outputRows(node, defined(from.get(name), name), sampling);
    const y = rowsOf(next.value.values, output);
    const [lost] = others
      // A smaller operand is repeated over the places, and its rows are others.
      .filter((other) => String(next.value.values.get(other)?.dims) === String(next.value.values.get(output)?.dims))
      .map((other) => ({
        was: rowsOf(next.value.values, other),
        is: rowsOf(values, other).data,
        factors: layer.residual?.factors ?? new Float64Array(0),
      }));
    const place = { input: defined(values.get(input), input), layout, kernelShape: target.dims.slice(2) };
    for (const [group, sum] of sums.entries()) {
      const x = realRows(inputRows(node, place, group, sampling), place.input, count);
      const from = group * perGroup;
      await sources.products.add(sum, x, wantedRows(y, lost, { outputs, from, count: perGroup, rows: x.count }));
    }
  }
  await wanted.next();
  return sums;
}

/** What a sum's other operand was in the original and is now, at the places of the rows. */
interface OtherOperand {
  readonly was: InputRows;
  readonly is: Float32Array;
  readonly factors: Float64Array;
}

interface Columns {
  readonly outputs: readonly number[] | undefined;
  readonly from: number;
  readonly count: number;
  readonly rows: number;
}

/** The original's outputs at the channels that stay, and what the layer should add to them for the sum behind it to be right. */
function wantedRows(
  y: InputRows,
  other: OtherOperand | undefined,
  { outputs, from, count, rows }: Columns,
): Float32Array {
  const wanted = new Float32Array(rows * count);
  const left = other === undefined ? 0 : other.is.length / Math.max(1, other.was.count);
  for (let row = 0; row < rows; row += 1) {
    for (let o = 0; o < count; o += 1) {
      const channel = from + o;
      const source = outputs?.[channel] ?? channel;
      let value = y.data[row * y.columns + source] ?? 0;
      if (other !== undefined) {
        const was = other.was.data[row * other.was.columns + source] ?? 0;
        const is = other.is[row * left + channel] ?? 0;
        value += (was - is) * (other.factors[channel] ?? 0);
      }
      wanted[row * count + o] = value;
    }
  }
  return wanted;
}

function fit(
  model: Model,
  { node, target, label }: Layer,
  sums: readonly RegressionSums[],
): ReconstructedLayer | undefined {
  const { layout } = target;
  const tensor = defined(model.graph.initializers.get(target.name), target.name);
  const weights = Float32Array.from(tensor.floats());
  const bias = defined(layerBias(model, node, layout.outputs), `bias of ${label}`);
  const shift = new Float64Array(layout.outputs);
  const perGroup = layout.outputs / layout.groups;
  let [before, after] = [0, 0];
  for (const [group, sum] of sums.entries()) {
    const { data } = groupMatrix(weights, layout, group);
    const own = bias.current.subarray(group * perGroup, (group + 1) * perGroup);
    const shifts = bias.add !== undefined;
    const result = fitLinear(sum, { weights: data, bias: own, shifts, damping: DAMPING });
    if (result === undefined) return undefined;
    putGroup(weights, result.weights, layout, group);
    shift.set(result.shift, group * perGroup);
    before += result.errorBefore / layout.groups;
    after += result.errorAfter / layout.groups;
  }
  model.graph.initializers.set(target.name, Tensor.float(target.name, weights, tensor.dims));
  bias.add?.(shift);
  const [first] = sums;
  const { inputs, rows } = first ?? { inputs: 0, rows: 0 };
  return { node: label, inputs, rows, errorBefore: before, errorAfter: after };
}

/** Makes XᵀX and YᵀX; in a session where they are large. */
class Products {
  readonly #context: RecoveryContext;
  #session: Session | undefined;

  constructor(context: RecoveryContext) {
    this.#context = context;
  }

  async add(sums: RegressionSums, { count, columns, data }: InputRows, y: Float32Array): Promise<void> {
    sums.addRows(data, y, count);
    if (columns <= SMALL_COLUMNS) {
      sums.addProducts(data, y, count);
      return;
    }
    this.#session ??= await productSession(this.#context);
    const feeds = {
      x: { type: 'float' as const, dims: [count, columns], data: data.subarray(0, count * columns) },
      y: { type: 'float' as const, dims: [count, sums.outputs], data: y },
    };
    const [xx, yx] = (await this.#session.run(feeds)).values();
    addTo(sums.xx, xx);
    addTo(sums.yx, yx);
  }

  async release(): Promise<void> {
    await this.#session?.release();
    this.#session = undefined;
  }
}

function addTo(total: Float64Array, result: NdArray | undefined): void {
  const values = result?.data instanceof Float32Array ? result.data : new Float32Array(0);
  for (let i = 0; i < total.length; i += 1) total[i] = (total[i] ?? 0) + (values[i] ?? 0);
}

function productSession({ runtime, threads }: RecoveryContext): Promise<Session> {
  const b = new GraphBuilder('products');
  const x = b.input('x', 'float', ['rows', 'inputs']);
  const y = b.input('y', 'float', ['rows', 'outputs']);
  const attributes = { transA: 1 };
  b.output(b.op('Gemm', [x, x], { attributes }), 'xx', 'float', ['inputs', 'inputs']);
  b.output(b.op('Gemm', [y, x], { attributes }), 'yx', 'float', ['outputs', 'inputs']);
  return runtime.createSession(b.model(21), { threads });
}
