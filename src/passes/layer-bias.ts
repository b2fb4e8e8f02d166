import { NameScope, usesOf } from '../onnx/graph.ts';
import type { Model } from '../onnx/model.ts';
import { elementCount } from '../onnx/nd-array.ts';
import type { Node } from '../onnx/node.ts';
import { Tensor } from '../onnx/tensor.ts';
import { replaceConstant } from './replace-constant.ts';

/** What is added to each output channel of a layer, and where more can be. */
export interface LayerBias {
  /** Of the layer's own output, by channel. */
  readonly current: Float64Array;
  /**
   * Adds to it: in the layer's own bias, in the mean that a BatchNormalization behind it subtracts, or in the constant of an Add behind
   * a MatMul. Undefined where there is no such place. Changes the model.
   */
  readonly add: ((shift: Float64Array) => void) | undefined;
}

/** Undefined where the layer has a bias that is no constant, or not one of its own for each channel. */
export function layerBias(model: Model, node: Node, channels: number): LayerBias | undefined {
  const own = node.opType === 'MatMul' ? '' : (node.inputs[2] ?? '');
  if (own !== '') {
    const add = shiftOf(model, { node, input: 2, channels, sign: 1 });
    const values = model.graph.initializers.get(own);
    if (add === undefined || values === undefined || node.float('beta', 1) !== 1) return undefined;
    return { current: Float64Array.from(values.floats()), add };
  }
  return { current: new Float64Array(channels), add: shiftBehind(model, node, channels) };
}

function shiftBehind(model: Model, node: Node, channels: number): LayerBias['add'] {
  const [use, second] = usesOf(model.graph).get(node.outputs[0] ?? '') ?? [];
  const isOutput = model.graph.outputs.some(({ name }) => name === node.outputs[0]);
  const isMatMul = node.opType === 'MatMul';
  if (use !== undefined && second === undefined && !isOutput) {
    const next = use.node;
    if (next.opType === 'BatchNormalization' && !isMatMul && next.outputs.slice(1).every((name) => name === '')) {
      const shift = shiftOf(model, { node: next, input: 3, channels, sign: -1 });
      if (shift !== undefined) return shift;
    }
    if (isMatMul && next.opType === 'Add') {
      return shiftOf(model, { node: next, input: 1 - use.inputIndex, channels, sign: 1 });
    }
  }
  if (isMatMul) return undefined;
  return (shift) => {
    const name = new NameScope(model.graph).fresh(`${node.inputs[1] ?? ''}_bias`);
    model.graph.initializers.set(name, Tensor.float(name, shift));
    node.inputs[2] = name;
  };
}

interface Place {
  readonly node: Node;
  readonly input: number;
  readonly channels: number;
  readonly sign: 1 | -1;
}

function shiftOf(model: Model, { node, input, channels, sign }: Place): LayerBias['add'] {
  const { graph } = model;
  const name = node.inputs[input] ?? '';
  const tensor = graph.initializers.get(name);
  if (tensor?.dataType !== 'float' || graph.inputs.some((given) => given.name === name)) return undefined;
  if (elementCount(tensor.dims) !== channels || tensor.dims.at(-1) !== channels) return undefined;
  return (shift) => {
    const values = (graph.initializers.get(node.inputs[input] ?? '') ?? tensor).floats();
    const shifted = values.map((value, i) => value + sign * (shift[i] ?? 0));
    replaceConstant(model, node, input, shifted);
  };
}
