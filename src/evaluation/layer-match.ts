import { DATA_TYPES, type DataType } from '../onnx/data-type.ts';
import { producersOf, usesOf, type Graph, type Use } from '../onnx/graph.ts';
import type { Node } from '../onnx/node.ts';
import type { Tensor } from '../onnx/tensor.ts';
import { constantRoles, constantsOf, rangeOf, storedValues, type StoredWeight } from './stored-weights.ts';
import { asNumbers } from './numbers.ts';

/** One layer of the input model with its counterpart in the result. */
export interface LayerPair {
  readonly node: Node;
  /** The value of the input model that is compared: the layer's output, or what a folded normalization made of it. */
  readonly output: string;
  /** Where the result has that value; undefined when it has none. */
  readonly counterpart?: Counterpart;
  readonly weight?: StoredWeight;
  readonly resultWeight?: StoredWeight;
  /** Axis of the weight that counts output channels. */
  readonly channelAxis: number;
  /** True when the weights of both sides mean the same numbers, but for `channelFactors`. */
  readonly sameWeights: boolean;
  /** What a folded BatchNormalization multiplied each output channel's weights by. */
  readonly channelFactors?: Float64Array;
}

export interface Counterpart {
  /** Value to fetch from the result. */
  readonly name: string;
  /** Set when the value passes through, or is stored in, a quantized type. */
  readonly quantized?: QuantizedValue;
}

export interface QuantizedValue {
  readonly type: DataType;
  readonly bits: number;
  readonly scale: number;
  readonly zeroPoint: number;
  /** Real numbers the type can hold. */
  readonly low: number;
  readonly high: number;
  /** True when the fetched value itself is stored as integers and must be dequantized here. */
  readonly stored: boolean;
  /** Inputs of its quantizer, as the result keeps them. */
  readonly parameters: { readonly scale: Tensor; readonly zeroPoint: Tensor | undefined };
}

/** Operators whose output is worth a line of its own even without weights. */
const ACTIVATION_LAYERS =
  /^(Add|Concat|MatMul|Softmax|LayerNormalization|GlobalAveragePool|AveragePool|Attention|Resize)$/;
const WEIGHTED =
  /^(Conv|ConvTranspose|Gemm|MatMul|ConvInteger|MatMulInteger|QLinearConv|QLinearMatMul|QGemm|DynamicQuantizeMatMul|MatMulIntegerToFloat|MatMulNBits|DynamicQuantizeLSTM|LSTM|GRU|RNN)$/;
/** What a weighted layer may be followed by, or its value preceded by, while still being that layer. */
const PASSED_THROUGH =
  /^(BatchNormalization|Relu|Clip|LeakyRelu|Sigmoid|HardSigmoid|Identity|Cast|QuantizeLinear|DequantizeLinear|Mul|Add|Reshape|Transpose)$/;
const FOLLOWED = /^(BatchNormalization|Identity|Relu|Clip|Add|Mul)$/;
const MAX_STEPS = 6;
/** What quantizers append to the name of a value for its codes: ours, then ONNX Runtime's two. */
const CODE_SUFFIXES = ['_q', '_quantized', '_QuantizeLinear_Output'];

/**
 * Pairs the layers of the input model's main graph with the result's. Values are matched by name; a value the result no
 * longer has is followed through what is folded into a layer (BatchNormalization, activation). In QDQ models the counterpart is the
 * value after DequantizeLinear, since that is what the next layer sees.
 */
export function matchLayers(baseline: Graph, result: Graph): LayerPair[] {
  const before = new Side(baseline);
  const after = new Side(result);
  const pairs: LayerPair[] = [];
  for (const node of baseline.nodes) {
    const weight = before.weightOf(node);
    if (weight === undefined && !ACTIVATION_LAYERS.test(node.opType)) continue;
    const own = node.outputs[0];
    if (own === undefined || own === '') continue;
    const met = before.followUntil(own, (name) => after.counterpartOf(name));
    const found = met === undefined ? undefined : behindActivation(before, after, met);
    const resultNode = found === undefined ? undefined : after.weightedBehind(found.match.name);
    const resultWeight = weight === undefined || resultNode === undefined ? undefined : after.weightOf(resultNode);
    const normalization = found?.normalization;
    const channelFactors = normalization === undefined ? undefined : before.channelFactors(normalization);
    pairs.push({
      node,
      output: found?.output ?? own,
      channelAxis: channelAxisOf(node, weight),
      sameWeights: found?.folded === false && (normalization === undefined || channelFactors !== undefined),
      ...(channelFactors === undefined ? {} : { channelFactors }),
      ...(found === undefined ? {} : { counterpart: found.match }),
      ...(weight === undefined ? {} : { weight }),
      ...(resultWeight === undefined ? {} : { resultWeight }),
    });
  }
  return pairs;
}

/** Whether a node is a layer with weights, in float or in integers. */
export function isWeighted({ opType }: Node): boolean {
  return WEIGHTED.test(opType);
}

/** Looks up where a graph has the value that the input model calls by a name. */
export function counterpartsIn(result: Graph): (name: string) => Counterpart | undefined {
  const side = new Side(result);
  return (name) => side.counterpartOf(name);
}

interface Met {
  readonly output: string;
  readonly match: Counterpart;
  /** Something else than an activation or one BatchNormalization lies between. */
  readonly folded: boolean;
  readonly normalization?: Node;
}

/**
 * A quantizer whose range begins where a Relu cuts is that Relu. What such a value must be compared with is the
 * activation's output, whether the result still knows it by its name or not.
 */
function behindActivation(before: Side, after: Side, met: Met): Met {
  const activated = before.soleActivationOf(met.output);
  const isCode = met.match.quantized !== undefined;
  if (activated === undefined || (isCode && after.isActivated(met.match.name))) return met;
  const match = after.counterpartOf(activated);
  if (match !== undefined) return { ...met, output: activated, match };
  return isCode ? { ...met, output: activated } : met;
}

class Side {
  readonly #producers: Map<string, Node>;
  readonly #uses: Map<string, Use[]>;
  readonly #constants: ReadonlyMap<string, Tensor>;
  readonly #weights: ReadonlyMap<string, StoredWeight>;
  readonly #outputs: ReadonlySet<string>;

  constructor(graph: Graph) {
    this.#producers = producersOf(graph);
    this.#uses = usesOf(graph);
    this.#constants = constantsOf(graph);
    const { weights, signs } = constantRoles(graph);
    this.#weights = new Map([...weights, ...signs]);
    this.#outputs = new Set(graph.outputs.map(({ name }) => name));
  }

  /** The constant weight of a layer, seen through DequantizeLinear, the unpacking of bits and layout changes. */
  weightOf(node: Node): StoredWeight | undefined {
    if (!WEIGHTED.test(node.opType)) return undefined;
    for (const index of /^QLinear|^QGemm/.test(node.opType) ? [3, 0] : [1, 0]) {
      let name = node.inputs[index] ?? '';
      for (let step = 0; step < MAX_STEPS; step += 1) {
        const weight = this.#weights.get(name);
        if (weight !== undefined) return weight.tensor.elementCount > 1 || weight.packed ? weight : undefined;
        const producer = this.#producers.get(name);
        if (producer === undefined || !PASSED_THROUGH.test(producer.opType)) break;
        name = producer.inputs[0] ?? '';
      }
    }
    return undefined;
  }

  /** The first value from `name` on along what may be folded into its layer for which `find` has an answer. */
  followUntil(name: string, find: (name: string) => Counterpart | undefined): Met | undefined {
    let current = name;
    let folded = false;
    let normalization: Node | undefined;
    for (let step = 0; step < MAX_STEPS; step += 1) {
      const match = find(current);
      if (match !== undefined) {
        return { output: current, match, folded, ...(normalization === undefined ? {} : { normalization }) };
      }
      const [use, second] = this.#uses.get(current) ?? [];
      if (use === undefined || second !== undefined || !FOLLOWED.test(use.node.opType)) return undefined;
      // An activation that moved into the layer changes its output, not its weights.
      const isNormalization = use.node.opType === 'BatchNormalization' && normalization === undefined;
      if (isNormalization) normalization = use.node;
      folded ||= !isNormalization && !/^(Relu|Clip|Identity)$/.test(use.node.opType);
      current = use.node.outputs[0] ?? '';
    }
    return undefined;
  }

  /** scale / sqrt(variance + epsilon) of each channel; undefined when they are no constants. */
  channelFactors(normalization: Node): Float64Array | undefined {
    const [scale, variance] = [1, 4].map((index) => {
      const tensor = this.#constants.get(normalization.inputs[index] ?? '');
      return tensor === undefined ? undefined : asNumbers(tensor.toArray());
    });
    if (scale === undefined || variance?.length !== scale.length) return undefined;
    const epsilon = normalization.float('epsilon', 1e-5);
    return Float64Array.from(scale, (value, i) => value / Math.sqrt((variance[i] ?? NaN) + epsilon));
  }

  /** The output of the Relu or Clip that alone reads a value. */
  soleActivationOf(name: string): string | undefined {
    const [use, second] = this.#uses.get(name) ?? [];
    const sole = use !== undefined && second === undefined && !this.#outputs.has(name);
    return sole && /^(Relu|Clip)$/.test(use.node.opType) ? use.node.outputs[0] : undefined;
  }

  /** Whether a Relu or Clip reads the value, dequantized or not. */
  isActivated(name: string): boolean {
    return (this.#uses.get(name) ?? []).some(({ node }) =>
      node.opType === 'DequantizeLinear' ? this.isActivated(node.outputs[0] ?? '') : /^(Relu|Clip)$/.test(node.opType),
    );
  }

  /** Where this graph has the value `name`: dequantized, as it is, or stored as integers. */
  counterpartOf(name: string): Counterpart | undefined {
    for (const { node, inputIndex } of this.#uses.get(name) ?? []) {
      if (node.opType !== 'QuantizeLinear' || inputIndex !== 0) continue;
      const reader = this.#uses.get(node.outputs[0] ?? '')?.find((use) => use.node.opType === 'DequantizeLinear');
      const quantized = this.#quantizedValue(node.inputs[1], node.inputs[2], false);
      const output = reader?.node.outputs[0];
      if (output !== undefined && quantized !== undefined) return { name: output, quantized };
    }
    const producer = this.#producers.get(name);
    if (producer !== undefined) {
      const [, scale, zeroPoint] = producer.opType === 'DequantizeLinear' ? producer.inputs : [];
      const quantized = this.#quantizedValue(scale, zeroPoint, false);
      return { name, ...(quantized === undefined ? {} : { quantized }) };
    }
    for (const codes of CODE_SUFFIXES.map((suffix) => `${name}${suffix}`)) {
      const quantized = this.#quantizedValue(...this.#parametersOf(codes), true);
      if (quantized !== undefined) return { name: codes, quantized };
    }
    return undefined;
  }

  /** Names of scale and zero point of a value in codes, as the operator that made it says; layout changes keep them. */
  #parametersOf(codes: string): [string | undefined, string | undefined] {
    let name = codes;
    for (let step = 0; step < MAX_STEPS; step += 1) {
      const node = this.#producers.get(name);
      if (node === undefined) break;
      const start = outputParameters(node.opType);
      if (start !== undefined) return [node.inputs[start], node.inputs[start + 1]];
      name = node.inputs[0] ?? '';
    }
    return [undefined, undefined];
  }

  #quantizedValue(
    scaleName: string | undefined,
    zeroPointName: string | undefined,
    stored: boolean,
  ): QuantizedValue | undefined {
    const scaleTensor = this.#constants.get(scaleName ?? '');
    const zeroPointTensor = this.#constants.get(zeroPointName ?? '');
    const scale = scaleTensor === undefined ? undefined : asNumbers(scaleTensor.toArray())?.[0];
    const type = zeroPointTensor?.dataType ?? 'uint8';
    if (scale === undefined || scaleTensor?.elementCount !== 1 || !/^u?int\d+$/.test(type)) return undefined;
    const zeroPoint = zeroPointTensor === undefined ? 0 : (storedValues(zeroPointTensor)?.[0] ?? 0);
    const [least, most] = rangeOf(type);
    return {
      type,
      bits: DATA_TYPES[type].bits,
      scale,
      zeroPoint,
      low: (least - zeroPoint) * scale,
      high: (most - zeroPoint) * scale,
      stored,
      parameters: { scale: scaleTensor, zeroPoint: zeroPointTensor },
    };
  }

  /** The weighted layer a value comes from, through activations, rescaling and quantization. */
  weightedBehind(name: string): Node | undefined {
    let current = name;
    for (let step = 0; step < MAX_STEPS; step += 1) {
      const node = this.#producers.get(current);
      if (node === undefined) return undefined;
      if (WEIGHTED.test(node.opType)) return node;
      if (!PASSED_THROUGH.test(node.opType)) return undefined;
      // A bias or residual Add has the layer on either side; the first operand that is computed is followed.
      current = node.inputs.find((input) => this.#producers.has(input) && !this.#constants.has(input)) ?? '';
    }
    return undefined;
  }
}

/** Input index of the output's scale, its zero point next to it; undefined for operators that take codes as they are. */
function outputParameters(opType: string): number | undefined {
  if (opType === 'QuantizeLinear') return 1;
  if (opType === 'QLinearConcat') return 0;
  if (opType === 'QGemm') return 7;
  if (/^QLinear(Conv|MatMul|Add|Mul)$/.test(opType)) return 6;
  return opType.startsWith('QLinear') ? 3 : undefined;
}

function channelAxisOf(node: Node, weight: StoredWeight | undefined): number {
  if (weight === undefined) return 0;
  switch (node.opType) {
    case 'Conv':
      return 0;
    case 'ConvTranspose':
      return 1;
    case 'Gemm':
      return node.int('transB', 0) === 1 ? 0 : 1;
    default:
      return Math.max(0, weight.tensor.dims.length - 1);
  }
}
