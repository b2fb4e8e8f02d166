import { usesOf, type Graph } from '../onnx/graph.ts';
import type { Tensor } from '../onnx/tensor.ts';
import { asNumbers } from './numbers.ts';

/** What makes steps of 1 real numbers: (code - zero point + offset) * scale. */
export interface ScaledSteps {
  readonly offset: number;
  /** One number, or one for each slice of the codes' axis. */
  readonly scale: Tensor;
  /** Constants that belong to it. */
  readonly tensors: readonly Tensor[];
}

/**
 * Weights of 2 bits have their scale in a Mul of its own behind a DequantizeLinear with scale 1, and where their levels are balanced the
 * half of a step in an Add between the two. By the output of the DequantizeLinear. O(nodes).
 */
export function scaledSteps(graph: Graph, constants: ReadonlyMap<string, Tensor>): ReadonlyMap<string, ScaledSteps> {
  const uses = usesOf(graph);
  const soleUse = (
    name: string,
    opType: string,
  ): { readonly constant: Tensor; readonly output: string } | undefined => {
    const [use, second] = uses.get(name) ?? [];
    if (use?.node.opType !== opType || second !== undefined) return undefined;
    const constant = constants.get(use.node.inputs.find((input) => input !== name) ?? '');
    return constant === undefined ? undefined : { constant, output: use.node.outputs[0] ?? '' };
  };
  const found = new Map<string, ScaledSteps>();
  for (const { opType, inputs, outputs } of graph.nodes) {
    if (opType !== 'DequantizeLinear' || !constants.has(inputs[0] ?? '')) continue;
    const ones = numbersOf(constants.get(inputs[1] ?? ''));
    if (ones === undefined || !Array.from(ones).every((one) => one === 1)) continue;
    const [steps = ''] = outputs;
    const shift = soleUse(steps, 'Add');
    const offset = shift === undefined ? 0 : soleNumber(shift.constant);
    const product = soleUse(shift?.output ?? steps, 'Mul');
    if (product === undefined || offset === undefined) continue;
    if (product.constant.elementCount !== ones.length) continue;
    const tensors = [product.constant, ...(shift === undefined ? [] : [shift.constant])];
    found.set(steps, { offset, scale: product.constant, tensors });
  }
  return found;
}

function soleNumber(tensor: Tensor): number | undefined {
  return tensor.elementCount === 1 ? numbersOf(tensor)?.[0] : undefined;
}

function numbersOf(tensor: Tensor | undefined): ArrayLike<number> | undefined {
  return tensor === undefined ? undefined : asNumbers(tensor.toArray());
}
