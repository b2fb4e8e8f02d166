import type { DataRole } from '../pass.ts';
import type { Constraints } from '../../schemas/constraints.ts';

export interface AutoCandidate {
  readonly name: string;
  readonly why: string;
  readonly steps: readonly ({ readonly pass: string } & Readonly<Record<string, unknown>>)[];
}

const TRAINING = { epochs: 10, learningRate: 0.01, optimizer: { name: 'sgd', momentum: 0.9, nesterov: true } };
const INT8 = { pass: 'quantize.static' };

/**
 * Recipes to try, in their order: quantization first, since it costs least and gains in size and speed alike; then channels
 * out and the rest trained, stronger each time; what only shrinks the file where only the file is limited.
 *
 * @param roles - data that the job gives
 */
export function candidatesFor(constraints: Constraints, roles: ReadonlySet<DataRole>): readonly AutoCandidate[] {
  const calibrated = roles.has('calibration');
  const speedMatters = constraints.minSpeedup !== undefined || constraints.maxLatencyP50Ms !== undefined;
  const candidates: AutoCandidate[] = [];
  const add = (name: string, why: string, ...steps: AutoCandidate['steps']): void => {
    candidates.push({ name, why, steps });
  };
  if (calibrated) {
    add(
      'int8',
      '8-bit weights and activations: a quarter of the size, faster on every CPU, little or nothing lost',
      INT8,
    );
    if (roles.has('evaluation') && constraints.maxAccuracyDrop !== undefined) {
      add('int8-accurate', 'int8 with repairs until the accuracy holds', { ...INT8, accuracy: 'auto' });
    }
  } else {
    add('int8-dynamic', '8-bit weights, activations quantized while running: needs no data', {
      pass: 'quantize.dynamic',
    });
    if (!speedMatters)
      add('int4-weights', '4-bit weights of products, activations in float', { pass: 'quantize.weights' });
  }
  for (const share of calibrated ? [0.75, 0.5, 0.35, 0.2] : []) {
    const percent = Math.round(share * 100);
    const prune = {
      pass: 'prune.channels',
      macsRatio: share,
      allocation: 'sensitivity',
      recover: 'least-squares',
      restoreBatchNormalization: true,
    };
    if (roles.has('training')) {
      const why = `channels out to ${percent} % of the multiply-accumulates, the rest taught by the model as it came, then int8`;
      add(`prune-${percent}-int8`, why, prune, { pass: 'distill', student: 'self', training: TRAINING }, INT8);
    } else if (share >= 0.5) {
      const why = `channels out to ${percent} % of the multiply-accumulates, the layers behind fitted to the calibration data, then int8`;
      add(`prune-${percent}-int8`, why, prune, INT8);
    }
  }
  if (!speedMatters && roles.has('training') && calibrated) {
    const why =
      'weights of 4 bits and activations of 8, trained with their quantizers in place: an eighth of the size, no faster';
    add('qat-w4a8', why, { pass: 'quantize.aware', weights: 4, activations: 8, training: TRAINING });
  }
  return candidates;
}
