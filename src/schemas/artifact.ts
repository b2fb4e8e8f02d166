import { z } from 'zod';
import { ArtifactEntry } from './job.ts';

export const ArtifactName = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/, 'must be the name of an artifact of this job')
  .describe('As listed');

export const ArtifactResource = ArtifactEntry.extend({ url: z.string().describe('Where the bytes are') });
export type ArtifactResource = z.infer<typeof ArtifactResource>;
