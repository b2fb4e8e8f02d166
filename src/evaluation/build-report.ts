import { z } from 'zod';
import { CompressionError } from '../errors.ts';
import { opsetOf, type Model } from '../onnx/model.ts';
import type { ValueInfo } from '../onnx/value-type.ts';
import type { Constraints } from '../schemas/constraints.ts';
import type { ArtifactEntry, JobSummary } from '../schemas/job.ts';
import { Report, type Environment, type LayerReport, type StepReport } from '../schemas/report.ts';
import type { ResolvedRecipe } from '../schemas/recipe.ts';
import { judgeConstraints } from './constraints.ts';
import type { Evaluation } from './evaluate.ts';
import { headlineOf } from './headline.ts';
import { recommend } from './recommend.ts';

export interface ReportFacts {
  /** Null without the service. */
  readonly job: string | null;
  readonly createdAt: Date;
  /** The input model as uploaded. */
  readonly model: Model;
  readonly modelId?: string;
  readonly modelSha256?: string;
  /** As run, defaults filled. */
  readonly recipe: ResolvedRecipe;
  readonly target: Report['target'];
  readonly constraints: Constraints;
  readonly environment: Environment;
  readonly evaluation: Evaluation;
  readonly steps: readonly StepReport[];
  /** What each role of the job gave. */
  readonly data: Report['data'];
  readonly artifacts: readonly ArtifactEntry[];
}

/**
 * The report, checked against its schema: numbers that are not finite, or a pass whose details are not JSON, are a
 * defect here and not a surprise at the client.
 *
 * @throws CompressionError INTERNAL with the places that do not fit
 */
export function buildReport(facts: ReportFacts): Report {
  const { evaluation, environment, target } = facts;
  const steps = facts.steps.map((step) => ({
    ...step,
    details: jsonOnly(step.details),
    options: jsonOnly(step.options),
  }));
  const { constraints, verdict } = judgeConstraints(limitsOf(facts), {
    baseline: evaluation.baseline,
    result: evaluation.result,
    comparison: evaluation.comparison,
    seed: environment.seed,
    ...floatNodesOf(facts),
    ...(evaluation.resultBlockMedians === undefined ? {} : { resultBlockMedians: evaluation.resultBlockMedians }),
  });
  const recommendations = recommend({
    evaluation,
    environment,
    target,
    steps,
    constraints,
    data: facts.data,
  });
  const parsed = Report.safeParse({
    version: 1,
    job: facts.job,
    createdAt: facts.createdAt.toISOString(),
    model: {
      ...(facts.modelId === undefined ? {} : { id: facts.modelId }),
      ...(facts.modelSha256 === undefined ? {} : { sha256: facts.modelSha256 }),
      producer: [facts.model.producerName, facts.model.producerVersion].filter((text) => text !== '').join(' '),
      irVersion: facts.model.irVersion,
      opset: opsetOf(facts.model),
      inputs: facts.model.graph.inputs
        .filter(({ name }) => !facts.model.graph.initializers.has(name))
        .map(describeValue),
      outputs: facts.model.graph.outputs.map(describeValue),
    },
    recipe: facts.recipe,
    data: facts.data,
    target,
    verdict,
    headline: headlineOf(evaluation, verdict),
    environment,
    baseline: evaluation.baseline,
    result: evaluation.result,
    comparison: evaluation.comparison,
    ...(evaluation.latencyAtBatches === undefined ? {} : { latencyAtBatches: evaluation.latencyAtBatches }),
    layers: withoutRescaled(evaluation.layers, steps),
    steps,
    constraints,
    recommendations,
    artifacts: facts.artifacts,
    notMeasured: evaluation.notMeasured,
  });
  if (!parsed.success) {
    throw new CompressionError('INTERNAL', `the report does not fit its schema: ${z.prettifyError(parsed.error)}`);
  }
  return parsed.data;
}

/**
 * Where a step scaled channels before it quantized, a layer's values cannot be held against those of the input model; the step's
 * diagnosis has held them against the rewritten one.
 */
function withoutRescaled(layers: readonly LayerReport[], steps: readonly StepReport[]): LayerReport[] {
  const found = steps.flatMap(({ diagnosis }) => (diagnosis?.rewritten === true ? [diagnosis] : [])).at(-1);
  if (found === undefined) return [...layers];
  const diagnosed = new Map(found.layers.map((layer) => [layer.output, layer]));
  return layers.map((layer) => {
    const { accumulatedSqnrDb } = diagnosed.get(layer.output) ?? {};
    if (layer.sqnrDb === undefined || accumulatedSqnrDb === undefined) return layer;
    const { sqnrDb: _sqnr, cosine: _cosine, weights, ...rest } = layer;
    return {
      ...rest,
      ...(weights === undefined ? {} : { weights: withoutError(weights) }),
      sqnrDb: accumulatedSqnrDb,
      note: layer.note ?? 'held against the model as it was rewritten before it was quantized',
    };
  });
}

function withoutError({ sqnrDb: _, ...stored }: NonNullable<LayerReport['weights']>): LayerReport['weights'] {
  return stored;
}

/** The job's limits, and one that needs no asking: a quantized result that was shown to be slower than its input misses it. */
function limitsOf({ constraints, evaluation, steps }: ReportFacts): Constraints {
  const isSlower = evaluation.comparison.latency?.verdict === 'slower';
  const quantizes = steps.some(
    ({ pass }) => pass.startsWith('quantize.') || (pass.startsWith('search.') && hasFewerBits(evaluation)),
  );
  return isSlower && quantizes ? { ...constraints, minSpeedup: constraints.minSpeedup ?? 1 } : constraints;
}

/** What a search chose is not among the steps of its job. */
function hasFewerBits({ baseline, result }: Evaluation): boolean {
  const { effectiveBitsPerWeight: before } = baseline;
  const { effectiveBitsPerWeight: after } = result;
  return before !== undefined && after !== undefined && after < before;
}

const WithFloatNodes = z.object({ floatNodes: z.array(z.object({ node: z.string() })).default([]) });

/** What the last step that quantized by calibration data left in float, for a target without floating point. */
function floatNodesOf({ target, steps }: ReportFacts): { readonly floatNodes?: readonly string[] } {
  const step = steps.findLast(({ pass }) => pass === 'quantize.static' || pass === 'quantize.mixed');
  if (target.cpu !== 'int8-only' || step === undefined) return {};
  return { floatNodes: WithFloatNodes.parse(step.details).floatNodes.map(({ node }) => node) };
}

function describeValue({ name, type }: ValueInfo): Report['model']['inputs'][number] {
  return type?.kind === 'tensor'
    ? { name, type: type.elementType, shape: type.shape === undefined ? null : [...type.shape] }
    : { name, type: type?.kind ?? 'unknown', shape: null };
}

/** A record as JSON has it: typed arrays as lists, numbers without a finite value as null, bigint as text. */
function jsonOnly(record: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const text = JSON.stringify(record, (_key, value: unknown) => {
    if (typeof value === 'bigint') return value.toString();
    if (ArrayBuffer.isView(value) && !(value instanceof DataView))
      return Array.from(value as unknown as ArrayLike<unknown>);
    return value;
  });
  return JSON.parse(text) as Record<string, unknown>;
}

/** What the job record keeps of the report. */
export function summaryOf(report: Report): JobSummary {
  return {
    bytes: { before: report.baseline.bytes, after: report.result.bytes },
    accuracy: {
      before: report.baseline.accuracy?.value ?? null,
      after: report.result.accuracy?.value ?? null,
    },
    latencyP50Ms: {
      before: report.baseline.latency?.p50Ms ?? null,
      after: report.result.latency?.p50Ms ?? null,
    },
  };
}
