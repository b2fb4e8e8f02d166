import type { Node } from '../node.ts';
import { Tensor } from '../tensor.ts';
import { rewritten, scalarTensor, vectorConstant, type Adapter, type AdapterContext } from './adapter.ts';

/** 9: `spatial` went; it was 1 (one mean a channel) by default, and 0 has no other way to be said. */
export const batchNormalization9: Adapter = (node) => {
  if (!node.attributes.has('spatial')) return undefined;
  if (node.int('spatial', 1) !== 1)
    return { refused: 'spatial = 0 normalizes each position by itself; opset 9 dropped that' };
  return [rewritten(node, { attributes: { spatial: undefined } })];
};

/** 9: Scan lost its batch axis and its sequence lengths. */
export const scan9: Adapter = () => ({ refused: 'Scan of opset 8 runs over a batch axis; opset 9 dropped that' });

/** 9: from experimental to standard, with `axes` in place of two flags. */
export const meanVarianceNormalization9: Adapter = (node) => {
  if (node.attributes.has('axes')) return undefined;
  if (node.int('normalize_variance', 1) !== 1)
    return { refused: 'normalize_variance = 0; opset 9 always normalizes it' };
  const axes = node.int('across_channels', 0) === 0 ? [0, 2, 3] : [0, 1, 2, 3];
  return [rewritten(node, { attributes: { across_channels: undefined, normalize_variance: undefined, axes } })];
};

/** 9: `scales` became an input. */
export const upsample9: Adapter = (node, context) => {
  const scales = node.floats('scales');
  if (scales === undefined) return { refused: 'its scales are missing' };
  const name = context.constant(`${node.outputs[0] ?? 'Upsample'}_scales`, Tensor.float('', scales));
  return [rewritten(node, { inputs: [node.inputs[0] ?? '', name], attributes: { scales: undefined } })];
};

/** 10: Upsample became Resize. */
export const upsample10: Adapter = (node) => [rewritten(node, { opType: 'Resize' })];

/** 10: `starts`, `ends` and `axes` became inputs. */
export const slice10: Adapter = (node, context) => {
  const starts = node.ints('starts');
  const ends = node.ints('ends');
  const axes = node.ints('axes');
  if (starts === undefined || ends === undefined) return { refused: 'its starts or ends are missing' };
  const inputs = [
    node.inputs[0] ?? '',
    vectorConstant(node, 'starts', starts, context),
    vectorConstant(node, 'ends', ends, context),
  ];
  if (axes !== undefined) inputs.push(vectorConstant(node, 'axes', axes, context));
  return [rewritten(node, { inputs, attributes: { starts: undefined, ends: undefined, axes: undefined } })];
};

/** 10: `k` became an input. */
export const topK10: Adapter = (node, context) => {
  if (!node.attributes.has('k')) return { refused: 'its k is missing' };
  const k = vectorConstant(node, 'k', [node.int('k', 0)], context);
  return [rewritten(node, { inputs: [node.inputs[0] ?? '', k], attributes: { k: undefined } })];
};

/** 10: the mask became bool. */
export const dropout10: Adapter = (node, context) => {
  const mask = node.outputs[1] ?? '';
  if (mask === '') return undefined;
  if (context.isRead(mask)) return { refused: 'its mask is used, and is bool from opset 10 on' };
  return [rewritten(node, { outputs: node.outputs.slice(0, 1) })];
};

/** Operators that were experimental and that opset 10 no longer knows. */
export const experimental10: Adapter = (node) => ({
  refused: `${node.opType} was experimental and ended with opset 9`,
});

/** 11: `min` and `max` became inputs, of the type of the data. */
export const clip11: Adapter = (node, context) => {
  const bounds = ['min', 'max'].map((bound) => {
    if (!node.attributes.has(bound)) return '';
    return floatInput(node, { name: bound, value: node.float(bound, 0) }, context);
  });
  if (bounds.includes(undefined)) return { refused: 'the type of its input is not known, which min and max must have' };
  const inputs = [node.inputs[0] ?? '', ...bounds.map((name) => name ?? '')];
  while (inputs.at(-1) === '' && inputs.length > 1) inputs.pop();
  if (inputs.length === 1) return undefined;
  return [rewritten(node, { inputs, attributes: { min: undefined, max: undefined } })];
};

/** 11: `pads` and `value` became inputs. */
export const pad11: Adapter = (node, context) => {
  const pads = node.ints('pads');
  if (pads === undefined) return { refused: 'its pads are missing' };
  const inputs = [node.inputs[0] ?? '', vectorConstant(node, 'pads', pads, context)];
  const value = node.float('value', 0);
  if (value !== 0 && node.string('mode', 'constant') === 'constant') {
    const name = floatInput(node, { name: 'value', value }, context);
    if (name === undefined) return { refused: 'the type of its input is not known, which the padding value must have' };
    inputs.push(name);
  }
  return [rewritten(node, { inputs, attributes: { pads: undefined, value: undefined } })];
};

/**
 * 11: rounding and coordinates, left open before, became attributes. ONNX Runtime's kernel of opset 10 scales without an
 * offset (asymmetric) and, for nearest, rounds down when it enlarges and up when it shrinks.
 * @see onnxruntime core/providers/cpu/tensor/upsamplebase.h, ResizeNearestMode::SIMPLE
 */
export const resize11: Adapter = (node, context) => {
  const attributes = { coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' };
  if (node.string('mode', 'nearest') === 'nearest') {
    const scales = context.constantOf(node.inputs[1])?.toArray().data;
    if (scales === undefined) return { refused: 'its scales are not constant: how it rounded depends on them' };
    const values = Array.from(scales, Number);
    if (values.some((scale) => scale < 1)) {
      if (values.some((scale) => scale > 1))
        return { refused: 'it shrinks one axis and enlarges another, with different rounding' };
      attributes.nearest_mode = 'ceil';
    }
  }
  const roi = context.constant(`${node.outputs[0] ?? 'Resize'}_roi`, Tensor.float('', []));
  return [rewritten(node, { inputs: [node.inputs[0] ?? '', roi, node.inputs[1] ?? ''], attributes })];
};

/** 11: Scatter got a new name. */
export const scatter11: Adapter = (node) => [rewritten(node, { opType: 'ScatterElements' })];

/** 12: `ratio` became an input. */
export const dropout12: Adapter = (node, context) => {
  if (!node.attributes.has('ratio')) return undefined;
  const ratio = context.constant(
    `${node.outputs[0] ?? 'Dropout'}_ratio`,
    Tensor.float('', [node.float('ratio', 0.5)], []),
  );
  return [rewritten(node, { inputs: [node.inputs[0] ?? '', ratio], attributes: { ratio: undefined } })];
};

function floatInput(
  node: Node,
  { name, value }: { name: string; value: number },
  context: AdapterContext,
): string | undefined {
  const type = context.elementTypeOf(node.inputs[0]) ?? context.elementTypeOf(node.outputs[0]);
  const tensor = type === undefined ? undefined : scalarTensor(type, value);
  return tensor === undefined ? undefined : context.constant(`${node.outputs[0] ?? node.opType}_${name}`, tensor);
}
