import { z } from 'zod';
import { ModelId, Sha256, Timestamp } from './common.ts';

/** A fixed size, a symbolic name, or null when nothing is known. */
const DimensionField = z.union([z.number().int(), z.string(), z.null()]);

export const ModelValue = z.object({
  name: z.string(),
  type: z.string().describe('Element type, ONNX spelling: float, int64, …; another kind of value is named by it'),
  shape: z.array(DimensionField).nullable().describe('null: unknown rank'),
});
export type ModelValue = z.infer<typeof ModelValue>;

/** What reading the file tells: everything of a model but its identity. */
export const ModelSummaryField = z.object({
  irVersion: z.number().int(),
  opset: z.number().int().describe('Version of the default operator set'),
  opsets: z.record(z.string(), z.number().int()).describe('Every imported operator set; ai.onnx is the default one'),
  producer: z.string(),
  inputs: z.array(ModelValue),
  outputs: z.array(ModelValue),
  operators: z.record(z.string(), z.number().int()).describe('Nodes by operator, subgraphs included'),
  parameters: z.number().int(),
  macs: z.number().nullable().describe('Multiply-accumulates of one sample; null where shapes do not tell'),
});
export type ModelSummaryField = z.infer<typeof ModelSummaryField>;

const ExternalFile = z.object({ location: z.string(), bytes: z.number().int(), sha256: Sha256 });

export const ModelResource = ModelSummaryField.extend({
  id: ModelId,
  sha256: Sha256.describe('Of the model file'),
  bytes: z.number().int().describe('Of the model file and its external data'),
  externalData: z.array(ExternalFile),
  createdAt: Timestamp,
});
export type ModelResource = z.infer<typeof ModelResource>;
