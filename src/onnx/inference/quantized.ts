import { dataTypeOfCode } from '../data-type.ts';
import { convShape } from './convolution.ts';
import { matMulShape } from './matmul.ts';
import { broadcastShapes, tensor, type InferRule } from './rule.ts';

/** QuantizeLinear: the type of the zero point, else `output_dtype`, else uint8. */
export const quantizeLinear: InferRule = (context) => {
  const code = context.node.int('output_dtype', 0);
  const type = context.elementType(2) ?? (code === 0 ? 'uint8' : dataTypeOfCode(code));
  return [tensor(context.has(2) ? context.elementType(2) : type, context.shape(0))];
};

/** DequantizeLinear: the type of the scale, or `output_dtype` (opset 23). */
export const dequantizeLinear: InferRule = (context) => {
  const code = context.node.int('output_dtype', 0);
  return [tensor(code === 0 ? context.elementType(1) : dataTypeOfCode(code), context.shape(0))];
};

/** DynamicQuantizeLinear: uint8 data, float scale, uint8 zero point. */
export const dynamicQuantizeLinear: InferRule = (context) => [
  tensor('uint8', context.shape(0)),
  tensor('float', []),
  tensor('uint8', []),
];

export const convInteger: InferRule = (context) => [tensor('int32', convShape(context, 0, 1))];

/** QLinearConv: x, its scale and zero point, w, its scale and zero point, y's scale and zero point (, bias). */
export const qLinearConv: InferRule = (context) => [tensor(context.elementType(7), convShape(context, 0, 3))];

/** QLinearMatMul: a, scale, zero point, b, scale, zero point, y's scale and zero point. */
export const qLinearMatMul: InferRule = (context) => [
  tensor(context.elementType(7), matMulShape(context, context.shape(0), context.shape(3))),
];

/** QLinearAdd, QLinearMul: A, scale, zero point, B, scale, zero point, C's scale and zero point. */
export const qLinearBinary: InferRule = (context) => [
  tensor(context.elementType(0), broadcastShapes(context.symbols, [context.shape(0), context.shape(3)])),
];
