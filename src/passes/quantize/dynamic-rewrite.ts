import { makeNode, type Node } from '../../onnx/node.ts';
import type { NameScope } from '../../onnx/graph.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { DATA_TYPES } from '../../onnx/data-type.ts';
import type { QuantizedWeight } from './weights.ts';

/** A value quantized at run time: uint8 codes, their scale and zero point. */
export interface DynamicValue {
  readonly codes: string;
  readonly scale: string;
  readonly zeroPoint: string;
}

/** X -> DynamicQuantizeLinear: scale and zero point come from each input's own range, 0 included. */
export function quantizeAtRunTime(input: string, names: NameScope): { value: DynamicValue; node: Node } {
  const value = {
    codes: names.fresh(`${input}_u8`),
    scale: names.fresh(`${input}_s`),
    zeroPoint: names.fresh(`${input}_z`),
  };
  const node = makeNode('DynamicQuantizeLinear', [input], [value.codes, value.scale, value.zeroPoint], {
    name: names.fresh(`${input}_quantize`),
  });
  return { value, node };
}

/** The names of a weight's codes, scales and (for uint8) zero point among the initializers. */
export interface StoredWeight {
  readonly codes: string;
  readonly scales: string;
  readonly zeroPoint: string;
}

/** Makes initializers of a quantized weight. `scaleDims` shapes the scales so that they broadcast over the result. */
export function storeWeight(
  base: string,
  weight: QuantizedWeight,
  shape: { readonly type: 'int8' | 'uint8'; readonly dims: readonly number[]; readonly scaleDims: readonly number[] },
  names: NameScope,
): { stored: StoredWeight; tensors: Tensor[] } {
  const codes = names.fresh(`${base}_q`);
  const scales = names.fresh(`${base}_s`);
  const tensors = [
    Tensor.fromArray(codes, { type: shape.type, dims: shape.dims, data: weight.codes }),
    Tensor.float(scales, weight.scales, shape.scaleDims),
  ];
  if (shape.type === 'int8') return { stored: { codes, scales, zeroPoint: '' }, tensors };
  // Symmetric uint8 has one zero point (127) for all channels, so a scalar says it.
  const zeroPoint = names.fresh(`${base}_z`);
  const data = Uint8Array.of(weight.zeroPoints[0] ?? 0);
  tensors.push(Tensor.fromArray(zeroPoint, { type: 'uint8', dims: [], data }));
  return { stored: { codes, scales, zeroPoint }, tensors };
}

/**
 * acc = int32 product; y = Cast(acc) * (scale of x * scales of w) [+ bias]. ONNX Runtime fuses the chain after
 * MatMulInteger into one kernel.
 */
export function rescale(
  acc: string,
  scales: { readonly x: string; readonly w: string },
  to: { readonly output: string; readonly bias: string; readonly base: string },
  names: NameScope,
): Node[] {
  const float = names.fresh(`${to.base}_f`);
  const scale = names.fresh(`${to.base}_s`);
  const product = to.bias === '' ? to.output : names.fresh(`${to.base}_p`);
  const named = (suffix: string) => ({ name: names.fresh(`${to.base}_${suffix}`) });
  const nodes = [
    makeNode('Cast', [acc], [float], { ...named('cast'), attributes: { to: DATA_TYPES.float.code } }),
    makeNode('Mul', [scales.x, scales.w], [scale], named('scale')),
    makeNode('Mul', [float, scale], [product], named('rescale')),
  ];
  if (to.bias !== '') nodes.push(makeNode('Add', [product, to.bias], [to.output], named('bias')));
  return nodes;
}
