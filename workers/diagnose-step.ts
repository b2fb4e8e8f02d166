import { z } from 'zod';
import { diagnose } from '../src/evaluation/diagnosis/diagnose.ts';
import type { Model } from '../src/onnx/model.ts';
import type { StepOutcome } from '../src/passes/pass-manager.ts';
import type { PassContext } from '../src/passes/pass.ts';
import type { Diagnosis } from '../src/schemas/diagnosis.ts';
import { copyWithSubgraphs } from '../src/training/copy-model.ts';
import type { JobData } from './job-data.ts';

/** Passes whose result stands for the model they were given, value by value: those that train make another network. */
const DIAGNOSED: ReadonlySet<string> = new Set([
  'quantize.static',
  'quantize.dynamic',
  'quantize.weights',
  'quantize.mixed',
]);
/** The diagnosis holds the model in float several times over: larger ones are left alone. */
const MAX_WEIGHT_BYTES = 512 * 2 ** 20;

/** The model as a step gets it, where the step's result will be diagnosed; shares its tensors. */
export function modelToCompare(model: Model, pass: string): Model | undefined {
  return DIAGNOSED.has(pass) ? copyWithSubgraphs(model) : undefined;
}

/** What accuracy "auto" added to the options. */
const Chosen = z.object({ accuracy: z.object({ chosen: z.record(z.string(), z.unknown()) }) });

/**
 * Finds which layers lose the accuracy in a step that quantized.
 *
 * @param before - of `modelToCompare`
 * @returns undefined where the step changed nothing
 * @throws CompressionError CANCELED
 */
export async function diagnoseStep(
  outcome: StepOutcome,
  models: { readonly before: Model; readonly after: Model },
  data: JobData,
  context: PassContext,
): Promise<Diagnosis | undefined> {
  if (outcome.changes === 0) return undefined;
  const float = outcome.reference ?? models.before;
  let bytes = 0;
  for (const tensor of float.graph.initializers.values()) bytes += tensor.byteLength;
  const found = feedsOf(data);
  const reason =
    bytes > MAX_WEIGHT_BYTES
      ? `the model has ${bytes} bytes of weights, more than ${MAX_WEIGHT_BYTES}`
      : found === undefined
        ? 'there is no data to run the layers on'
        : undefined;
  if (found === undefined || reason !== undefined) {
    return {
      data: 'generated',
      samples: 0,
      outputSamples: 0,
      rewritten: outcome.reference !== undefined,
      layers: [],
      findings: [],
      inFloat: [],
      notMeasured: [{ name: 'diagnosis', reason: reason ?? '' }],
    };
  }
  const { runtime, threads, signal } = context;
  const chosen = Chosen.safeParse(outcome.details).data?.accuracy.chosen ?? {};
  const step = { pass: outcome.pass, options: { ...outcome.options, ...chosen } };
  const diagnosis = await diagnose(runtime, { float, result: models.after, step }, found, {
    threads,
    signal,
    progress: (fraction) => context.progress(fraction, 'diagnosing layers'),
  });
  return { ...diagnosis, rewritten: outcome.reference !== undefined };
}

function feedsOf({ feeds, standIn }: JobData): Parameters<typeof diagnose>[2] | undefined {
  if (feeds.evaluation !== undefined) return { role: 'evaluation', feeds: feeds.evaluation };
  if (feeds.calibration !== undefined) return { role: 'calibration', feeds: feeds.calibration };
  return standIn === undefined ? undefined : { role: 'generated', feeds: standIn };
}
