import { z } from 'zod';
import { RestoreField } from '../../restore-normalization.ts';
import { TrainingField } from '../../../schemas/training.ts';
import { Distillation } from '../../distillation-field.ts';

export const BINARY_METHODS = ['binaryconnect', 'bwn', 'xnor', 'dorefa', 'bireal'] as const;
export const TERNARY_METHODS = ['twn', 'ttq'] as const;
export type SignMethod = (typeof BINARY_METHODS)[number] | (typeof TERNARY_METHODS)[number];

const shared = {
  firstAndLast: z
    .enum(['keep', 'quantize'])
    .default('keep')
    .describe('Whether the layers next to inputs and outputs stay in float; they cost most'),
  exclude: z
    .array(z.string().min(1).max(256))
    .max(256)
    .default([])
    .describe('Node names or operator types to leave in float; * and ? are wildcards'),
  restoreBatchNormalization: RestoreField,
  distillation: Distillation,
  training: TrainingField.prefault({}).describe('Epochs, batch size, optimizer, learning rate, loss, augmentation'),
};

export const BinaryOptions = z.strictObject({
  method: z
    .enum(BINARY_METHODS)
    .default('bwn')
    .describe(
      'binaryconnect: weights to -1 and 1, behind them a normalization; bwn: times their mean magnitude, one a filter; xnor, bireal: activations to -1 and 1 too; dorefa: activations to 0 and 1, one magnitude a layer',
    ),
  ...shared,
});

export const TernaryOptions = z.strictObject({
  method: z
    .enum(TERNARY_METHODS)
    .default('twn')
    .describe(
      'twn: weights to -a, 0 and a, with the mean magnitude of the large ones, one a filter; ttq: to -n, 0 and p, both trained, a pair a layer',
    ),
  ...shared,
});

export type SignOptions = Omit<z.output<typeof BinaryOptions>, 'method'> & { readonly method: SignMethod };
