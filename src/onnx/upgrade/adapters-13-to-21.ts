import { makeNode, type Node } from '../node.ts';
import { Tensor } from '../tensor.ts';
import type { Shape } from '../value-type.ts';
import { rewritten, vectorConstant, type Adapter, type AdapterContext } from './adapter.ts';

/**
 * 13: Softmax, LogSoftmax and Hardmax normalize along `axis` alone; before, along `axis` and all axes behind it. Where
 * that differs, the input is flattened to two axes and the result gets its shape back.
 */
export const softmax13: Adapter = (node, context) => {
  const [input = ''] = node.inputs;
  const [output = ''] = node.outputs;
  const shape = context.shapeOf(input) ?? context.shapeOf(output);
  const axis = node.int('axis', 1);
  const from = axis < 0 && shape !== undefined ? axis + shape.length : axis;
  const behind = shape?.slice(from + 1);
  if (axis === -1 || (from >= 0 && behind?.every((size) => size === 1) === true)) {
    return [rewritten(node, { attributes: { axis } })];
  }
  const flat = context.fresh(`${output}_flat`);
  const normalized = context.fresh(`${output}_normalized`);
  const target = targetOf(shape) ?? undefined;
  const shapeName =
    target === undefined ? context.fresh(`${output}_shape`) : vectorConstant(node, 'shape', target, context);
  return [
    makeNode('Flatten', [input], [flat], { attributes: { axis } }),
    rewritten(node, { inputs: [flat], outputs: [normalized], attributes: { axis: 1 } }),
    ...(target === undefined ? [makeNode('Shape', [input], [shapeName])] : []),
    makeNode('Reshape', [normalized, shapeName], [output]),
  ];
};

/** The shape as a Reshape target, one unknown size as -1; undefined when more than one is unknown, or one is 0. */
function targetOf(shape: Shape | undefined): number[] | undefined {
  if (shape === undefined || shape.includes(0)) return undefined;
  const target = shape.map((size) => (typeof size === 'number' ? size : -1));
  return target.filter((size) => size === -1).length > 1 ? undefined : target;
}

/** `axes` became an input: Squeeze, Unsqueeze, ReduceSum at 13, the other reductions at 18. No axes: no input. */
export const axesToInput: Adapter = (node, context) => {
  const axes = node.ints('axes');
  if (axes === undefined) return undefined;
  const inputs = [node.inputs[0] ?? ''];
  // Reductions take "no axes" and an empty list alike as "all".
  if (axes.length > 0 || !node.opType.startsWith('Reduce')) inputs.push(vectorConstant(node, 'axes', axes, context));
  return [rewritten(node, { inputs, attributes: { axes: undefined } })];
};

/** 13: `split` became an input. */
export const split13: Adapter = (node, context) => {
  const split = node.ints('split');
  if (split === undefined) return undefined;
  const inputs = [node.inputs[0] ?? '', vectorConstant(node, 'split', split, context)];
  return [rewritten(node, { inputs, attributes: { split: undefined } })];
};

/** 13: `tf_half_pixel_for_nn` went; `roi` is read for `tf_crop_and_resize` only, and may be left out otherwise. */
export const resize13: Adapter = (node) => {
  const mode = node.string('coordinate_transformation_mode', 'half_pixel');
  if (mode === 'tf_half_pixel_for_nn') return { refused: `its coordinate mode ${mode} ended with opset 12` };
  if (mode === 'tf_crop_and_resize' || (node.inputs[1] ?? '') === '') return undefined;
  return [rewritten(node, { inputs: node.inputs.map((name, index) => (index === 1 ? '' : name)) })];
};

/** 14: what more outputs than one mean became `training_mode`. */
export const batchNormalization14: Adapter = (node) =>
  node.outputs.slice(1).some((name) => name !== '')
    ? { refused: 'it has training outputs; opset 14 gives them another meaning' }
    : undefined;

/** 16: the default coordinate mode changed. */
export const roiAlign16: Adapter = (node) => [
  rewritten(node, { attributes: { coordinate_transformation_mode: 'output_half_pixel' } }),
];

/** 18: without sizes, the number of parts is an attribute. */
export const split18: Adapter = (node) =>
  (node.inputs[1] ?? '') === '' ? [rewritten(node, { attributes: { num_outputs: node.outputs.length } })] : undefined;

/** 20: `axis` became an input, and its default moved from 1 to -2. */
export const dft20: Adapter = (node, context) => {
  const axis = context.constant(`${node.outputs[0] ?? 'DFT'}_axis`, Tensor.int64('', [node.int('axis', 1)], []));
  return [
    rewritten(node, { inputs: [node.inputs[0] ?? '', node.inputs[1] ?? '', axis], attributes: { axis: undefined } }),
  ];
};

/** 20: modes were renamed. */
export const gridSample20: Adapter = (node) => {
  const names: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic' };
  const mode = names[node.string('mode', 'bilinear')];
  return mode === undefined || !node.attributes.has('mode') ? undefined : [rewritten(node, { attributes: { mode } })];
};

/** 21: scale and bias have an element per channel; before, per group. */
export const groupNormalization21: Adapter = (node, context) => {
  const [input = '', scale = '', bias = ''] = node.inputs;
  const channels = (context.shapeOf(input) ?? context.shapeOf(node.outputs[0]))?.[1];
  const groups = node.int('num_groups', 0);
  if (typeof channels !== 'number' || groups < 1)
    return { refused: 'its number of channels is not known, which scale and bias need' };
  const parts = [
    repeated(node, scale, { groups, channels }, context),
    repeated(node, bias, { groups, channels }, context),
  ];
  return [
    ...parts.flatMap((part) => part.nodes),
    rewritten(node, { inputs: [input, ...parts.map((part) => part.name)] }),
  ];
};

/** [G] to [C], each element C/G times in a row. */
function repeated(
  node: Node,
  name: string,
  { groups, channels }: { groups: number; channels: number },
  context: AdapterContext,
): { name: string; nodes: Node[] } {
  const base = `${name}_per_channel`;
  const column = context.fresh(`${base}_column`);
  const matrix = context.fresh(`${base}_matrix`);
  const result = context.fresh(base);
  const shapes = [[groups, 1], [groups, channels / groups], [channels]].map((shape, index) =>
    vectorConstant(node, `shape${index}`, shape, context),
  );
  const [columnShape = '', matrixShape = '', resultShape = ''] = shapes;
  return {
    name: result,
    nodes: [
      makeNode('Reshape', [name, columnShape], [column]),
      makeNode('Expand', [column, matrixShape], [matrix]),
      makeNode('Reshape', [matrix, resultShape], [result]),
    ],
  };
}
