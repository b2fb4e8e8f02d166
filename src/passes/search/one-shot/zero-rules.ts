import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';

/**
 * What becomes of channels that hold zeros: `all` inputs zero give zeros, `any` zero input gives zeros; `loud`: something else
 * comes out; `masked`: the layer reads all channels, and its own outputs are masked; `masked-by-channel`: masked, and each output
 * comes of one channel. Undefined: the operator mixes channels in a way that is not followed.
 */
type ZeroRule = 'all' | 'any' | 'loud' | 'masked' | 'masked-by-channel' | undefined;

/** f(0) = 0, each channel by itself. */
const KEEPS_ZERO = new Set([
  'Relu',
  'LeakyRelu',
  'HardSwish',
  'Identity',
  'Dropout',
  'MaxPool',
  'AveragePool',
  'GlobalAveragePool',
  'Add',
  'Sub',
]);
const ELEMENTWISE = new Set(['HardSigmoid', 'Sigmoid']);

export function zeroRule(node: Node, model: Model): ZeroRule {
  if (node.domain !== '') return undefined;
  if (KEEPS_ZERO.has(node.opType)) return 'all';
  if (ELEMENTWISE.has(node.opType)) return 'loud';
  switch (node.opType) {
    case 'Mul':
      return 'any';
    case 'Flatten':
      // The pixels of a channel stay together, so the channels in front stay in front.
      return node.int('axis', 1) === 1 ? 'all' : undefined;
    case 'Clip': {
      const [low = 0, high = 0] = node.inputs.slice(1).map((name) => model.graph.initializers.get(name)?.floats()[0]);
      return low <= 0 && high >= 0 ? 'all' : 'loud';
    }
    case 'BatchNormalization':
      return 'masked-by-channel';
    case 'Gemm':
      return 'masked';
    case 'Conv': {
      const group = node.int('group', 1);
      if (group === 1) return 'masked';
      return isDepthwise(node, model) ? 'masked-by-channel' : undefined;
    }
    default:
      return undefined;
  }
}

/** Each filter reads a channel of its own. */
export function isDepthwise(node: Node, model: Model): boolean {
  const weight = model.graph.initializers.get(node.inputs[1] ?? '');
  return weight?.dims[0] === node.int('group', 1) && weight.dims[1] === 1;
}
