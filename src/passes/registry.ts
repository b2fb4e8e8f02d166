import { canonicalize } from './canonicalize/canonicalize.ts';
import { clusterWeights } from './cluster/weights.ts';
import { distill } from './distill/distill.ts';
import { factorizeSvd } from './factorize/svd.ts';
import { factorizeTucker } from './factorize/tucker.ts';
import type { Pass } from './pass.ts';
import { pruneChannels } from './prune/channels/prune-channels.ts';
import { pruneHeads } from './prune/heads/heads.ts';
import { pruneLayers } from './prune/layers/layers.ts';
import { prunePattern } from './prune/pattern/pattern.ts';
import { pruneUnstructured } from './prune/unstructured/unstructured.ts';
import { quantizeAware } from './quantize/aware/aware.ts';
import { quantizeDynamic } from './quantize/dynamic.ts';
import { quantizeBinary } from './quantize/signs/binary.ts';
import { quantizeTernary } from './quantize/signs/ternary.ts';
import { quantizeFloat } from './quantize/float/quantize-float.ts';
import { quantizeStatic } from './quantize/static.ts';
import { quantizeMixed } from './quantize/mixed/mixed.ts';
import { quantizeWeights } from './quantize/weights-only/quantize-weights.ts';
import { searchArchitecture } from './search/architecture.ts';
import { searchAuto } from './search/auto.ts';
import { searchCompression } from './search/compression.ts';
import { trainFinetune } from './train/finetune.ts';

/** Every pass there is, in the order /v1/passes lists them. */
export const PASSES: readonly Pass[] = [
  canonicalize,
  searchArchitecture,
  searchCompression,
  searchAuto,
  pruneUnstructured,
  prunePattern,
  pruneChannels,
  pruneLayers,
  pruneHeads,
  factorizeSvd,
  factorizeTucker,
  trainFinetune,
  distill,
  quantizeStatic,
  quantizeDynamic,
  quantizeWeights,
  quantizeMixed,
  quantizeAware,
  quantizeBinary,
  quantizeTernary,
  quantizeFloat,
  clusterWeights,
];
