import { z } from 'zod';
import { RestoreField } from '../../restore-normalization.ts';
import { TrainingField } from '../../../schemas/training.ts';
import { Distillation } from '../../distillation-field.ts';

const bits = z.number().int().min(2).max(8);

export const METHODS = ['ste', 'lsq', 'lsq+', 'pact'] as const;

export const AwareOptions = z.strictObject({
  weights: bits.default(4).describe('Bits of a weight'),
  activations: bits
    .default(8)
    .describe('Bits of what goes into a layer with weights. What adds or pools values keeps 8'),
  firstAndLast: bits
    .default(8)
    .describe('Bits of weights and activations of the layers next to inputs and outputs; they cost most when coarse'),
  method: z
    .enum(METHODS)
    .default('lsq')
    .describe(
      'How scales are found. ste: weights by their largest magnitude, activations as calibrated; lsq: trained; lsq+: trained, with zero points; pact: activations by a trained clipping level, weights as in lsq',
    ),
  perChannel: z.boolean().default(true).describe('One weight scale an output channel instead of one a tensor'),
  batchNormalization: z
    .enum(['keep', 'fold'])
    .default('keep')
    .describe(
      'keep: trained as training.batchNormalization says and folded into the codes at the end; fold: folded before training',
    ),
  restoreBatchNormalization: RestoreField,
  storage: z
    .enum(['packed', 'int8'])
    .default('packed')
    .describe(
      'packed: weights in 4 or 2 bits each where they fit, computed in float; int8: a byte each, computed by int8 kernels',
    ),
  levels: z
    .enum(['integers', 'balanced'])
    .default('balanced')
    .describe(
      'What weights of 2 bits can be, in steps. balanced: -1.5, -0.5, 0.5, 1.5; integers: -2, -1, 0, 1, as with method ste and where pruned weights keep their zeros',
    ),
  distillation: Distillation,
  exclude: z
    .array(z.string().min(1).max(256))
    .max(256)
    .default([])
    .describe('Node names or operator types to leave in float; * and ? are wildcards'),
  training: TrainingField.prefault({}).describe('Epochs, batch size, optimizer, learning rate, loss, augmentation'),
});
export type AwareOptions = z.output<typeof AwareOptions>;
