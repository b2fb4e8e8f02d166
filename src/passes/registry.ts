import type { Pass } from './pass.ts';

/** Every pass there is, in the order /v1/passes lists them. */
export const PASSES: readonly Pass[] = [];
