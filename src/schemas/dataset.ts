import { z } from 'zod';
import { DatasetId, Sha256, Timestamp } from './common.ts';

export const DatasetName = z.string().min(1).max(200).describe('For people; not unique');

export const DatasetSummaryField = z.object({
  kind: z.enum(['npz', 'npy', 'zip-images', 'tar-images', 'parquet']),
  samples: z.number().int(),
  arrays: z
    .array(z.object({ name: z.string(), type: z.string(), shape: z.array(z.number().int()) }))
    .optional()
    .describe('npz, npy, parquet: named arrays, samples along the first axis'),
  classes: z.array(z.string()).optional().describe('Image folders: class names; the label is the index'),
});
export type DatasetSummaryField = z.infer<typeof DatasetSummaryField>;

export const DatasetResource = DatasetSummaryField.extend({
  id: DatasetId,
  name: z.string().nullable(),
  sha256: Sha256,
  bytes: z.number().int(),
  createdAt: Timestamp,
});
export type DatasetResource = z.infer<typeof DatasetResource>;
