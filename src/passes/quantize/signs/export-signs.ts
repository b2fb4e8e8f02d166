import { defined, CompressionError } from '../../../errors.ts';
import { usesOf, type Graph } from '../../../onnx/graph.ts';
import type { GraphBuilder } from '../../../onnx/graph-builder.ts';
import { opsetOf, type Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import { upgradeOpset } from '../../../onnx/upgrade/upgrade-opset.ts';
import { sortTopologically } from '../../../onnx/verify/topological-order.ts';
import { copyModel } from '../../../training/copy-model.ts';
import type { TrainedValues } from '../../../training/trained-values.ts';
import { dropUnread } from '../scope.ts';
import {
  affineOf,
  foldLayers,
  normalizedLayers,
  scaledFilters,
  type NormalizedLayer,
} from '../trained/normalized-layers.ts';
import type { SignMethod } from './options.ts';
import { layerNode } from './restructure.ts';
import { writeScaledProducts } from './scaled-products.ts';
import type { SignLayer } from './sign-layers.ts';
import { signWeights, type SignWeights } from './sign-weights.ts';
import { SignWriter } from './sign-writer.ts';

/** First opset with BitwiseAnd. */
const BITS_OPSET = 18;

export interface SignExport {
  readonly model: Model;
  /** Bytes stored for each layer's weights, by the layer's label. */
  readonly bytes: ReadonlyMap<string, number>;
}

/** How a run's layers were trained. */
export interface SignRun {
  readonly layers: readonly SignLayer[];
  readonly method: SignMethod;
  /** Whether a normalization works with the statistics of its batch, so that it stays behind the layer. */
  readonly isTrained: (normalization: Node) => boolean;
}

/** The signs of each layer as the training graph takes them, before a normalization that is trained, by weight. */
export function signsOf(graph: Graph, run: SignRun, values: TrainedValues): ReadonlyMap<string, SignWeights> {
  const pairs = pairsOf(graph);
  return new Map(
    run.layers.map((layer): [string, SignWeights] => {
      const tensor = defined(graph.initializers.get(layer.weight), `weight "${layer.weight}"`);
      const pair = pairs.get(layer.weight);
      const isFolded = pair !== undefined && !run.isTrained(pair.normalization);
      const data = isFolded
        ? scaledFilters({ dims: tensor.dims, values: tensor.floats() }, affineOf(graph, pair).slope)
        : tensor.floats();
      return [layer.weight, signWeights(layer, data, run.method, values)];
    }),
  );
}

function pairsOf(graph: Graph): ReadonlyMap<string, NormalizedLayer> {
  return new Map(normalizedLayers(graph).map((pair) => [pair.convolution.inputs[1] ?? '', pair]));
}

/**
 * The model with its signs packed: normalizations folded into the magnitudes and biases of their layers.
 *
 * @param model - with the trained values; it is not changed
 * @param values - of the training run
 * @throws CompressionError MODEL_UNSUPPORTED where the model cannot be raised to the opset of BitwiseAnd
 */
export function exportSigns(model: Model, run: SignRun, values: TrainedValues): SignExport {
  const signs = signsOf(model.graph, run, values);
  const exported = copyModel(model);
  const { graph } = exported;
  raiseOpset(exported);
  const pairs = pairsOf(graph);
  const writer = new SignWriter(graph);
  const bytes = new Map<string, number>();
  const replaced = new Set<string>();
  for (const layer of run.layers) {
    const node = layerNode(graph, layer);
    const pair = pairs.get(layer.weight);
    const weights = defined(signs.get(layer.weight), `signs of "${layer.weight}"`);
    const affine = pair === undefined ? undefined : affineOf(graph, pair);
    const slope = pair !== undefined && run.isTrained(pair.normalization) ? affine?.slope : undefined;
    const written = writer.write(layer.weight, layer.dims, scaledWeights(layer, weights, slope));
    bytes.set(layer.label, written.bytes);
    for (const name of node.inputs.slice(1)) replaced.add(name);
    node.inputs[1] = written.value;
    if (pair !== undefined && affine !== undefined) {
      for (const name of pair.normalization.inputs.slice(1)) replaced.add(name);
      const bias = writer.builder.initializer(Tensor.float(`${layer.weight}_bias`, affine.offset));
      node.inputs = [...node.inputs.slice(0, 2), bias];
      node.outputs = [...pair.normalization.outputs.slice(0, 1)];
      graph.nodes = graph.nodes.filter((one) => one !== pair.normalization);
    }
    if (layer.signsInputs) writeInputs(writer.builder, node, { method: run.method, kernel: layer.dims.slice(2) });
  }
  writer.finish();
  sortTopologically(graph);
  dropUnread(graph, replaced);
  foldLayers(graph, normalizedLayers(graph));
  dropValueInfos(graph);
  return { model: exported, bytes };
}

function raiseOpset(model: Model): void {
  if (opsetOf(model) >= BITS_OPSET) return;
  const { skipped } = upgradeOpset(model, BITS_OPSET);
  if (opsetOf(model) >= BITS_OPSET) return;
  throw new CompressionError(
    'MODEL_UNSUPPORTED',
    `packed bits need opset ${BITS_OPSET}, and ${skipped[0] === undefined ? 'the model' : `${skipped[0].node} (${skipped[0].reason})`} cannot be raised to it; export the model again`,
  );
}

/** Magnitudes with the slope of the normalization behind the layer in them. */
function scaledWeights(
  { dims, axis }: SignLayer,
  weights: SignWeights,
  slope: Float32Array | undefined,
): SignWeights & { readonly magnitudeDims: readonly number[] } {
  const filters = slope === undefined ? axis : 0;
  const magnitudeDims = filters === undefined ? [] : dims.map((size, at) => (at === filters ? size : 1));
  if (slope === undefined) return { ...weights, magnitudeDims };
  const scaled = (magnitudes: Float32Array): Float32Array =>
    slope.map((factor, c) => factor * (magnitudes[magnitudes.length === 1 ? 0 : c] ?? 1));
  return { ...weights, high: scaled(weights.high), low: scaled(weights.low), magnitudeDims };
}

/** Signs (or zeros and ones) of what a layer reads, in standard operators. */
function writeInputs(
  b: GraphBuilder,
  node: Node,
  { method, kernel }: { readonly method: SignMethod; readonly kernel: readonly number[] },
): void {
  const [x = ''] = node.inputs;
  const name = node.name === '' ? (node.outputs[0] ?? '') : node.name;
  const scalar = (part: string, value: number): string => b.float(`${name}_${part}`, value);
  if (method === 'dorefa') {
    const [zero, one] = [scalar('zero', 0), scalar('one', 1)];
    node.inputs[0] = b.op('Round', [b.op('Clip', [x, zero, one], { name: `${name}_clip` })], { name: `${name}_bit` });
    return;
  }
  const isPositive = b.op('GreaterOrEqual', [x, scalar('zero', 0)], { name: `${name}_positive` });
  node.inputs[0] = b.op('Where', [isPositive, scalar('plus', 1), scalar('minus', -1)], { name: `${name}_sign` });
  if (method === 'xnor') writeScaledProducts(b, node, { x, kernel });
}

/** Declared types of values that nothing makes any more. */
function dropValueInfos(graph: Graph): void {
  const known = new Set([...graph.nodes.flatMap(({ outputs }) => outputs), ...usesOf(graph).keys()]);
  for (const name of graph.valueInfos.keys()) if (!known.has(name)) graph.valueInfos.delete(name);
}
