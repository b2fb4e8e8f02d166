import { GraphBuilder } from '../onnx/graph-builder.ts';
import type { Graph } from '../onnx/graph.ts';
import type { ModelFunction } from '../onnx/model.ts';
import { elementCount } from '../onnx/nd-array.ts';
import type { Attribute, AttributeInit, Node } from '../onnx/node.ts';
import type { ConvOptions, Feature, NetworkBuilder } from './network-builder.ts';

/** Domain and name of the adder layer: what trainers, counters and reports recognize it by. */
export const ADDER_DOMAIN = 'ai.tersor';
export const ADDER_TYPE = 'Adder2D';
const ADDER_VERSION = 1;
const OPSET = 21;

/** AttributeProto.AttributeType. */
const ATTRIBUTE_INT = 2;
const ATTRIBUTE_INTS = 7;

type Attributes = Readonly<Record<string, AttributeInit>>;

export function isAdder(node: Node): boolean {
  return node.domain === ADDER_DOMAIN && node.opType === ADDER_TYPE;
}

/**
 * The adder layer as a model-local function of standard operators, so that every ONNX runtime can run it:
 *
 * `Y[n, m, h, w] = - sum over c, i, j of |X[n, c, h s + i - p, w s + j - p] - W[m, c, i, j]|`
 *
 * X [N, C, H, W], W [M, C, kh, kw], Y [N, M, OH, OW]; padding is zeros, which are subtracted from like any pixel.
 * Attributes: `kernel_shape`, `strides`, `pads` as in Conv, `channels` (C), `tile` (output channels at a time; divides M).
 *
 * With |x - w| = 2 max(x, w) - x - w only the maximum is taken for every pair, and the sums of x and of w once each: two
 * passes over memory instead of three. Measured with ONNX Runtime 1.30 on two threads for the three layer sizes of
 * ResNet-20 at batch 32, whole batch at once: 13, 9 and 11 ms with Max and ReduceSum; 28, 16 and 14 with Sub, Abs and
 * ReduceSum; 80, 56 and 68 with ReduceL1. A Scan over samples with a Scan over `tile` filters inside keeps the pairs in
 * the cache and the memory at tile + 1 copies of one sample's patches: at batch 128 on a busy machine 55, 55 and 75 ms
 * instead of 360 to 410. The patches are cut out by a depthwise convolution with one-hot kernels, which is as fast as
 * slices and takes any kernel and stride.
 *
 * Gradients: dW = sum of (X - W) dY, dX = - sum over m of clip(X - W, -1, 1) dY.
 *
 * @see Chen et al., "AdderNet: Do We Really Need Multiplications in Deep Learning?", CVPR 2020, equations 2, 5 and 6
 */
function adderFunction(): ModelFunction {
  const body = new GraphBuilder(ADDER_TYPE);
  const [x, w] = [body.fresh('X'), body.fresh('W')];
  const op = (opType: string, name: string, inputs: readonly string[], attributes: Attributes = {}): string =>
    body.op(opType, inputs, { name, attributes });
  const ints = (name: string, values: readonly number[]): string => op('Constant', name, [], { value_ints: values });
  const size = (name: string, of: string, axis: number): string =>
    op('Shape', name, [of], { start: axis, end: axis + 1 });
  const list = (name: string, parts: readonly string[]): string => op('Concat', name, parts, { axis: 0 });

  const [one, open] = [ints('one', [1]), ints('open', [-1])];
  const [height, width] = [size('kernel_height', w, 2), size('kernel_width', w, 3)];
  const channels = size('channels', w, 1);
  const taps = op('Mul', 'taps', [height, width]);
  const zeros = op('ConstantOfShape', 'zeros', [list('square', [taps, taps])]);
  const eye = op('EyeLike', 'eye', [zeros]);
  const rows = op('Tile', 'one_hot_rows', [eye, list('repeats', [channels, one])]);
  const oneHot = op('Reshape', 'one_hot', [rows, list('one_hot_shape', [open, one, height, width])]);
  const tile = op('Unsqueeze', 'tile_length', [
    op('Constant', 'tile', [], { value_int: reference('tile', ATTRIBUTE_INT) }),
    ints('axis_0', [0]),
  ]);
  const patchLength = op('Mul', 'patch_length', [taps, channels]);
  const tiles = op('Reshape', 'tiles', [w, list('tiles_shape', [open, tile, patchLength, one])]);
  const sumsOfW = op('ReduceSum', 'sums_of_w', [w, ints('filter_axes', [1, 2, 3])], { keepdims: 0 });
  const filters = op('Unsqueeze', 'filters', [sumsOfW, ints('map_axes', [1, 2])]);
  const y = op('Scan', 'Y', [x], {
    num_scan_inputs: 1,
    body: { kind: 'graph', value: sampleBody(oneHot, tiles, filters) },
  });
  return {
    name: ADDER_TYPE,
    domain: ADDER_DOMAIN,
    overload: '',
    inputs: [x, w],
    outputs: [y],
    attributeNames: ['kernel_shape', 'strides', 'pads', 'channels', 'tile'],
    attributes: new Map(),
    nodes: body.graph.nodes,
    opsetImports: new Map([['', OPSET]]),
    valueInfos: new Map(),
    docString: 'Y[n,m] = -sum |X - W[m]| over each patch: convolution with the L1 distance in the place of the product',
    metadata: [],
    unknownFields: [],
  };
}

/**
 * One sample [C, H, W] to [M, OH, OW].
 *
 * @param oneHot - kernels that cut out patches, [C kh kw, 1, kh, kw]
 * @param tiles - the filters, [M / tile, tile, K, 1] with K = C kh kw
 * @param filters - their sums, [M, 1, 1]
 */
function sampleBody(oneHot: string, tiles: string, filters: string): Graph {
  const body = new GraphBuilder('sample');
  // No sizes: they are those of the caller.
  body.graph.inputs.push({ name: 'sample_x', type: { kind: 'tensor', elementType: 'float' } });
  const op = (opType: string, name: string, inputs: readonly string[], attributes: Attributes = {}): string =>
    body.op(opType, inputs, { name: `sample_${name}`, attributes });
  const ints = (name: string, values: readonly number[]): string => op('Constant', name, [], { value_ints: values });
  const patches = op('Conv', 'patches', [op('Unsqueeze', 'batch', ['sample_x', ints('axis_0', [0])]), oneHot], {
    kernel_shape: reference('kernel_shape', ATTRIBUTE_INTS),
    strides: reference('strides', ATTRIBUTE_INTS),
    pads: reference('pads', ATTRIBUTE_INTS),
    group: reference('channels', ATTRIBUTE_INT),
  });
  const axis1 = ints('axis_1', [1]);
  const columns = op('Reshape', 'columns', [patches, ints('columns_shape', [0, 0, -1])]);
  const maxima = op('Scan', 'maxima', [tiles], {
    num_scan_inputs: 1,
    body: { kind: 'graph', value: tileBody(columns, axis1) },
  });
  const map = op('Shape', 'map', [patches], { start: 2, end: 4 });
  const mapShape = op('Concat', 'map_shape', [ints('open', [-1]), map], { axis: 0 });
  const sumsOfMaxima = op('Reshape', 'sums_of_maxima', [maxima, mapShape]);
  const sumOfX = op('ReduceSum', 'sum_of_x', [patches, axis1], { keepdims: 0 });
  const two = op('Constant', 'two', [], { value_float: { float: 2 } });
  const y = op('Sub', 'y', [op('Add', 'sums', [sumOfX, filters]), op('Mul', 'twice', [sumsOfMaxima, two])]);
  body.graph.outputs.push({ name: y, type: { kind: 'tensor', elementType: 'float' } });
  return body.graph;
}

/** For `tile` filters [tile, K, 1] against columns [1, K, L]: sums over the patch of the larger of the two, [tile, L]. */
function tileBody(columns: string, patchAxis: string): Graph {
  const body = new GraphBuilder('tile');
  body.graph.inputs.push({ name: 'tile_filters', type: { kind: 'tensor', elementType: 'float' } });
  const larger = body.op('Max', [columns, 'tile_filters'], { name: 'tile_max' });
  const sum = body.op('ReduceSum', [larger, patchAxis], { name: 'tile_sum', attributes: { keepdims: 0 } });
  body.graph.outputs.push({ name: sum, type: { kind: 'tensor', elementType: 'float' } });
  return body.graph;
}

function reference(refAttrName: string, type: number): Attribute {
  return { kind: 'reference', refAttrName, type };
}

/** Adder layer in the place of a convolution: `<name>.weight` starts standard normal, as in the authors' code; no bias. */
export function adderLayer(network: NetworkBuilder, name: string, x: Feature, options: ConvOptions): Feature {
  const { channels, kernel, stride = 1, padding = (kernel - 1) / 2 } = options;
  const dims = [channels, x.channels, kernel, kernel];
  const weight = network.weight(`${name}.weight`, dims, options.initialization ?? { kind: 'normal', std: 1 });
  const y = network.resized(name, { ...x, channels }, { kernel, stride, padding });
  network.declareFunction(adderFunction(), ADDER_VERSION);
  const value = network.graph.op(ADDER_TYPE, [x.value, weight], {
    name,
    domain: ADDER_DOMAIN,
    attributes: {
      kernel_shape: [kernel, kernel],
      strides: [stride, stride],
      pads: [padding, padding, padding, padding],
      channels: x.channels,
      tile: tileOf(channels, elementCount([x.channels, kernel, kernel, y.height, y.width])),
    },
  });
  return { ...y, value };
}

/** Pairs of a tile: 4 MB of floats. Larger ones fall out of the cache, smaller ones cost more in calls than in work. */
const TILE_PAIRS = 2 ** 20;

/** Two at least where that divides, so that a sum has more than one row to share between threads. */
function tileOf(channels: number, pairsPerFilter: number): number {
  const fitting = [16, 8, 4].find((tile) => channels % tile === 0 && tile * pairsPerFilter <= TILE_PAIRS);
  return fitting ?? (channels % 2 === 0 ? 2 : 1);
}
