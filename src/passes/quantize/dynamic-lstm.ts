import { makeNode, type Node } from '../../onnx/node.ts';
import type { NameScope } from '../../onnx/graph.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { floatConstant } from './dynamic-layers.ts';
import type { Constant, Scope } from './scope.ts';
import { canSaturatePairs, channelLayout, quantizeWeight, weightParams, type WeightRange } from './weights.ts';

/** An LSTM whose weights on the input and on the state are constants. */
export interface DynamicLstm {
  readonly node: Node;
  readonly weights: readonly [input: Constant, state: Constant];
}

/** What there is to quantize in an LSTM, or why nothing. */
export function examineLstm(node: Node, scope: Scope): DynamicLstm | { readonly reason: string } {
  if (node.int('layout', 0) !== 0)
    return { reason: "layout=1: ONNX Runtime's integer LSTM has the sequence axis first" };
  const [input, state] = [1, 2].map((index) => floatConstant(scope, node.inputs[index] ?? ''));
  if (input === undefined || 'reason' in input) return input ?? { reason: 'it has no weights' };
  if (state === undefined || 'reason' in state) return state ?? { reason: 'it has no weights' };
  const odd = [input, state].find(({ tensor }) => tensor.dims.length !== 3);
  if (odd !== undefined)
    return { reason: `weight "${odd.tensor.name}" has ${odd.tensor.dims.length} axes, expected 3` };
  return { node, weights: [input, state] };
}

export interface LstmSettings {
  readonly type: 'int8' | 'uint8';
  readonly perChannel: boolean;
  readonly range: WeightRange;
}

export interface StoredLstmWeight {
  readonly tensors: readonly Tensor[];
  /** Names of codes, scales and zero points. */
  readonly codes: string;
  readonly scales: string;
  readonly zeroPoints: string;
  readonly scaleMin: number;
  readonly scaleMax: number;
  readonly canSaturate: boolean;
}

/**
 * Quantizes a weight [directions, 4 hidden, inputs], with one scale a gate's unit or one a direction, and stores it as ONNX Runtime's
 * integer LSTM wants it: [directions, inputs, 4 hidden]. O(n).
 */
export function storeLstmWeight({ tensor }: Constant, settings: LstmSettings, names: NameScope): StoredLstmWeight {
  const [directions = 1, rows = 1, columns = 1] = tensor.dims;
  const { type, perChannel, range } = settings;
  const layout = channelLayout(perChannel ? [directions * rows, columns] : [directions, rows * columns], 0);
  const values = tensor.floats();
  const params = weightParams(values, layout, { type, symmetric: true, range, powerOfTwo: false });
  const { codes: stored } = quantizeWeight(values, layout, type, params);
  const transposed = type === 'int8' ? new Int8Array(stored.length) : new Uint8Array(stored.length);
  for (let i = 0; i < stored.length; i += 1) {
    const row = Math.floor(i / columns);
    const [direction, unit] = [Math.floor(row / rows), row % rows];
    transposed[(direction * columns + (i % columns)) * rows + unit] = stored[i] ?? 0;
  }
  const [codes, scales, zeroPoints] = ['q', 's', 'z'].map((suffix) => names.fresh(`${tensor.name}_${suffix}`));
  const dims = perChannel ? [directions, rows] : [directions];
  const zeros = (type === 'int8' ? Int8Array : Uint8Array).from(params.zeroPoints);
  return {
    tensors: [
      Tensor.fromArray(codes ?? '', { type, dims: [directions, columns, rows], data: transposed }),
      Tensor.float(scales ?? '', params.scales, dims),
      Tensor.fromArray(zeroPoints ?? '', { type, dims, data: zeros }),
    ],
    codes: codes ?? '',
    scales: scales ?? '',
    zeroPoints: zeroPoints ?? '',
    scaleMin: params.scales.reduce((a, b) => Math.min(a, b)),
    scaleMax: params.scales.reduce((a, b) => Math.max(a, b)),
    canSaturate: type === 'int8' && canSaturatePairs(stored, layout),
  };
}

/** The LSTM as `com.microsoft.DynamicQuantizeLSTM`: input and state are quantized at each step by their own range. */
export function integerLstm(
  node: Node,
  [input, state]: readonly [StoredLstmWeight, StoredLstmWeight],
  name: string,
): Node {
  const rest = [3, 4, 5, 6, 7].map((index) => node.inputs[index] ?? '');
  const parameters = [input.scales, input.zeroPoints, state.scales, state.zeroPoints];
  const inputs = [node.inputs[0] ?? '', input.codes, state.codes, ...rest, ...parameters];
  const made = makeNode('DynamicQuantizeLSTM', inputs, node.outputs, { name, domain: 'com.microsoft' });
  made.attributes = new Map([...node.attributes].filter(([attribute]) => attribute !== 'layout'));
  return made;
}
