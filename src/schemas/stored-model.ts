import { z } from 'zod';
import { ResolvedArchitectureField } from './architecture.ts';
import { ModelId } from './common.ts';

/** The model of a job as it is stored: an uploaded one, or a network of the zoo with its defaults filled. */
export const StoredModelField = z.union([ModelId, ResolvedArchitectureField]);
export type StoredModelField = z.infer<typeof StoredModelField>;
