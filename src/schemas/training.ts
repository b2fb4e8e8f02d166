import { z } from 'zod';
import { AugmentField } from './training-data.ts';

const fraction = z.number().min(0).max(1);
const beta = z.number().min(0).lt(1);
const weightDecay = z.number().min(0).max(1);
const globs = z.array(z.string().min(1).max(256)).min(1).max(256);

const Optimizer = z.discriminatedUnion('name', [
  z.strictObject({
    name: z.literal('sgd'),
    momentum: beta.default(0.9),
    nesterov: z.boolean().default(false),
    weightDecay: weightDecay.default(5e-4).describe('Added to the gradient, as in PyTorch'),
  }),
  z.strictObject({
    name: z.literal('adam'),
    beta1: beta.default(0.9),
    beta2: beta.default(0.999),
    epsilon: z.number().positive().max(1).default(1e-8),
    weightDecay: weightDecay.default(0).describe('Added to the gradient'),
  }),
  z.strictObject({
    name: z.literal('adamw'),
    beta1: beta.default(0.9),
    beta2: beta.default(0.999),
    epsilon: z.number().positive().max(1).default(1e-8),
    weightDecay: weightDecay.default(1e-2).describe('Taken off the weights themselves, times the learning rate'),
  }),
]);

const Schedule = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('constant') }),
  z.strictObject({ name: z.literal('cosine'), finalRatio: fraction.default(0) }),
  z.strictObject({
    name: z.literal('step'),
    milestones: z
      .array(z.number().min(0))
      .max(64)
      .default([])
      .describe('Epochs at which the rate is multiplied; none: every so many epochs'),
    every: z.number().positive().default(30),
    gamma: z.number().positive().max(1).default(0.1),
  }),
  z.strictObject({
    name: z.literal('linear-warmup-cosine'),
    warmupEpochs: z.number().min(0).max(1000).default(1),
    finalRatio: fraction.default(0),
  }),
]);

const OPTIMIZER_NAMES = ['sgd', 'adam', 'adamw'] as const;
const SCHEDULE_NAMES = ['cosine', 'step', 'constant', 'linear-warmup-cosine'] as const;

/** `training` of api.md: how a model is trained, whatever pass does it. Names stand for an object with its defaults. */
export const TrainingField = z.strictObject({
  epochs: z.number().int().min(1).max(100_000).default(10),
  batchSize: z.number().int().min(1).max(65_536).default(128).describe('Samples a step'),
  accumulate: z
    .number()
    .int()
    .min(1)
    .max(4096)
    .default(1)
    .describe('Batches whose gradients are averaged for one update: a large effective batch in small memory'),
  optimizer: z
    .union([z.enum(OPTIMIZER_NAMES), Optimizer])
    .default('sgd')
    .transform((value) => Optimizer.parse(typeof value === 'string' ? { name: value } : value)),
  learningRate: z.number().positive().max(1000).optional().describe('Default 0.01 with sgd, 0.001 with adam and adamw'),
  schedule: z
    .union([z.enum(SCHEDULE_NAMES), Schedule])
    .default('cosine')
    .transform((value) => Schedule.parse(typeof value === 'string' ? { name: value } : value))
    .describe('Learning rate over the steps'),
  loss: z.enum(['cross-entropy', 'mse', 'bce']).default('cross-entropy').describe('bce: on logits, one for each class'),
  labelSmoothing: z.number().min(0).lt(1).default(0),
  classWeights: z.array(z.number().positive()).min(2).max(100_000).optional().describe('One weight a class'),
  augment: AugmentField.default([]),
  clipNorm: z.number().positive().optional().describe('Largest global norm of the gradients'),
  ema: z.number().gt(0).lt(1).optional().describe('Decay of a moving average of the weights, which becomes the result'),
  weightDecayExempt: z
    .array(z.enum(['bias', 'normalization']))
    .default([])
    .describe('Parameters that weight decay leaves alone'),
  batchNormalization: z
    .enum(['train', 'frozen'])
    .default('train')
    .describe('frozen: running statistics are used and stay as they are'),
  trainable: globs.optional().describe('Only these layers or parameters: globs of node or initializer names'),
  frozen: globs.optional().describe('Layers or parameters that stay as they are'),
  keepZeros: z
    .boolean()
    .default(true)
    .describe('Zeros of pruned weights stay zeros: in every layer of whose weights 1 % or more are exactly zero'),
  validation: z
    .union([
      z.strictObject({ fraction: z.number().min(0).lt(1) }),
      z.strictObject({ role: z.enum(['calibration', 'evaluation']) }),
    ])
    .default({ fraction: 0.1 })
    .describe('Share of the training data that is held back, or another data role; { "fraction": 0 } for none'),
  keep: z.enum(['best', 'last']).default('best').describe('Which epoch is the result; best goes by validation'),
  patience: z.number().int().min(1).optional().describe('Stops after this many epochs without a better validation'),
});
export type TrainingField = z.output<typeof TrainingField>;
