import { z } from 'zod';
import { TrainingField } from '../../../schemas/training.ts';
import { Distillation } from '../../distillation-field.ts';
import { readsInputs } from './one-shot.ts';

const globs = z.array(z.string().min(1).max(256)).max(256);

const METHODS = ['magnitude', 'random', 'lamp', 'snip', 'movement', 'wanda', 'sparsegpt'] as const;

const share = z.number().min(0).max(1);
const Gradual = z.strictObject({
  name: z.literal('gradual'),
  initialSparsity: z.number().min(0).lt(1).default(0).describe('Sparsity of the first masks'),
  from: share.default(0).describe('Share of the training at which pruning begins'),
  to: share.default(0.7).describe('Share at which it ends; the rest is trained with the last masks'),
  every: z.number().int().min(1).max(1_000_000).default(50).describe('Updates between two masks'),
});
const Schedule = z.discriminatedUnion('name', [z.strictObject({ name: z.literal('oneshot') }), Gradual]);

/** Options that both pruning passes have. */
export const pruningFields = {
  method: z
    .enum(METHODS)
    .default('magnitude')
    .describe(
      'Score by which weights go, lowest first. snip needs training data, movement schedule gradual, wanda and sparsegpt calibration data',
    ),
  exclude: globs
    .default([])
    .describe('Layers to leave dense: node names or operator types (Conv, Gemm, MatMul); * and ? are wildcards'),
  include: globs.min(1).optional().describe('Only these node names or operator types; * and ? are wildcards'),
  schedule: z
    .union([z.enum(['oneshot', 'gradual']), Schedule])
    .default('oneshot')
    .transform((value) => Schedule.parse(typeof value === 'string' ? { name: value } : value))
    .refine((schedule) => schedule.name === 'oneshot' || schedule.from <= schedule.to, {
      error: 'from must not be larger than to',
    })
    .describe('oneshot: all at once. gradual: along a cubic curve while the model trains on data.training'),
  gradient: z
    .enum(['masked', 'straight-through'])
    .default('masked')
    .describe('While training: whether zeroed weights stand still, or go on learning so that they may come back'),
  batches: z
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(16)
    .describe('Batches of training data that oneshot snip takes gradients of'),
  training: TrainingField.optional().describe('How a gradual step trains; batch size and loss of oneshot snip'),
  distillation: Distillation.describe(
    'While training gradually: learns the scores of the model as it came in, beside the labels; false: labels only. With loss cross-entropy only',
  ),
  sidecar: z
    .boolean()
    .default(false)
    .describe('Adds an artifact with the weights in a sparse format, from which the client restores the model file'),
};

/** Share of weights that become zero. 1 would leave nothing of any layer. */
export const sparsityField = z
  .number()
  .gt(0)
  .lt(1, { error: 'must be less than 1: a layer without a single weight computes a constant' });

export type PruningOptions = z.output<z.ZodObject<typeof pruningFields>>;

/** What is wrong with a method and its schedule together. */
export function contradiction({
  method,
  schedule,
  training,
}: PruningOptions): { readonly message: string; readonly path: string } | undefined {
  if (schedule.name === 'gradual') {
    return readsInputs(method)
      ? { path: 'schedule', message: `${method} prunes a trained model at once; use schedule oneshot, or magnitude` }
      : undefined;
  }
  if (method === 'movement') {
    return { path: 'method', message: 'movement is a score of training; use it with schedule gradual, or magnitude' };
  }
  return training !== undefined && method !== 'snip'
    ? {
        path: 'training',
        message: `${method} with schedule oneshot does not train; use schedule gradual, or a train.finetune step behind`,
      }
    : undefined;
}

export const PAPERS = [
  {
    title: 'Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015',
    url: 'https://arxiv.org/abs/1506.02626',
  },
  {
    title: 'Zhu & Gupta, To prune, or not to prune: exploring the efficacy of pruning for model compression, 2017',
    url: 'https://arxiv.org/abs/1710.01878',
  },
  {
    title: 'Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR 2021',
    url: 'https://arxiv.org/abs/2010.07611',
  },
  {
    title: 'Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity, ICLR 2019',
    url: 'https://arxiv.org/abs/1810.02340',
  },
  {
    title: 'Sanh et al., Movement Pruning: Adaptive Sparsity by Fine-Tuning, NeurIPS 2020',
    url: 'https://arxiv.org/abs/2005.07683',
  },
  {
    title: 'Sun et al., A Simple and Effective Pruning Approach for Large Language Models (Wanda), ICLR 2024',
    url: 'https://arxiv.org/abs/2306.11695',
  },
  {
    title: 'Frantar & Alistarh, SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot, ICML 2023',
    url: 'https://arxiv.org/abs/2301.00774',
  },
] as const;
