import type { Model } from '../../onnx/model.ts';
import type { NdArray } from '../../onnx/nd-array.ts';
import { differentiate } from '../differentiate.ts';
import { totalLoss } from '../losses/loss.ts';
import { LABELS, taskLoss, type LabelKind } from '../losses/task-loss.ts';
import {
  expose,
  probeNetwork,
  runProbe,
  scalarOf,
  type ProbeContext,
  type ProbeLayer,
  type ProbeNetwork,
} from './probe-network.ts';

export type GradientProxy = 'snip' | 'grad-norm' | 'fisher' | 'grasp';

export interface LabelledBatch {
  readonly feeds: Readonly<Record<string, NdArray>>;
  readonly labels: NdArray;
}

/** Gradients of the layers of one network: by weight, and by what each layer gives. */
interface Derived {
  readonly network: ProbeNetwork;
  readonly gradients: ReadonlyMap<string, string>;
}

/**
 * What a proxy sums over the layers, as a scalar of the graph. `w`, `g`: a layer's weights and the gradient of the loss at them;
 * `a`, `dA`: the value it gives, and the gradient there.
 */
const TERMS = {
  /** Sum of |w g|. Lee et al., "SNIP", ICLR 2019 */
  snip: ({ network: { b } }, { weight }, g) => sum(b, b.op('Abs', [b.op('Mul', [weight, g])])),
  /** Norm of g. Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021 */
  'grad-norm': ({ network: { b } }, _, g) => b.op('Sqrt', [sum(b, b.op('Mul', [g, g]))]),
  /**
   * Sum over the channels of the batch's mean of (sum over places of a dA)^2 / 2. Theis et al., "Faster gaze prediction with
   * dense networks and Fisher pruning", 2018; Turner et al., "BlockSwap", ICLR 2020
   */
  fisher: ({ network: { b, types }, gradients }, { output, channelAxis }) => {
    const dA = gradients.get(output);
    if (dA === undefined) return undefined;
    const shape = types.shape(output);
    const channels = channelAxis < 0 ? shape.length - 1 : channelAxis;
    const places = shape.flatMap((_, axis) => (axis === 0 || axis === channels ? [] : [axis]));
    const product = b.op('Mul', [output, dA]);
    const perSample = places.length === 0 ? product : sum(b, product, places);
    const halfMean = b.float('half_mean', 0.5 / (shape[0] ?? 1));
    return b.op('Mul', [sum(b, b.op('Mul', [perSample, perSample])), halfMean]);
  },
} as const satisfies Record<
  Exclude<GradientProxy, 'grasp'>,
  (derived: Derived, layer: ProbeLayer, g: string) => string | undefined
>;

/**
 * Proxies by the gradient of the loss on one batch, all in one graph. `grasp` differentiates the gradient once more, exactly.
 *
 * @throws CompressionError TRAIN_NO_GRADIENT, DATASET_LABELS, MODEL_UNSUPPORTED
 */
export async function gradientProxies<Name extends GradientProxy>(
  model: Model,
  names: readonly Name[],
  { feeds, labels }: LabelledBatch,
  context: ProbeContext & { readonly loss: 'cross-entropy' | 'mse' | 'bce' },
): Promise<Record<Name, number>> {
  const shapes = Object.fromEntries(Object.entries(feeds).map(([name, { dims }]) => [name, dims]));
  const network = probeNetwork(model, shapes, 'batch');
  const { b, types, layers, scores } = network;
  const kind: LabelKind = labels.data instanceof BigInt64Array ? 'index' : 'target';
  const shape = types.shape(scores);
  let labelShape: readonly number[] = labels.dims;
  const loss = taskLoss(
    { name: context.loss, labelSmoothing: 0 },
    kind,
  )({
    b,
    batchSize: shape[0] ?? 1,
    scores: { value: scores, shape },
    tensor: (name) => ({ value: name, shape: types.shape(name) }),
    input: (name, type, dims) => {
      labelShape = dims;
      return b.input(name, type, dims);
    },
  });
  const weights = layers.map(({ weight }) => weight);
  const outputs = (names as readonly GradientProxy[]).includes('fisher') ? layers.map(({ output }) => output) : [];
  const gradients = differentiate(b, { loss: totalLoss(b, loss).seeds, wrt: [...weights, ...outputs], types });
  const derived: Derived = { network, gradients };
  const values = names.map((name) => {
    const terms = name === 'grasp' ? graspTerms(derived) : layerTerms(name, derived);
    return terms.length === 0 ? undefined : expose(network, b.op('Sum', terms));
  });
  const results = await runProbe(network, { ...feeds, [LABELS]: { ...labels, dims: labelShape } }, context);
  return Object.fromEntries(names.map((name, i) => [name, scalarOf(results, values[i])])) as Record<Name, number>;
}

function layerTerms(name: keyof typeof TERMS, derived: Derived): string[] {
  return derived.network.layers.flatMap((layer) => {
    const gradient = derived.gradients.get(layer.weight);
    return gradient === undefined ? [] : (TERMS[name](derived, layer, gradient) ?? []);
  });
}

/**
 * -w H g: how pruning the weight changes the flow of gradients, g^T g. The Hessian's product with g is the gradient of g^T g / 2.
 * @see Wang et al., "Picking Winning Tickets Before Training by Preserving Gradient Flow" (GraSP), ICLR 2020, eq. 8
 */
function graspTerms({ network: { b, types, layers }, gradients }: Derived): string[] {
  const seeds = layers.flatMap(({ weight }) => {
    const gradient = gradients.get(weight);
    return gradient === undefined ? [] : [{ of: gradient, gradient }];
  });
  const products = differentiate(b, { loss: seeds, wrt: layers.map(({ weight }) => weight), types });
  return [...products].map(([weight, product]) => b.op('Neg', [sum(b, b.op('Mul', [weight, product]))]));
}

function sum(b: ProbeNetwork['b'], value: string, axes?: readonly number[]): string {
  const inputs = axes === undefined ? [value] : [value, b.ints('places', axes)];
  return b.op('ReduceSum', inputs, { attributes: { keepdims: 0 } });
}
