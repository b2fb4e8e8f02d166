import type { Model } from '../../../onnx/model.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { finetune, type FinetuneResult } from '../../../training/finetune.ts';
import type { Bounds } from '../../../training/forward-rewrite.ts';
import { separateVectors } from '../../../training/parameters.ts';
import { runReport } from '../../../training/run-report.ts';
import { withTrained } from '../../../training/trained-values.ts';
import { taughtBy } from '../../distillation-field.ts';
import { finetuneContext } from '../../finetune-context.ts';
import type { PassContext, PassResult } from '../../pass.ts';
import { restoreNormalization } from '../../restore-normalization.ts';
import { targetRules } from '../target.ts';
import { foldLayers, makeSlopesPositive, normalizedLayers } from '../trained/normalized-layers.ts';
import { trainedNormalizations } from '../trained/trained-normalizations.ts';
import { planAware } from './aware-plan.ts';
import { detailsOfAware, warningsOfAware } from './aware-report.ts';
import { exportAware, layerWeights } from './export-aware.ts';
import { insertQuantizers } from './insert-quantizers.ts';
import type { AwareOptions } from './options.ts';
import { startQuantizers } from './start-quantizers.ts';

/** A scale of a normalization never comes closer to zero: behind it stands the grid of a filter. */
const SMALLEST_SLOPE = 1e-5;

/** Trains the model with its quantizers in place, and writes it in integers. Changes the model. */
export async function runAware(model: Model, options: AwareOptions, context: PassContext): Promise<PassResult> {
  const teacher = copyModel(model);
  separateVectors(model.graph);
  const restored = options.restoreBatchNormalization
    ? await restoreNormalization(model, options.training, finetuneContext(context))
    : undefined;
  if (options.batchNormalization === 'fold') foldLayers(model.graph, normalizedLayers(model.graph));
  const isTrained = trainedNormalizations(model, options.training);
  const kept = normalizedLayers(model.graph).filter(({ normalization }) => isTrained(normalization));
  makeSlopesPositive(model.graph, kept, SMALLEST_SLOPE);
  const plan = planAware(model, options);
  if (plan.layers.length === 0) {
    return { changes: 0, skipped: plan.skipped, warnings: ['The model has no layer to quantize.'], details: {} };
  }
  const sources = layerWeights(model.graph, plan.layers, isTrained);
  const start = startQuantizers(plan, options, {
    observations: context.observations,
    weightRange: targetRules(context).weightRange,
    values: new Map([...sources].map(([key, { values }]) => [key, values])),
  });
  const keepSlopes = new Map(kept.map(({ normalization }) => [normalization.inputs[1] ?? '', { low: SMALLEST_SLOPE }]));
  const { training } = options;
  const result = await finetune(model, training, finetuneContext(context), {
    form: {
      rewrite: (b, graph) => {
        const rewrite = insertQuantizers(b, graph, plan, start);
        return { ...rewrite, bounds: new Map<string, Bounds>([...rewrite.bounds, ...keepSlopes]) };
      },
      deployed: (untrained, values) =>
        exportAware(withTrained(untrained, values), options, start, { values, isTrained }).model,
    },
    ...(await taughtBy(options, teacher, context)),
  });
  const { values } = result.outcome;
  const exported = exportAware(withTrained(model, values), options, start, { values, isTrained });
  replace(model, exported.model);
  return {
    changes: exported.plan.plan.units.size,
    skipped: [...exported.plan.skipped, ...untouched(result)],
    warnings: [...result.warnings, ...warningsOfAware(options, context)],
    training: [runReport('model', result.outcome)],
    details: {
      ...(restored === undefined ? {} : { restoredBatchNormalizations: restored }),
      ...detailsOfAware(exported, options, context),
    },
  };
}

function untouched({ graph }: FinetuneResult): PassResult['skipped'] {
  return graph.untouched.map((node) => ({ node, reason: 'the loss does not depend on it' }));
}

/** Puts the exported graph in the model's place. What describes the model stays. */
function replace(model: Model, by: Model): void {
  model.graph = by.graph;
  model.opsetImports = by.opsetImports;
  model.irVersion = by.irVersion;
}
