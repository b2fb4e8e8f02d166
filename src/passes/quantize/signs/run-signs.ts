import { elementCount } from '../../../onnx/nd-array.ts';
import type { Model } from '../../../onnx/model.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { finetune } from '../../../training/finetune.ts';
import { separateVectors } from '../../../training/parameters.ts';
import { runReport } from '../../../training/run-report.ts';
import { withTrained } from '../../../training/trained-values.ts';
import { taughtBy } from '../../distillation-field.ts';
import { finetuneContext } from '../../finetune-context.ts';
import type { PassContext, PassResult } from '../../pass.ts';
import { restoreNormalization } from '../../restore-normalization.ts';
import { trainedNormalizations } from '../trained/trained-normalizations.ts';
import { exportSigns, signsOf, type SignExport, type SignRun } from './export-signs.ts';
import { insertSigns } from './insert-signs.ts';
import type { SignOptions } from './options.ts';
import { restructure, type Restructured } from './restructure.ts';
import { signLayers } from './sign-layers.ts';

/** Trains the model with signs in the place of its weights, and writes them as packed bits. Changes the model. */
export async function runSigns(model: Model, options: SignOptions, context: PassContext): Promise<PassResult> {
  const { method, training } = options;
  const teacher = copyModel(model);
  separateVectors(model.graph);
  const restored = options.restoreBatchNormalization
    ? await restoreNormalization(model, options.training, finetuneContext(context))
    : undefined;
  const isTrained = trainedNormalizations(model, training);
  const { layers, skipped } = signLayers(model, options, isTrained);
  if (layers.length === 0) {
    return { changes: 0, skipped, warnings: ['The model has no layer whose weights could become signs.'], details: {} };
  }
  const restructured = restructure(model, layers, method);
  const run: SignRun = { layers, method, isTrained };
  const start = signsOf(model.graph, run, new Map());
  const { outcome, graph, warnings } = await finetune(model, training, finetuneContext(context), {
    form: {
      rewrite: (b, trained) => insertSigns(b, trained, layers, { method, start }),
      deployed: (untrained, values) => exportSigns(withTrained(untrained, values), run, values).model,
    },
    ...(await taughtBy(options, teacher, context)),
  });
  const exported = exportSigns(withTrained(model, outcome.values), run, outcome.values);
  model.graph = exported.model.graph;
  model.opsetImports = exported.model.opsetImports;
  model.irVersion = exported.model.irVersion;
  return {
    changes: layers.length,
    skipped: [...skipped, ...graph.untouched.map((node) => ({ node, reason: 'the loss does not depend on it' }))],
    warnings: [...warnings, ...warningsOf(options)],
    training: [runReport('model', outcome)],
    details: {
      ...(restored === undefined ? {} : { restoredBatchNormalizations: restored }),
      ...detailsOf(run, exported, restructured),
    },
  };
}

function detailsOf(
  { layers, method }: SignRun,
  { model, bytes }: SignExport,
  restructured: Restructured,
): Record<string, unknown> {
  const weights = layers.reduce((sum, { dims }) => sum + elementCount(dims), 0);
  const storedBytes = [...bytes.values()].reduce((sum, size) => sum + size, 0);
  const floatBytes = [...model.graph.initializers.values()].reduce(
    (sum, { dataType, byteLength }) => sum + (dataType === 'float' ? byteLength : 0),
    0,
  );
  return {
    method,
    ...restructured,
    layers: layers.map(({ label, dims, signsInputs }) => ({
      node: label,
      shape: dims,
      storedBytes: bytes.get(label) ?? 0,
      floatBytes: 4 * elementCount(dims),
      activations: signsInputs ? 1 : 32,
    })),
    file: { weights, storedBytes, floatBytes: 4 * weights, otherFloatBytes: floatBytes },
    memory: {
      weightBytes: 4 * weights,
      explanation: 'The runtime unpacks the bits to floats when it loads the model.',
    },
    speed: {
      explanation: 'CPUs have no kernels for bits in ONNX Runtime: the layers compute in float, at the speed of float.',
    },
  };
}

function warningsOf({ method, distillation, training }: SignOptions): string[] {
  const warnings = [
    `${method}: only the file gets smaller. The runtime unpacks the bits to floats when it loads the model (memory as before), and has no kernels for bits (speed as before).`,
  ];
  if (distillation !== false && training.loss !== 'cross-entropy') {
    warnings.push('distillation needs class scores: with this loss the labels alone teach.');
  }
  return warnings;
}
