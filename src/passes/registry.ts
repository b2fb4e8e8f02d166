import { canonicalize } from './canonicalize/canonicalize.ts';
import { distill } from './distill/distill.ts';
import type { Pass } from './pass.ts';
import { quantizeDynamic } from './quantize/dynamic.ts';
import { quantizeStatic } from './quantize/static.ts';
import { trainFinetune } from './train/finetune.ts';

/** Every pass there is, in the order /v1/passes lists them. */
export const PASSES: readonly Pass[] = [canonicalize, trainFinetune, distill, quantizeStatic, quantizeDynamic];
