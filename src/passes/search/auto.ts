import { z } from 'zod';
import { CompressionError } from '../../errors.ts';
import { Constraints } from '../../schemas/constraints.ts';
import type { TrialResult, TrialSpec } from '../../schemas/trial.ts';
import { encodeModel } from '../../onnx/codec/encode.ts';
import { definePass, type DataRole, type PassContext } from '../pass.ts';
import { replaceModel } from '../replace-model.ts';
import { candidatesFor, type AutoCandidate } from './auto-candidates.ts';
import { nearness } from './nearness.ts';
import { modelOfTrials, trialsOf } from './trials-of.ts';

const Options = z.strictObject({
  constraints: Constraints.default({}).describe("What has to hold: the job's constraints"),
  roles: z
    .array(z.enum(['calibration', 'training', 'evaluation']))
    .default([])
    .describe('Data that the job gives: candidates that need other data are left out'),
  keep: z
    .number()
    .int()
    .min(0)
    .max(8)
    .default(2)
    .describe('Nearest candidates handed out as artifacts when none meets the constraints'),
});
type Options = z.infer<typeof Options>;

interface Ran {
  readonly candidate: AutoCandidate;
  readonly spec: TrialSpec;
  readonly result: TrialResult;
  /** 0: all constraints met. */
  readonly missedBy: number;
}

/** Finds a recipe for the job's constraints: what the recipe `"auto"` stands for. */
export const searchAuto = definePass({
  name: 'search.auto',
  stage: 'search',
  description:
    'Chooses the recipe from the constraints of the job: candidates run one after the other as jobs of their own, the cheapest and least harmful first, each measured like any result, until one meets them all. The recipe "auto" stands for this step.',
  papers: [],
  options: Options,
  example: { constraints: { maxAccuracyDrop: 0.01, minSpeedup: 1.5 }, roles: ['calibration', 'evaluation'] },
  needs: ({ roles }): readonly DataRole[] => roles,
  inner: ({ constraints, roles }) => candidatesFor(constraints, new Set(roles)).map(({ steps }) => ({ steps })),
  requires: () => undefined,
  async run(model, options, context) {
    const trials = trialsOf(context);
    const candidates = candidatesFor(options.constraints, new Set(options.roles));
    const ran: Ran[] = [];
    let cutShort = false;
    for (const [index, candidate] of candidates.entries()) {
      context.signal.throwIfAborted();
      context.progress(index / candidates.length, `trying ${candidate.name}`);
      const spec = specOf(candidate, context);
      const [result] = await trials.run([spec]);
      if (result === undefined) {
        cutShort = true;
        break;
      }
      const missedBy = result.status === 'failed' ? Number.POSITIVE_INFINITY : nearness(result, options.constraints);
      ran.push({ candidate, spec, result, missedBy });
      if (missedBy === 0) break;
    }
    const usable = ran.filter(({ result }) => result.status === 'succeeded');
    const order = usable.toSorted((a, b) => a.missedBy - b.missedBy || smaller(a, b));
    const [best] = order;
    if (best === undefined) throw noneWorked(ran, cutShort);
    const others = best.missedBy === 0 ? [] : order.slice(1, 1 + options.keep);
    const [chosen, ...rest] = await trials.models([best, ...others].map(({ spec }) => spec));
    if (chosen === undefined) throw new CompressionError('INTERNAL', 'the model of the chosen candidate is missing');
    replaceModel(model, chosen);
    return {
      changes: 1,
      skipped: [],
      warnings: cutShort ? ['the search was cut short: not all candidates were tried'] : [],
      artifacts: rest.map((other, place) => ({
        name: `candidate-${others[place]?.candidate.name ?? place}.onnx`,
        contentType: 'application/octet-stream',
        bytes: encodeModel(other),
      })),
      details: {
        chosen: best.candidate.name,
        because: explain(best, ran, candidates.length),
        recipe: { version: 1, steps: best.candidate.steps },
        cutShort,
        candidates: ran.map(({ candidate, result, missedBy }) => ({
          name: candidate.name,
          why: candidate.why,
          ...result,
          missedBy: Number.isFinite(missedBy) ? missedBy : null,
        })),
        notTried: candidates.slice(ran.length).map(({ name }) => name),
      },
    };
  },
  ensures: () => undefined,
});

function specOf({ steps }: AutoCandidate, context: PassContext): TrialSpec {
  return {
    model: modelOfTrials(context),
    recipe: { version: 1, steps: steps.map((step) => ({ ...step })) },
    measure: 'full',
    seed: context.seed,
  };
}

function smaller(a: Ran, b: Ran): number {
  return (a.result.bytes ?? 0) - (b.result.bytes ?? 0);
}

function explain(best: Ran, ran: readonly Ran[], of: number): string {
  const tried = `${ran.length} of ${of} candidates were tried`;
  if (best.missedBy === 0) return `${best.candidate.why}; the first that meets every constraint: ${tried}`;
  return `no candidate meets every constraint, this one misses them least: ${tried}`;
}

function noneWorked(ran: readonly Ran[], cutShort: boolean): CompressionError {
  const [first] = ran;
  const why =
    first === undefined ? '' : `: ${first.candidate.name} ended with ${first.result.error?.message ?? 'no reason'}`;
  return cutShort
    ? new CompressionError(
        'LIMIT_TIME',
        `search.auto: its end came before one of its candidates had succeeded (${ran.length} had ended)${why}; raise deadlineSeconds`,
      )
    : new CompressionError('PASS_PRECONDITION', `search.auto: none of ${ran.length} candidates succeeded${why}`);
}
