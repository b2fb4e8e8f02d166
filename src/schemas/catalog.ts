import { z } from 'zod';

const Paper = z.object({ title: z.string(), url: z.string() });

export const PassResource = z.object({
  name: z.string(),
  stage: z.string().describe('Steps of a recipe are ordered by stage'),
  description: z.string(),
  needs: z.array(z.string()).describe('Data roles it needs with the options of the example'),
  options: z.record(z.string(), z.unknown()).describe('JSON Schema of its options, each with its default'),
  example: z.record(z.string(), z.unknown()).describe('A step as it stands in a recipe'),
  papers: z.array(Paper),
});
export type PassResource = z.infer<typeof PassResource>;

export const PresetResource = z.object({
  name: z.string(),
  description: z.string(),
  needs: z.array(z.string()),
  options: z.record(z.string(), z.unknown()).describe('A preset takes no options'),
  example: z.record(z.string(), z.unknown()).describe('The recipe it stands for'),
  papers: z.array(Paper),
});
export type PresetResource = z.infer<typeof PresetResource>;

export const ArchitectureCounts = z.object({
  parameters: z.number().describe('Weights, biases, gammas and betas'),
  runningStatistics: z.number().describe('Means and variances of BatchNormalization'),
  macs: z.number().describe('Multiply-accumulates of one sample'),
  multiplications: z.number(),
  additions: z.number(),
  adderOperations: z.number().describe('Distances that adder layers take: two additions each, among the additions'),
});

export const ArchitectureResource = z.object({
  name: z.string(),
  description: z.string(),
  options: z.record(z.string(), z.unknown()).describe('JSON Schema of its options, each with its default'),
  example: z.record(z.string(), z.unknown()).describe('As it stands in the model field of a job'),
  counts: z.object({ defaults: ArchitectureCounts, example: ArchitectureCounts }),
  references: z
    .array(z.object({ name: z.string(), options: z.record(z.string(), z.unknown()) }))
    .describe('Well-known configurations; docs/architectures.md has their counts'),
  papers: z.array(Paper),
});
export type ArchitectureResource = z.infer<typeof ArchitectureResource>;
