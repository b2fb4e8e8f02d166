import { z } from 'zod';
import { ArchitectureField } from '../../schemas/architecture.ts';
import { ModelId } from '../../schemas/common.ts';
import { TrainingField } from '../../schemas/training.ts';
import { TeacherField } from '../named-models.ts';
import { RestoreField } from '../restore-normalization.ts';

const weight = (standard: number) =>
  z.number().positive().max(1e9).default(standard).describe('Factor of this loss in the sum');
const temperature = z.number().positive().max(100).default(4).describe('Divides the logits of both networks');
const factor = (standard: number) => z.number().min(0).max(1e6).default(standard);
const layers = z
  .array(z.tuple([z.string().min(1), z.string().min(1)]))
  .min(1)
  .max(256)
  .optional()
  .describe('Pairs [value of the teacher, value of the student]; default: found from the graphs');

/** One term of the sum. Standard weights are those of RepDistiller, mdistiller's for `dkd`. */
const Loss = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('ce'), weight: weight(1) }).describe('The task itself, by training.loss'),
  z.strictObject({ name: z.literal('kd'), weight: weight(0.9), temperature }),
  z.strictObject({ name: z.literal('dkd'), weight: weight(1), temperature, alpha: factor(1), beta: factor(8) }),
  z.strictObject({ name: z.literal('at'), weight: weight(1000), layers }),
  z.strictObject({ name: z.literal('sp'), weight: weight(3000), layers }),
  z.strictObject({ name: z.literal('fitnet'), weight: weight(100), layers }),
  z.strictObject({ name: z.literal('vid'), weight: weight(1), layers }),
  z.strictObject({ name: z.literal('pkt'), weight: weight(30_000), layers }),
  z.strictObject({ name: z.literal('cc'), weight: weight(0.02), layers }),
  z.strictObject({ name: z.literal('crd'), weight: weight(0.8), layers }),
  z.strictObject({
    name: z.literal('rkd'),
    weight: weight(1),
    distanceWeight: factor(25),
    angleWeight: factor(50),
    layers,
  }),
]);
export type DistillLoss = z.output<typeof Loss>;
export type LossName = DistillLoss['name'];

/** The losses that compare inner values of the two networks. */
export type FeatureLoss = Extract<DistillLoss, { readonly layers?: unknown }>;

const Losses = z
  .array(Loss)
  .min(1)
  .max(32)
  .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, 'must not have the same loss twice')
  .refine((list) => list.some(({ name }) => name !== 'ce'), 'must have a loss that the teacher takes part in: kd, say');

// Architectures ahead of models: of two alternatives that an object fits as badly, an error is told of the first.
const Student = z.union(
  [
    z.literal('self'),
    ArchitectureField,
    z.strictObject({ model: ModelId.describe('Another model, to start from its weights') }),
  ],
  { error: 'must be "self", { "model": "mdl_…" } or { "architecture": name, …options }' },
);
export type StudentField = z.output<typeof Student>;

export const DistillOptions = z
  .strictObject({
    student: Student.default('self').describe(
      'What is taught and becomes the result: a fresh network of the zoo or another model, taught by the model so far; or "self": the model so far, taught by the input model of the job',
    ),
    teacher: TeacherField,
    baseline: z
      .boolean()
      .default(false)
      .describe('Also trains the student without the teacher on the same batches, to report what teaching brought'),
    losses: Losses.default([
      { name: 'ce', weight: 0.1 },
      { name: 'kd', weight: 0.9, temperature: 4 },
    ]).describe('The terms of the weighted sum that is minimized'),
    training: TrainingField.prefault({}).describe('Epochs, batch size, optimizer, learning rate, loss, augmentation'),
    restoreBatchNormalization: RestoreField,
  })
  .refine(({ student, restoreBatchNormalization }) => student === 'self' || !restoreBatchNormalization, {
    path: ['restoreBatchNormalization'],
    message:
      'is for the student "self"; a network of the zoo has its BatchNormalization, and another model is taken as it is',
  });
export type DistillOptions = z.output<typeof DistillOptions>;
