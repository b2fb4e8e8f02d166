import { DATA_TYPES, type DataType } from '../onnx/data-type.ts';
import type { Graph } from '../onnx/graph.ts';
import type { Node } from '../onnx/node.ts';
import type { Tensor } from '../onnx/tensor.ts';
import { asNumbers } from './numbers.ts';
import { bitMasks, packedSigns } from './packed-signs.ts';
import { scaledSteps } from './scaled-steps.ts';

/** How stored integers become real numbers: (q - zeroPoint + offset) * scale, per tensor, per slice of `axis`, or per block. */
export interface StoredQuantization {
  readonly scale?: Tensor | undefined;
  readonly zeroPoint?: Tensor | undefined;
  /** In steps; default 0. */
  readonly offset?: number | undefined;
  readonly axis: number;
  /** Elements of `axis` that share a scale; 0: not blocked. */
  readonly blockSize: number;
}

/** A constant that holds parameters of the network, with what it takes to read it. */
export interface StoredWeight {
  readonly tensor: Tensor;
  readonly quantization?: StoredQuantization;
  /** Numbers of `bits` each in a byte tensor of its own layout: MatMulNBits, packed signs. */
  readonly packed?: { readonly bits: number; readonly elements: number };
}

/** Where quantized operators keep a constant operand and its scale and zero point: [data, scale, zeroPoint] input indices. */
const OPERANDS: Readonly<Record<string, readonly (readonly [data: number, scale: number, zeroPoint: number])[]>> = {
  DequantizeLinear: [[0, 1, 2]],
  QuantizeLinear: [[-1, 1, 2]],
  QLinearConv: [
    [0, 1, 2],
    [3, 4, 5],
    [-1, 6, 7],
    [8, -1, -1],
  ],
  QLinearMatMul: [
    [0, 1, 2],
    [3, 4, 5],
    [-1, 6, 7],
  ],
  MatMulInteger: [
    [0, -1, 2],
    [1, -1, 3],
  ],
  ConvInteger: [
    [0, -1, 2],
    [1, -1, 3],
  ],
  QGemm: [
    [0, 1, 2],
    [3, 4, 5],
    [6, -1, -1],
    [-1, 7, 8],
  ],
  QLinearAdd: [
    [0, 1, 2],
    [3, 4, 5],
    [-1, 6, 7],
  ],
  QLinearMul: [
    [0, 1, 2],
    [3, 4, 5],
    [-1, 6, 7],
  ],
  QLinearConcat: [[-1, 0, 1]],
  DynamicQuantizeMatMul: [[1, 2, 3]],
  MatMulIntegerToFloat: [
    [0, 2, 4],
    [1, 3, 5],
  ],
  DynamicQuantizeLSTM: [
    [1, 8, 9],
    [2, 10, 11],
  ],
  MatMulNBits: [[1, 2, 3]],
  GatherBlockQuantized: [[0, 2, 3]],
};

/** One operand, quantized, to a quantized result: pooling, Sigmoid, LeakyRelu and the like. */
const UNARY: (typeof OPERANDS)[string] = [
  [0, 1, 2],
  [-1, 3, 4],
];

function operandsOf(node: Node): (typeof OPERANDS)[string] {
  const known = OPERANDS[node.opType];
  if (node.opType === 'QLinearConcat' && known !== undefined) {
    const count = Math.floor((node.inputs.length - 2) / 3);
    return [...known, ...Array.from({ length: count }, (_, i) => [2 + 3 * i, 3 + 3 * i, 4 + 3 * i] as const)];
  }
  return known ?? (node.opType.startsWith('QLinear') ? UNARY : []);
}

export interface ConstantRoles {
  /** Parameters of the network, by name. */
  readonly weights: ReadonlyMap<string, StoredWeight>;
  /** Scales and zero points: not parameters, but bytes that their storage takes. */
  readonly quantizationTensors: ReadonlyMap<string, Tensor>;
  /** Weights stored as bits, by the value that layers read. */
  readonly signs: ReadonlyMap<string, StoredWeight>;
}

/**
 * Sorts the constants of one graph (initializers and Constant nodes; subgraphs not entered) into parameters and
 * quantization parameters. Integer constants that nobody dequantizes are shapes, axes and indices: neither.
 */
export function constantRoles(graph: Graph): ConstantRoles {
  const constants = constantsOf(graph);
  const weights = new Map<string, StoredWeight>();
  const quantizationTensors = new Map<string, Tensor>();
  const dynamicScales = new Set(
    graph.nodes.filter((node) => node.opType === 'DynamicQuantizeLinear').map((node) => node.outputs[1] ?? ''),
  );
  const toQuantization = (name: string | undefined): void => {
    const tensor = constants.get(name ?? '');
    if (name !== undefined && tensor !== undefined) quantizationTensors.set(name, tensor);
  };
  const steps = scaledSteps(graph, constants);
  for (const node of graph.nodes) {
    for (const [data, scale, zeroPoint] of operandsOf(node)) {
      toQuantization(node.inputs[scale]);
      toQuantization(node.inputs[zeroPoint]);
      const tensor = constants.get(node.inputs[data] ?? '');
      if (tensor === undefined) continue;
      if (node.opType === 'MatMulNBits') {
        const packed = { bits: node.int('bits', 4), elements: node.int('N', 0) * node.int('K', 0) };
        weights.set(tensor.name, { tensor, packed });
        continue;
      }
      const scaled = node.opType === 'DequantizeLinear' ? steps.get(node.outputs[0] ?? '') : undefined;
      for (const { name } of scaled?.tensors ?? []) toQuantization(name);
      weights.set(tensor.name, {
        tensor,
        quantization: {
          scale: scaled?.scale ?? constants.get(node.inputs[scale] ?? ''),
          offset: scaled?.offset,
          zeroPoint: constants.get(node.inputs[zeroPoint] ?? ''),
          axis: axisOf(node, tensor, data),
          blockSize: node.int('block_size', 0),
        },
      });
    }
    // Dynamic quantization multiplies the integer product by activation scale x weight scale: the latter is no parameter.
    if (node.opType === 'Mul' && node.inputs.some((name) => dynamicScales.has(name)))
      node.inputs.forEach(toQuantization);
  }
  const signs = new Map<string, StoredWeight>();
  for (const { tensor, elements, value, companions } of packedSigns(graph, constants)) {
    const weight = { tensor, packed: { bits: 1 + companions.length, elements } };
    weights.set(tensor.name, weight);
    signs.set(value, weight);
    for (const companion of companions) quantizationTensors.set(companion.name, companion);
  }
  for (const tensor of bitMasks(graph, constants)) quantizationTensors.set(tensor.name, tensor);
  for (const [name, tensor] of constants) {
    if (weights.has(name) || quantizationTensors.has(name) || !holdsParameters(tensor.dataType)) continue;
    weights.set(name, { tensor });
  }
  return { weights, quantizationTensors, signs };
}

/** Initializers and the tensors of Constant nodes, by value name. */
export function constantsOf(graph: Graph): ReadonlyMap<string, Tensor> {
  const constants = new Map<string, Tensor>(graph.initializers);
  for (const node of graph.nodes) {
    const value = node.opType === 'Constant' ? node.attributes.get('value') : undefined;
    const output = node.outputs[0];
    if (value?.kind === 'tensor' && output !== undefined) constants.set(output, value.value.renamed(output));
  }
  return constants;
}

function axisOf(node: Node, tensor: Tensor, data: number): number {
  const rank = tensor.dims.length;
  if (node.opType === 'GatherBlockQuantized') return node.int('quantize_axis', 1);
  if (node.opType === 'DequantizeLinear') {
    const axis = node.int('axis', 1);
    return axis < 0 ? axis + rank : axis;
  }
  // Conv weights are [M, C/group, ...]: per output channel. Matrix operands are per column.
  if (node.opType === 'QLinearConv' || node.opType === 'ConvInteger') return 0;
  if (node.opType === 'QGemm' && data === 3) return node.int('transB', 0) === 1 ? 0 : 1;
  return Math.max(0, rank - 1);
}

function holdsParameters(type: DataType): boolean {
  return !/^(int32|uint32|int64|uint64|int16|uint16|bool|string|complex.*)$/.test(type);
}

/**
 * The stored numbers of a tensor: as they are for whole-byte types, unpacked for 4- and 2-bit integers. Undefined for
 * types that are not plain numbers (float8, float4, strings, complex).
 */
export function storedValues(tensor: Tensor): ArrayLike<number> | undefined {
  const packed = /^(u?)int([42])$/.exec(tensor.dataType);
  if (packed === null) return asNumbers(tensor.toArray());
  const bits = Number(packed[2]);
  const bytes = tensor.bytes();
  const count = tensor.elementCount;
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const signBit = packed[1] === 'u' ? 0 : 1 << (bits - 1);
  const values = new Int8Array(count);
  for (let i = 0; i < count; i += 1) {
    const raw = ((bytes[Math.floor(i / perByte)] ?? 0) >> (bits * (i % perByte))) & mask;
    values[i] = (raw & signBit) === 0 ? raw : raw - (mask + 1);
  }
  return values;
}

/** Index of the scale or zero point of element `i`; `count` is how many of them there are. */
function parameterIndexer(weight: StoredWeight, count: number): (i: number) => number {
  const { dims } = weight.tensor;
  const { axis, blockSize } = weight.quantization ?? { axis: 0, blockSize: 0 };
  if (count <= 1) return () => 0;
  const size = dims[axis] ?? 1;
  let inner = 1;
  for (let d = axis + 1; d < dims.length; d += 1) inner *= dims[d] ?? 1;
  if (blockSize > 0) {
    const blocks = Math.ceil(size / blockSize);
    return (i) => {
      const along = Math.floor(i / inner) % size;
      const outer = Math.floor(i / (inner * size));
      return (outer * blocks + Math.floor(along / blockSize)) * inner + (i % inner);
    };
  }
  return (i) => Math.floor(i / inner) % size;
}

export interface WeightCount {
  readonly elements: number;
  /** Undefined where the layout is not read here. */
  readonly zeros: number | undefined;
  /** Quantized values at an end of their type's range; undefined for float weights. */
  readonly saturated?: number;
}

/** Counts elements and exact zeros (integers: equal to their zero point; none where an offset lies between). O(elements), no copy for whole-byte types. */
export function countWeight(weight: StoredWeight): WeightCount {
  if (weight.packed !== undefined) return { elements: weight.packed.elements, zeros: undefined };
  const elements = weight.tensor.elementCount;
  const values = storedValues(weight.tensor);
  if (values === undefined) return { elements, zeros: countZeroBytes(weight.tensor) };
  if (weight.quantization === undefined) {
    let zeros = 0;
    for (let i = 0; i < elements; i += 1) if (values[i] === 0) zeros += 1;
    return { elements, zeros };
  }
  const zeroPoints = weight.quantization.zeroPoint === undefined ? [0] : storedValues(weight.quantization.zeroPoint);
  const [low, high] = rangeOf(weight.tensor.dataType);
  const indexOf = parameterIndexer(weight, zeroPoints?.length ?? 1);
  const offset = weight.quantization.offset ?? 0;
  let zeros = 0;
  let saturated = 0;
  for (let i = 0; i < elements; i += 1) {
    const value = values[i] ?? 0;
    if (value + offset === (zeroPoints?.[indexOf(i)] ?? 0)) zeros += 1;
    if (value === low || value === high) saturated += 1;
  }
  return { elements, zeros, saturated };
}

/** For byte-wide float types: +0 and -0 are the bytes 0x00 and 0x80. */
function countZeroBytes(tensor: Tensor): number | undefined {
  if (DATA_TYPES[tensor.dataType].bits !== 8) return undefined;
  let zeros = 0;
  for (const byte of tensor.bytes()) if ((byte & 0x7f) === 0) zeros += 1;
  return zeros;
}

/** Smallest and largest value an integer type holds. @throws RangeError for a type that is no integer */
export function rangeOf(type: DataType): readonly [number, number] {
  const match = /^(u?)int(\d+)$/.exec(type);
  if (match === null) throw new RangeError(`${type} is no integer type`);
  const bits = Number(match[2]);
  return match[1] === 'u' ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
}

/** The real numbers a constant stands for; undefined when its type or its scale cannot be read here. O(elements). */
export function dequantized(weight: StoredWeight): ArrayLike<number> | undefined {
  const values = weight.packed === undefined ? storedValues(weight.tensor) : undefined;
  if (values === undefined || weight.quantization === undefined) return values;
  const { scale, zeroPoint, offset = 0 } = weight.quantization;
  const scales = scale === undefined ? undefined : asNumbers(scale.toArray());
  if (scales === undefined) return undefined;
  const zeroPoints = zeroPoint === undefined ? undefined : storedValues(zeroPoint);
  const indexOf = parameterIndexer(weight, scales.length);
  const real = new Float32Array(values.length);
  for (let i = 0; i < real.length; i += 1) {
    const index = indexOf(i);
    const zero = zeroPoints === undefined ? 0 : (zeroPoints[zeroPoints.length === 1 ? 0 : index] ?? 0);
    real[i] = ((values[i] ?? 0) - zero + offset) * (scales[index] ?? NaN);
  }
  return real;
}
