import { NameScope, usesOf, type Use } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import { replaceConstant } from '../../replace-constant.ts';

/** A change of one constant, still to be made: its values as a function of the channel on the last axis. */
interface Edit {
  readonly node: Node;
  readonly input: number;
  /** Axis of the constant that holds the channels, or undefined where it is one value for all. */
  readonly channelStride: number | undefined;
  readonly multiplies: boolean;
}

/**
 * Divides a value by s, channel by channel on its last axis, in the constants of the operators that make it: scale and bias of a
 * LayerNormalization, weight and bias of a product of matrices, the constant of a Mul or Div, that of an Add on the way there,
 * either factor of a Mul.
 * All or nothing: nobody but the chain may read what lies on it.
 *
 * @param divisors - s > 0, one a channel
 * @returns whether it was done; false leaves the model as it was
 */
export function foldDivisor(model: Model, value: string, divisors: Float64Array): boolean {
  const producers = new Map(model.graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  const edits = editsFor({ model, uses: usesOf(model.graph), producers, channels: divisors.length }, value);
  if (edits === undefined) return false;
  for (const edit of edits) apply(model, edit, divisors);
  return true;
}

interface Site {
  readonly model: Model;
  readonly uses: ReadonlyMap<string, readonly Use[]>;
  readonly producers: ReadonlyMap<string, Node>;
  readonly channels: number;
}

function editsFor(site: Site, value: string): readonly Edit[] | undefined {
  const node = site.producers.get(value);
  if (node?.domain !== '') return undefined;
  const vector = (input: number): Edit | undefined => vectorEdit(site, node, input);
  switch (node.opType) {
    case 'LayerNormalization': {
      if (node.outputs.slice(1).some((name) => name !== '') || node.int('axis', -1) !== -1) return undefined;
      const inputs = (node.inputs[2] ?? '') === '' ? [1] : [1, 2];
      return all(inputs.map(vector));
    }
    case 'Gemm': {
      const weight = weightEdit(site, node);
      return all((node.inputs[2] ?? '') === '' ? [weight] : [weight, vector(2)]);
    }
    case 'MatMul':
      return all([weightEdit(site, node)]);
    case 'Mul': {
      const input = [0, 1].find((index) => isConstant(site, node.inputs[index]));
      if (input !== undefined) return all([vector(input)]);
      // Of two computed factors one takes the whole division: the gate of a gated layer, or what it lets through.
      return behind(site, node.inputs[1] ?? '') ?? behind(site, node.inputs[0] ?? '');
    }
    case 'Div':
      return isConstant(site, node.inputs[1]) ? all([multiplying(vector(1))]) : undefined;
    case 'Add': {
      const input = [0, 1].find((index) => isConstant(site, node.inputs[index]));
      if (input === undefined) return undefined;
      const other = behind(site, node.inputs[1 - input] ?? '');
      const own = vector(input);
      return own === undefined || other === undefined ? undefined : [own, ...other];
    }
    case 'Relu':
    case 'LeakyRelu':
    case 'Identity':
      return behind(site, node.inputs[0] ?? '');
    default:
      return undefined;
  }
}

/** The chain goes on only where this is all that reads the value. */
function behind(site: Site, value: string): readonly Edit[] | undefined {
  const isOutput = site.model.graph.outputs.some(({ name }) => name === value);
  return isOutput || (site.uses.get(value)?.length ?? 0) !== 1 ? undefined : editsFor(site, value);
}

function all(edits: readonly (Edit | undefined)[]): readonly Edit[] | undefined {
  const found = edits.filter((edit) => edit !== undefined);
  return found.length === edits.length ? found : undefined;
}

function multiplying(edit: Edit | undefined): Edit | undefined {
  return edit === undefined ? undefined : { ...edit, multiplies: true };
}

function isConstant({ model: { graph } }: Site, name: string | undefined): boolean {
  return name !== undefined && graph.initializers.has(name) && !graph.inputs.some((input) => input.name === name);
}

/** A constant that is broadcast to the value: one value, or one for each channel on its last axis. */
function vectorEdit(site: Site, node: Node, input: number): Edit | undefined {
  const name = node.inputs[input] ?? '';
  const tensor = isConstant(site, name) ? site.model.graph.initializers.get(name) : undefined;
  if (tensor?.dataType !== 'float') return undefined;
  if (tensor.elementCount === 1) return { node, input, channelStride: undefined, multiplies: false };
  return tensor.dims.at(-1) === site.channels && tensor.elementCount === site.channels
    ? { node, input, channelStride: 1, multiplies: false }
    : undefined;
}

/** The output channels of a weight [K, N], or [N, K] with transB. */
function weightEdit(site: Site, node: Node): Edit | undefined {
  const name = node.inputs[1] ?? '';
  const tensor = isConstant(site, name) ? site.model.graph.initializers.get(name) : undefined;
  if (tensor?.dataType !== 'float' || tensor.dims.length !== 2) return undefined;
  // A copy of a shared weight would be unknown to those who still have the other to scale.
  if ((site.uses.get(name)?.length ?? 0) !== 1) return undefined;
  const transposed = node.opType === 'Gemm' && node.int('transB', 0) === 1;
  const [rows = 0, columns = 0] = tensor.dims;
  if ((transposed ? rows : columns) !== site.channels) return undefined;
  return { node, input: 1, channelStride: transposed ? columns : 1, multiplies: false };
}

function apply(model: Model, { node, input, channelStride, multiplies }: Edit, divisors: Float64Array): void {
  const name = node.inputs[input] ?? '';
  const tensor = model.graph.initializers.get(name);
  if (tensor === undefined) return;
  const values = tensor.floats();
  const channels = divisors.length;
  const factor = (value: number, divisor: number): number => (multiplies ? value * divisor : value / divisor);
  if (channelStride === undefined) {
    // One value for all channels becomes one for each.
    const own = new NameScope(model.graph).fresh(`${name}_smooth`);
    const spread = Float32Array.from(divisors, (divisor) => factor(values[0] ?? 0, divisor));
    model.graph.initializers.set(own, Tensor.float(own, spread));
    node.inputs[input] = own;
    return;
  }
  const divided = values.map((value, i) => factor(value, divisors[Math.floor(i / channelStride) % channels] ?? 1));
  replaceConstant(model, node, input, divided);
}
