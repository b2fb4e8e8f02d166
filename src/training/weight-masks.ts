import { CompressionError } from '../errors.ts';
import type { GraphBuilder } from '../onnx/graph-builder.ts';
import type { Model } from '../onnx/model.ts';
import { makeNode } from '../onnx/node.ts';
import { Tensor } from '../onnx/tensor.ts';
import type { StateIo } from './optimizers/update.ts';
import { parametersOf } from './parameters.ts';
import type { StateTensor, TrainingState } from './training-state.ts';

/** What is kept of each weight beside its value, to choose masks by. */
export type WeightScore =
  /** S -= learning rate * g * w: falls for weights that training moves towards zero. */
  | { readonly kind: 'movement' }
  /** S = decay * S + |g * w|: what the loss would lose without the weight, to first order. */
  | { readonly kind: 'saliency'; readonly decay: number }
  /** S = g, of the last step alone. */
  | { readonly kind: 'gradient' }
  /** S = g * w, of the last step alone. */
  | { readonly kind: 'product' }
  /** S += (g * w)²: with one sample a step the empirical Fisher information, times w². */
  | { readonly kind: 'square' };

/** Weights that are trained under a mask of ones and zeros: the network sees weight * mask, the dense weight is kept beside it. */
export interface WeightMasks {
  /** First mask of each weight, by initializer, in its element order. */
  readonly initial: ReadonlyMap<string, Uint8Array>;
  /**
   * `masked`: a weight behind a zero gets no gradient (it stays as it was, but for weight decay). `straight-through`: it
   * learns as if it were not zeroed, so that a later mask may bring it back.
   */
  readonly gradient: 'masked' | 'straight-through';
  readonly score?: WeightScore | undefined;
}

/** Changes masks while training runs. Called between steps only; what it does follows from its arguments alone. */
export interface MaskUpdates {
  /** Updates after which the masks no longer change: only then may a result be kept. */
  readonly settledAfter: number;
  /** @param updates - made so far */
  beforeUpdate(updates: number, state: TrainingState): void;
}

/** A weight of the training graph and the product that stands in its place. */
export interface MaskedWeight {
  readonly value: string;
  readonly mask: string;
}

/**
 * Puts weight * mask in the place of each weight that has a mask: the masks become initializers of the graph.
 *
 * @param names - the parameters that are trained; masks of others are left out
 * @returns by parameter
 */
export function insertMasks(
  b: GraphBuilder,
  masks: WeightMasks | undefined,
  names: ReadonlySet<string>,
): ReadonlyMap<string, MaskedWeight> {
  const inserted = new Map<string, MaskedWeight>();
  const { graph } = b;
  for (const [name, initial] of masks?.initial ?? []) {
    const tensor = graph.initializers.get(name);
    if (!names.has(name) || tensor === undefined) continue;
    if (initial.length !== tensor.elementCount) {
      throw new CompressionError('INTERNAL', `mask of "${name}" has ${initial.length} elements, the weight has others`);
    }
    const mask = b.initializer(Tensor.float(`${name}.mask`, initial, tensor.dims));
    const value = b.fresh(`${name}.masked`);
    for (const node of graph.nodes) node.inputs = node.inputs.map((input) => (input === name ? value : input));
    graph.nodes.unshift(makeNode('Mul', [name, mask], [value], { name: value }));
    inserted.set(name, { value, mask });
  }
  return inserted;
}

/** Writes the next value of a weight's score. @param gradient - of the masked weight, so that zeroed ones are scored too */
export function writeScore(io: StateIo, weight: StateTensor, gradient: string, score: WeightScore): void {
  const state = io.make('score', `${weight.name}.score`, weight);
  io.write(state, nextScore(io, state.name, { gradient, weight: weight.name }, score));
}

function nextScore(
  { b, scalar }: StateIo,
  before: string,
  { gradient, weight }: { readonly gradient: string; readonly weight: string },
  score: WeightScore,
): string {
  // A state must come out under a name of its own.
  if (score.kind === 'gradient') return b.op('Identity', [gradient]);
  const product = b.op('Mul', [gradient, weight]);
  switch (score.kind) {
    case 'movement':
      return b.op('Sub', [before, b.op('Mul', [product, scalar('learning_rate')])]);
    case 'saliency':
      return b.op('Add', [b.op('Mul', [before, b.float('score_decay', score.decay)]), b.op('Abs', [product])]);
    case 'product':
      return product;
    case 'square':
      return b.op('Add', [before, b.op('Mul', [product, product])]);
  }
}

/** A weight counts as pruned on purpose from this share of exact zeros on: training never makes any by itself. */
const PRUNED_SHARE = 0.01;

/** Whether at least 1 % of a weight and not all of it is exactly zero. O(n). */
export function isPruned(values: Float32Array): boolean {
  let zeros = 0;
  for (const value of values) if (value === 0) zeros += 1;
  return zeros >= PRUNED_SHARE * values.length && zeros > 0 && zeros < values.length;
}

/**
 * Masks that keep the zeros of a pruned model: for every weight (no bias, no normalization) of which at least 1 % and not
 * all is exactly zero. Undefined where there is none.
 */
export function masksOfZeros(model: Model): WeightMasks | undefined {
  const initial = new Map<string, Uint8Array>();
  for (const { name, role } of parametersOf(model)) {
    const values = role === 'weight' ? model.graph.initializers.get(name)?.floats() : undefined;
    if (values === undefined || !isPruned(values)) continue;
    initial.set(
      name,
      Uint8Array.from(values, (value) => (value === 0 ? 0 : 1)),
    );
  }
  return initial.size === 0 ? undefined : { initial, gradient: 'masked' };
}

/** How many layers a training graph has under masks, and how many weights of them are zero at the start. */
export function keptZeros(state: readonly StateTensor[]): { readonly layers: number; readonly zeros: number } {
  const masks = state.filter(({ kind }) => kind === 'mask');
  let zeros = 0;
  for (const { initial } of masks) for (const one of initial ?? []) if (one === 0) zeros += 1;
  return { layers: masks.length, zeros };
}
