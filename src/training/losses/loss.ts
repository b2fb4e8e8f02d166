import { CompressionError } from '../../errors.ts';
import type { GraphBuilder } from '../../onnx/graph-builder.ts';

/** A float value of a training graph with its shape; every size is fixed while a training graph is built. */
export interface StaticTensor {
  readonly value: string;
  readonly shape: readonly number[];
}

/**
 * A loss as a piece of graph. `value` is a float scalar. A fused loss also brings the gradient at the values it reads,
 * which is shorter and more exact than what differentiation of its nodes would give; the others leave `gradients`
 * empty and are differentiated node by node.
 */
export interface LossFragment {
  readonly value: string;
  readonly gradients: readonly ValueGradient[];
  /** Initializers the loss brings along and trains with the model (regressors, embeddings). They are no part of the result. */
  readonly parameters?: readonly string[];
}

export interface ValueGradient {
  readonly of: string;
  /** d loss / d `of`, in the shape of `of`. */
  readonly gradient: string;
}

/** A loss with its share in the sum. */
export interface WeightedLoss {
  readonly fragment: LossFragment;
  readonly weight: number;
  /** Of the curve it is reported in, beside the sum's; losses of one name are added up. */
  readonly name?: string;
}

export interface TotalLoss {
  /** Weighted sum, float scalar. */
  readonly value: string;
  /** Where the backward pass starts: the gradient of the sum at each of these values. A value may stand here more than once. */
  readonly seeds: readonly ValueGradient[];
  readonly parameters: readonly string[];
  /** The losses by name, without their weights, float scalars. Empty where there is but one loss. */
  readonly parts: ReadonlyMap<string, string>;
}

/** Writes the weighted sum of `losses` (at least one) and the gradients that the backward pass starts from. */
export function totalLoss(b: GraphBuilder, losses: readonly WeightedLoss[]): TotalLoss {
  const terms: string[] = [];
  const seeds: ValueGradient[] = [];
  const parameters = losses.flatMap(({ fragment }) => fragment.parameters ?? []);
  for (const { fragment, weight } of losses) {
    const scale = weight === 1 ? undefined : b.float('loss_weight', weight);
    const weighted = (value: string): string => (scale === undefined ? value : b.op('Mul', [value, scale]));
    terms.push(weighted(fragment.value));
    if (fragment.gradients.length === 0) {
      seeds.push({ of: fragment.value, gradient: scale ?? b.float('loss_gradient', 1) });
    }
    for (const { of, gradient } of fragment.gradients) seeds.push({ of, gradient: weighted(gradient) });
  }
  const [first, ...rest] = terms;
  if (first === undefined) throw new CompressionError('INTERNAL', 'a training graph needs at least one loss');
  const value = rest.length === 0 ? first : b.op('Sum', terms, { name: 'total_loss' });
  return { value, seeds, parameters, parts: rest.length === 0 ? new Map() : partsOf(b, losses) };
}

function partsOf(b: GraphBuilder, losses: readonly WeightedLoss[]): Map<string, string> {
  const values = new Map<string, string[]>();
  for (const { name, fragment } of losses) {
    if (name !== undefined) values.set(name, [...(values.get(name) ?? []), fragment.value]);
  }
  return new Map(
    [...values].map(([name, [first = '', ...rest]]) => [
      name,
      rest.length === 0 ? first : b.op('Sum', [first, ...rest], { name: `${name}_loss` }),
    ]),
  );
}

/** The gradient of a fused loss, which has one student value. */
export function fused(value: string, of: string, gradient: string): LossFragment {
  return { value, gradients: [{ of, gradient }] };
}

/** Sizes [batch, features]. @throws CompressionError MODEL_UNSUPPORTED for another rank */
export function matrixShape(tensor: StaticTensor, loss: string): readonly [number, number] {
  const [rows, columns] = tensor.shape;
  if (tensor.shape.length !== 2 || rows === undefined || columns === undefined) {
    throw new CompressionError(
      'MODEL_UNSUPPORTED',
      `${loss} needs values of shape [batch, features], "${tensor.value}" is [${tensor.shape.join(', ')}]; choose another output or layer`,
    );
  }
  return [rows, columns];
}

/** Product of all axes but the first: the length of one sample laid flat. */
export function flatSize(tensor: StaticTensor): number {
  return tensor.shape.slice(1).reduce((product, size) => product * size, 1);
}

/** Each sample as one row: [batch, features]. */
export function flatten(b: GraphBuilder, tensor: StaticTensor): StaticTensor {
  const [batch = 1] = tensor.shape;
  const shape = [batch, flatSize(tensor)];
  if (tensor.shape.length === 2) return tensor;
  return { value: b.op('Reshape', [tensor.value, b.ints('flat_shape', shape)]), shape };
}

/** Sum over all elements, a scalar. */
export function sumAll(b: GraphBuilder, value: string): string {
  return b.op('ReduceSum', [value], { attributes: { keepdims: 0 } });
}

/** Mean over all elements, a scalar. */
export function meanAll(b: GraphBuilder, value: string): string {
  return b.op('ReduceMean', [value], { attributes: { keepdims: 0 } });
}

/** value * factor, the factor a constant. */
export function scaled(b: GraphBuilder, value: string, factor: number): string {
  return b.op('Mul', [value, b.float('factor', factor)]);
}
