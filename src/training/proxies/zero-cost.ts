import { CompressionError, messageOf } from '../../errors.ts';
import { macsOf } from '../../onnx/cost/macs.ts';
import type { Model } from '../../onnx/model.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import { parametersOf } from '../parameters.ts';
import { activationPatternScore } from './activation-patterns.ts';
import { gradientProxies, type GradientProxy, type LabelledBatch } from './gradient-proxies.ts';
import { jacobianCovariance } from './input-jacobian.ts';
import type { ProbeContext } from './probe-network.ts';
import { synapticFlow } from './synaptic-flow.ts';

/** Numbers by which a network is judged without training; of each the larger is the better. */
export const PROXY_NAMES = [
  'parameters',
  'macs',
  'naswot',
  'jacob-cov',
  'synflow',
  'snip',
  'grasp',
  'fisher',
  'grad-norm',
] as const;
export type ProxyName = (typeof PROXY_NAMES)[number];

export interface ProxyScores {
  readonly scores: Readonly<Partial<Record<ProxyName, number>>>;
  /** Why a proxy that was asked for has no score. */
  readonly absent: Readonly<Partial<Record<ProxyName, string>>>;
}

const GRADIENT_PROXIES: readonly GradientProxy[] = ['snip', 'grasp', 'fisher', 'grad-norm'];

/**
 * Zero-cost proxies of a network with fresh weights, by one batch: normalization by the batch's statistics, without dropout.
 * `parameters` and `macs` are the baselines that the others have to beat; often they do not. `synflow` is the logarithm
 * of what the paper has. The model is not changed.
 *
 * A proxy that cannot be had of this network (no rectifier, no gradient, numbers that are not finite) is absent, with the reason.
 *
 * @param batch - 64 to 128 samples, as the network takes them
 * @throws CompressionError MODEL_LOAD, MODEL_RUN; the signal's reason
 * @see Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021; each proxy's own paper stands with it
 */
export async function zeroCostProxies(
  model: Model,
  batch: LabelledBatch,
  context: ProbeContext & {
    readonly loss?: 'cross-entropy' | 'mse' | 'bce';
    readonly names?: readonly ProxyName[];
  },
): Promise<ProxyScores> {
  const { names = PROXY_NAMES, loss = 'cross-entropy' } = context;
  const scores: Partial<Record<ProxyName, number>> = {};
  const absent: Partial<Record<ProxyName, string>> = {};
  const keep = (name: ProxyName, value: number | undefined, reason: string): void => {
    if (value === undefined) absent[name] = reason;
    else if (Number.isFinite(value)) scores[name] = value;
    else absent[name] = `it is ${value}`;
  };
  const attempt = async (wanted: readonly ProxyName[], measure: () => Promise<void>): Promise<void> => {
    try {
      await measure();
    } catch (error) {
      if (!(error instanceof CompressionError) || !['TRAIN_NO_GRADIENT', 'MODEL_UNSUPPORTED'].includes(error.code))
        throw error;
      for (const name of wanted) absent[name] = messageOf(error);
    }
  };

  for (const name of PROXY_NAMES.filter((known) => names.includes(known))) {
    switch (name) {
      case 'parameters':
        keep(name, trainedNumbers(model), '');
        break;
      case 'macs':
        keep(name, macsOf(model).total, '');
        break;
      case 'naswot':
        await attempt([name], async () =>
          keep(name, await activationPatternScore(model, batch.feeds, context), 'the network has no ReLU'),
        );
        break;
      case 'jacob-cov':
        await attempt([name], async () =>
          keep(name, await jacobianCovariance(model, batch.feeds, context), 'a gradient by the input is constant'),
        );
        break;
      case 'synflow':
        await attempt([name], async () => keep(name, await synapticFlow(model, sampleShape(batch), context), ''));
        break;
      default:
        // Below, together.
        break;
    }
  }
  // One graph for those that differentiate once; differentiating twice may fail where that does not.
  for (const group of [GRADIENT_PROXIES.filter((name) => name !== 'grasp'), ['grasp' as const]]) {
    const wanted = group.filter((name) => names.includes(name));
    if (wanted.length === 0) continue;
    await attempt(wanted, async () => {
      const found = await gradientProxies(model, wanted, batch, { ...context, loss });
      for (const name of wanted) keep(name, found[name], '');
    });
  }
  return { scores, absent };
}

/** Weights, biases, scales and shifts; no running statistics. */
function trainedNumbers(model: Model): number {
  return parametersOf(model).reduce((sum, { dims }) => sum + elementCount(dims), 0);
}

function sampleShape({ feeds }: LabelledBatch): readonly number[] {
  return Object.values(feeds)[0]?.dims.slice(1) ?? [];
}
