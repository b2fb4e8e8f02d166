import type { Dimension } from '../value-type.ts';
import { range } from './constant.ts';
import { concatenated, pad } from './concat-split.ts';
import { convShape, globalPool, pooledShape } from './convolution.ts';
import { sameAsFirst, where } from './elementwise.ts';
import { dataDependent, gatherNd, gridSample } from './indexing.ts';
import { gemmShape, matMulShape } from './matmul.ts';
import { qLinearBinary, qLinearConv, quantizeLinear, dequantizeLinear } from './quantized.ts';
import { tensor, RuleContext, type Inferred, type InferRule } from './rule.ts';

/** The context of a node with other inputs in their place. */
function withInputs(context: RuleContext, inputs: readonly (Inferred | undefined)[]): RuleContext {
  const { node, opset, symbols, inferSubgraph } = context;
  return new RuleContext({ node, opset, symbols, inputs, inferSubgraph });
}

/** Rules of com.microsoft, ONNX Runtime's own operators. @see onnxruntime docs/ContribOperators.md */
export const MICROSOFT_RULES: Readonly<Record<string, InferRule>> = {
  Attention: (context) => attention(context),
  BiasGelu: sameAsFirst,
  DequantizeLinear: dequantizeLinear,
  DynamicQuantizeMatMul: (context) => [product(context, 0, 1)],
  DynamicQuantizeLSTM: (context) => dynamicLstm(context),
  EmbedLayerNormalization(context) {
    const ids = context.shape(0);
    const hidden = context.shape(2)?.[1] ?? null;
    const [batch, sequence] = [ids?.[0] ?? null, ids?.[1] ?? null];
    const embedded = tensor(context.elementType(2), [batch, sequence, hidden]);
    return [embedded, tensor('int32', [batch]), embedded];
  },
  ExpandDims(context) {
    const [data, axis] = [context.shape(0), context.numbers(1)?.[0]];
    if (data === undefined || axis === undefined) return [tensor(context.elementType(0), undefined)];
    const at = context.axis(axis, data.length + 1);
    return [tensor(context.elementType(0), [...data.slice(0, at), 1, ...data.slice(at)])];
  },
  FastGelu: sameAsFirst,
  FusedConv: (context) => [tensor(context.elementType(0), convShape(context, 0, 1))],
  FusedGemm: (context) => [tensor(context.elementType(0), gemmShape(context, 0, 1))],
  FusedMatMul: (context) => [transposedProduct(context)],
  Gelu: sameAsFirst,
  GatherBlockQuantized(context) {
    const [data, indices] = [context.shape(0), context.shape(1)];
    if (data === undefined || indices === undefined) return [tensor(context.elementType(2), undefined)];
    const axis = context.axis(context.node.int('gather_axis', 0), data.length);
    return [tensor(context.elementType(2), [...data.slice(0, axis), ...indices, ...data.slice(axis + 1)])];
  },
  GatherND: gatherNd,
  GridSample: gridSample,
  /** With Q, K and V packed into one input the width of the result is not followed. */
  GroupQueryAttention: (context) => [tensor(context.elementType(0), context.has(1) ? context.shape(0) : undefined)],
  Inverse: sameAsFirst,
  MatMulInteger16: (context) => [tensor('int32', matMulShape(context, context.shape(0), context.shape(1)))],
  /** A, B, scales, zero points …: float result of an integer product. */
  MatMulIntegerToFloat: (context) => [
    tensor(context.elementType(2), matMulShape(context, context.shape(0), context.shape(1))),
  ],
  MatMulNBits: (context) => packedProduct(context),
  MatMulBnb4: (context) => packedProduct(context),
  MultiHeadAttention(context) {
    const [query, value] = [context.shape(0), context.shape(2)];
    const isPlain = query?.length === 3 && value?.length === 3;
    return [
      tensor(context.elementType(0), isPlain ? [query[0] ?? null, query[1] ?? null, value[2] ?? null] : undefined),
    ];
  },
  NhwcMaxPool: (context) => [nhwc(context, (spatial) => pooledShape(spatial, 0))],
  QAttention: (context) => attention(context),
  Pad: pad,
  QEmbedLayerNormalization(context) {
    const [ids, words] = [context.shape(0), context.shape(2)];
    const [batch, sequence] = [ids?.[0] ?? null, ids?.[1] ?? null];
    return [tensor('float', [batch, sequence, words?.[1] ?? null]), tensor('int32', [batch])];
  },
  QGemm: (context) => [tensor(context.has(8) ? context.elementType(8) : 'float', gemmShape(context, 0, 3))],
  QLinearAdd: qLinearBinary,
  QLinearAveragePool: (context) => [tensor(context.elementType(0), qLinearPool(context))],
  QLinearConcat(context) {
    // y_scale, y_zero_point, then (tensor, scale, zero point) for each input
    const part = new Array<Inferred | undefined>(Math.floor((context.inputCount - 2) / 3))
      .fill(undefined)
      .map((_, index) => context.input(2 + 3 * index));
    const inner = withInputs(context, part);
    return [concatenated(inner, 0, part.length)];
  },
  QLinearConv: qLinearConv,
  QLinearGlobalAveragePool: (context) =>
    context.node.int('channels_last', 0) === 0
      ? globalPool(context)
      : [
          tensor(
            context.elementType(0),
            context.shape(0)?.map((size, axis, all) => (axis === 0 || axis === all.length - 1 ? size : 1)),
          ),
        ],
  QLinearLeakyRelu: sameAsFirst,
  QLinearMul: qLinearBinary,
  QLinearSigmoid: sameAsFirst,
  QLinearSoftmax: sameAsFirst,
  QLinearWhere: (context) => where(context).map((value) => (value === undefined ? undefined : { type: value.type })),
  QuantizeLinear: quantizeLinear,
  QuickGelu: sameAsFirst,
  Range: range,
  RotaryEmbedding: sameAsFirst,
  SkipLayerNormalization: skipNormalization,
  SkipSimplifiedLayerNormalization: skipNormalization,
  TransposeMatMul: (context) => [transposedProduct(context)],
  Trilu: sameAsFirst,
  Unique(context) {
    const size = dataDependent(context, 0);
    return [tensor(context.elementType(0), [size]), tensor('int64', context.shape(0)), tensor('int64', [size])];
  },
};

function skipNormalization(context: RuleContext): (Inferred | undefined)[] {
  const data = context.shape(0);
  const type = context.elementType(0);
  const statistics = tensor(
    'float',
    data?.map((size, axis, all) => (axis === all.length - 1 ? 1 : size)),
  );
  return [tensor(type, data), statistics, statistics, tensor(type, data)];
}

function product(context: RuleContext, left: number, right: number): Inferred | undefined {
  return tensor(context.elementType(left), matMulShape(context, context.shape(left), context.shape(right)));
}

/** FusedMatMul: transA/transB swap the last two axes; transBatchA/B move the batch axis, which is left unknown. */
function transposedProduct(context: RuleContext): Inferred | undefined {
  const { node } = context;
  const type = context.elementType(0);
  if (node.int('transBatchA', 0) !== 0 || node.int('transBatchB', 0) !== 0) return tensor(type, undefined);
  const swapped = (index: number, attribute: string): readonly Dimension[] | undefined => {
    const shape = context.shape(index);
    if (shape === undefined || shape.length < 2 || node.int(attribute, 0) === 0) return shape;
    return [...shape.slice(0, -2), shape.at(-1) ?? null, shape.at(-2) ?? null];
  };
  return tensor(type, matMulShape(context, swapped(0, 'transA'), swapped(1, 'transB')));
}

/** MatMulNBits: [..., K] -> [..., N]; K and N are attributes, the weight is packed. */
function packedProduct(context: RuleContext): (Inferred | undefined)[] {
  const data = context.shape(0);
  return [
    tensor(context.elementType(0), data === undefined ? undefined : [...data.slice(0, -1), context.node.int('N', 0)]),
  ];
}

/** Attention: X [batch, sequence, in], weight [in, 3*hidden] -> [batch, sequence, hidden], present [2, batch, heads, total, head]. */
function attention(context: RuleContext): (Inferred | undefined)[] {
  const { node, symbols } = context;
  const isQuantized = node.opType === 'QAttention';
  const type = isQuantized ? context.elementType(3) : context.elementType(0);
  const data = context.shape(0);
  const width = context.shape(1)?.[1] ?? null;
  const heads = node.int('num_heads', 1);
  const sizes = node.ints('qkv_hidden_sizes');
  const hidden: Dimension = sizes?.[2] ?? symbols.divideExactly(width, 3) ?? null;
  const past = context.shape(isQuantized ? 8 : 4);
  const [batch, sequence] = [data?.[0] ?? null, data?.[1] ?? null];
  const total = past === undefined ? sequence : symbols.add(past[3] ?? null, sequence);
  return [
    tensor(type, [batch, sequence, hidden]),
    tensor(type, [2, batch, heads, total, symbols.divideExactly(hidden, heads) ?? null]),
  ];
}

/** DynamicQuantizeLSTM: the weights are transposed, [directions, in, 4*hidden]. */
function dynamicLstm(context: RuleContext): (Inferred | undefined)[] {
  const data = context.shape(0);
  const hidden: Dimension = context.node.int('hidden_size', 0) || null;
  const directions = context.node.string('direction', 'forward') === 'bidirectional' ? 2 : 1;
  const [sequence, batch] = [data?.[0] ?? null, data?.[1] ?? null];
  const state = tensor(context.elementType(0), [directions, batch, hidden]);
  return [tensor(context.elementType(0), [sequence, directions, batch, hidden]), state, state];
}

function qLinearPool(context: RuleContext): readonly Dimension[] | undefined {
  if (context.node.int('channels_last', 0) === 0) return pooledShape(context, 0);
  return nhwcShape(context, (inner) => pooledShape(inner, 0));
}

function nhwc(
  context: RuleContext,
  shapeOf: (inner: RuleContext) => readonly Dimension[] | undefined,
): Inferred | undefined {
  return tensor(context.elementType(0), nhwcShape(context, shapeOf));
}

/** Runs a channels-first shape rule on a channels-last input. */
function nhwcShape(
  context: RuleContext,
  shapeOf: (inner: RuleContext) => readonly Dimension[] | undefined,
): readonly Dimension[] | undefined {
  const data = context.shape(0);
  if (data === undefined) return undefined;
  const moved = tensor(context.elementType(0), [data[0] ?? null, data.at(-1) ?? null, ...data.slice(1, -1)]);
  const result = shapeOf(withInputs(context, [moved]));
  return result === undefined ? undefined : [result[0] ?? null, ...result.slice(2), result[1] ?? null];
}
