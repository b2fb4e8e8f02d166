import { z } from 'zod';
import { TrainingField } from '../../../schemas/training.ts';
import { METHODS } from '../activation-params.ts';
import { ACTIVATION_TYPES, OverridesField, WEIGHT_TYPES, StaticOptions } from '../static-options.ts';
import type { LayerChoice } from '../static-request.ts';

const globs = z.array(z.string().min(1).max(256)).max(256);
const share = z.number().gt(0).lt(1);

const Candidate = z
  .union([
    z.strictObject({ weights: z.enum(WEIGHT_TYPES), activations: z.enum(ACTIVATION_TYPES).default('uint8') }),
    z.literal('float'),
  ])
  .describe('What a layer may become: integer types of its weights and of its input, or "float"');

/** Four bits a weight, where no budget is named. */
const DEFAULT_AVERAGE_BITS = 4;

const Budget = z
  .strictObject({
    averageBits: z.number().min(1).max(32).optional().describe('Bits a weight of these layers, on average, at most'),
    bytesRatio: share.optional().describe('Share of the bytes of the file that is kept, at most'),
    maxBytes: z.int().min(1).optional().describe('Bytes of the file, at most'),
    bopsRatio: share
      .optional()
      .describe('Share of the bit operations (multiply-accumulates times bits of both operands) that is kept, at most'),
    maxBops: z.int().min(1).optional().describe('Bit operations of one sample, at most'),
    latencyRatio: share
      .optional()
      .describe('Share of the time of these layers that is kept, at most, as the kernel cost table estimates it'),
  })
  .refine((budget) => Object.values(budget).filter((limit) => limit !== undefined).length === 1, {
    message: 'give one limit: averageBits, bytesRatio, maxBytes, bopsRatio, maxBops or latencyRatio',
  });
export type Budget = z.output<typeof Budget>;

export const MixedOptions = z
  .strictObject({
    candidates: z
      .array(Candidate)
      .min(1)
      .max(16)
      .default([
        { weights: 'int8', activations: 'uint8' },
        { weights: 'int4', activations: 'uint8' },
        { weights: 'int2', activations: 'uint8' },
      ])
      .describe('What each layer may become; by default int8, int4 or int2 weights with uint8 activations'),
    budget: Budget.optional().describe(
      `The limit that the choice keeps, with the least loss; one of averageBits, bytesRatio, maxBytes, bopsRatio, maxBops, latencyRatio. Default averageBits ${DEFAULT_AVERAGE_BITS}`,
    ),
    sensitivity: z
      .enum(['kl', 'sqnr', 'metric', 'hawq'])
      .optional()
      .describe(
        'What a layer costs in accuracy, each candidate measured with that layer alone quantized. Default kl where the first float output is [samples, classes] and some data of the job have class labels, else sqnr. kl: how far the probabilities of the classes move, without labels; sqnr: noise of the outputs over their signal; metric: loss of top-1 on labelled data, ties by the noise; hawq: what the loss rises by, from the trace of its Hessian on training data, weights alone',
      ),
    maxAccuracyDrop: z
      .number()
      .min(0)
      .lt(1)
      .optional()
      .describe(
        'In place of a budget: from the cheapest choice, layers are given back to wider types until no more than this share of the evaluation samples is lost',
      ),
    minimize: z
      .enum(['bytes', 'bops', 'latency'])
      .default('bytes')
      .describe('What maxAccuracyDrop makes as small as it can'),
    probes: z
      .int()
      .min(1)
      .max(1000)
      .default(8)
      .describe('Random vectors for each batch that hawq estimates a trace by'),
    batches: z.int().min(1).max(10_000).default(8).describe('Batches of training data that hawq takes gradients of'),
    training: TrainingField.optional().describe('Loss and batch size of the gradients that hawq takes'),
    samples: z
      .int()
      .min(1)
      .max(100_000)
      .default(128)
      .describe('Calibration samples that sensitivities are measured on, about'),
    layers: z
      .record(z.string().min(1).max(256), Candidate)
      .default({})
      .describe(
        'Layers that are not chosen, by node name or operator type (* and ? are wildcards); the first match counts',
      ),
    exclude: globs.default([]).describe('Node names or operator types to leave in float; * and ? are wildcards'),
    overrides: OverridesField,
    perChannel: z.boolean().default(true).describe('One weight scale an output channel instead of one a tensor'),
    symmetric: z.boolean().default(false).describe('Activation ranges symmetric around zero'),
    method: z
      .enum(METHODS)
      .default('minmax')
      .describe('How the range of an activation follows from the calibration data'),
    percentile: z.number().gt(50).max(100).default(99.999).describe('Percent of the values kept by method percentile'),
    rounding: StaticOptions.shape.rounding,
    iterations: StaticOptions.shape.iterations,
    biasCorrection: StaticOptions.shape.biasCorrection,
  })
  .superRefine(({ candidates, layers, overrides, budget, maxAccuracyDrop, sensitivity }, context) => {
    if (budget !== undefined && maxAccuracyDrop !== undefined) {
      const message = 'give budget or maxAccuracyDrop, not both';
      context.addIssue({ code: 'custom', path: ['maxAccuracyDrop'], message });
    }
    const weights = candidates.map((candidate) => (candidate === 'float' ? candidate : candidate.weights));
    if (sensitivity === 'hawq' && new Set(weights).size < weights.length) {
      const message = 'hawq looks at weights alone: it cannot tell candidates apart that have the same; take "sqnr"';
      context.addIssue({ code: 'custom', path: ['sensitivity'], message });
    }
    const choices: LayerChoice[] = [...candidates, ...Object.values(layers)];
    const types = [
      ...choices.flatMap((choice) => (choice === 'float' ? [] : [choice.activations])),
      ...Object.values(overrides).flatMap(({ type }) => type ?? []),
    ];
    if (new Set(types.map((type) => type.startsWith('u'))).size > 1) {
      const message = `all activations must be signed, or none; got ${[...new Set(types)].join(', ')}`;
      context.addIssue({ code: 'custom', path: ['candidates'], message });
    }
    if (choices.some((choice) => choice !== 'float' && choice.activations === 'int8' && choice.weights === 'uint8')) {
      const message = 'int8 activations with uint8 weights have no kernel; use uint8 activations or int8 weights';
      context.addIssue({ code: 'custom', path: ['candidates'], message });
    }
    if (new Set(candidates.map((candidate) => JSON.stringify(candidate))).size < candidates.length) {
      context.addIssue({ code: 'custom', path: ['candidates'], message: 'one candidate stands there twice' });
    }
  });
export type MixedOptions = z.output<typeof MixedOptions>;

export function budgetOf({ budget }: MixedOptions): Budget {
  return budget ?? { averageBits: DEFAULT_AVERAGE_BITS };
}
