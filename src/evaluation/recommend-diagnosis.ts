import type { ConstraintReport, Recommendation, Report, StepReport } from '../schemas/report.ts';
import type { Diagnosis, Finding } from '../schemas/diagnosis.ts';
import type { Evaluation } from './evaluate.ts';
import { formatNumber, formatShare } from './format.ts';

/** Without labels: outputs noisier than this are worth a look. */
const NOISY_MODEL_DB = 20;
/** Advice for so many reasons at most. */
const MAX_REASONS = 3;
/** What leaving layers in float must bring to be worth saying. */
const WORTHWHILE_DB = 3;
/** Below this share of the noise the worst layer is no culprit. */
const STANDS_OUT = 0.25;

interface DiagnosedStep {
  readonly step: StepReport;
  readonly diagnosis: Diagnosis;
}

/** The last step that quantized, with what was found of its layers. */
export function diagnosedStep(steps: readonly StepReport[]): DiagnosedStep | undefined {
  return steps.flatMap((step) => (step.diagnosis === undefined ? [] : [{ step, diagnosis: step.diagnosis }])).at(-1);
}

/** Which layers lose the accuracy and what to change in the recipe; nothing where nothing was lost. */
export function onDiagnosis(facts: {
  readonly evaluation: Evaluation;
  readonly steps: readonly StepReport[];
  readonly constraints: readonly ConstraintReport[];
  readonly data: Report['data'];
}): Recommendation[] {
  const diagnosed = diagnosedStep(facts.steps);
  if (diagnosed === undefined || diagnosed.diagnosis.findings.length === 0 || !losesAccuracy(facts, diagnosed))
    return [];
  return [
    ...onReasons(diagnosed),
    ...onLayersInFloat(diagnosed),
    ...onAutomatic(diagnosed, facts.data.evaluation !== undefined),
    ...onTraining(diagnosed),
  ];
}

function losesAccuracy(
  { evaluation, constraints }: { readonly evaluation: Evaluation; readonly constraints: readonly ConstraintReport[] },
  { diagnosis }: DiagnosedStep,
): boolean {
  const { accuracy } = evaluation.comparison;
  const missed = constraints.some(({ name, met }) => name === 'maxAccuracyDrop' && met === false);
  if (accuracy === undefined) return missed || (diagnosis.modelSqnrDb ?? Infinity) < NOISY_MODEL_DB;
  const worse = accuracy.metric === 'rmse' ? accuracy.difference > 0 : accuracy.difference < 0;
  return missed || (accuracy.significant && worse);
}

function onReasons({ step, diagnosis }: DiagnosedStep): Recommendation[] {
  const groups = new Map<Finding['reason'], Finding[]>();
  for (const finding of diagnosis.findings) {
    groups.set(finding.reason, [...(groups.get(finding.reason) ?? []), finding]);
  }
  const shareOf = (findings: readonly Finding[]): number =>
    findings.reduce((sum, { noiseShare }) => sum + noiseShare, 0);
  return [...groups.values()]
    .toSorted((a, b) => shareOf(b) - shareOf(a))
    .slice(0, MAX_REASONS)
    .flatMap((findings): Recommendation[] => {
      const [worst] = findings;
      if (worst === undefined) return [];
      const others = findings.length - 1;
      const who =
        others === 0
          ? `Layer "${worst.layer}" makes ${formatShare(worst.noiseShare)} of the noise`
          : `Layer "${worst.layer}" and ${others} ${others === 1 ? 'other' : 'others'} make ${formatShare(shareOf(findings))} of the noise`;
      const general = worst.changes.filter(({ options }) => options['exclude'] === undefined);
      const [first] = general;
      const what = general.slice(0, 2).map(({ options, why }) => `${settings(options)} ${why}`);
      return [
        {
          code: `layers-${worst.reason}`,
          level: 'advice',
          message: `${who}. ${worst.explanation}${what.length === 0 ? '' : ` In ${step.pass}, ${what.join('; or ')}.`}`,
          ...(first === undefined ? {} : { change: { pass: step.pass, options: first.options } }),
        },
      ];
    });
}

function settings(options: Readonly<Record<string, unknown>>): string {
  return Object.entries(options)
    .map(([name, value]) => `"${name}": ${JSON.stringify(value)}`)
    .join(', ');
}

/** The fewest of the worst layers whose leaving brings most of what leaving all of them does. */
function onLayersInFloat({
  step,
  diagnosis: { inFloat, modelSqnrDb, outputSamples },
}: DiagnosedStep): Recommendation[] {
  const excluded = step.options['exclude'];
  if (!Array.isArray(excluded) || typeof modelSqnrDb !== 'number') return [];
  const gains = inFloat.map(({ modelSqnrDb: db }) => (db ?? Infinity) - modelSqnrDb);
  const best = Math.max(0, ...gains);
  const enough = inFloat.find((_, index) => (gains[index] ?? 0) >= Math.max(WORTHWHILE_DB, 0.7 * best));
  if (enough === undefined) return [];
  const names = enough.layers.map((name) => `"${name}"`).join(', ');
  const kept = enough.modelSqnrDb === null ? 'are as in float' : `keep ${enough.modelSqnrDb.toFixed(1)} dB`;
  return [
    {
      code: 'exclude-worst-layers',
      level: 'advice',
      message: `With ${names} left in float ("exclude") the outputs ${kept} instead of ${modelSqnrDb.toFixed(1)} dB, measured on ${outputSamples} samples.`,
      change: { pass: step.pass, options: { exclude: [...(excluded as unknown[]), ...enough.layers] } },
    },
  ];
}

function onAutomatic({ step, diagnosis }: DiagnosedStep, hasEvaluation: boolean): Recommendation[] {
  if (step.pass !== 'quantize.static' || step.options['accuracy'] === 'auto' || !hasEvaluation) return [];
  const share = diagnosis.findings[0]?.noiseShare ?? 0;
  const spread = share < STANDS_OUT ? 'No single layer stands out, so repairs for all of them promise most. ' : '';
  return [
    {
      code: 'try-int8-accurate',
      level: 'advice',
      message: `${spread}"accuracy": "auto"${step.options['weights'] === 'int8' ? ' (preset int8-accurate)' : ''} tries bias correction, equalization, other ranges and learned rounding, the cheapest first, and then leaves layers in float, until the accuracy is kept.`,
      change: { pass: step.pass, options: { accuracy: 'auto' } },
    },
  ];
}

function onTraining({ diagnosis }: DiagnosedStep): Recommendation[] {
  const fewest = Math.min(...diagnosis.layers.flatMap(({ weights }) => (weights === undefined ? [] : [weights.bits])));
  if (!(fewest < 8)) return [];
  return [
    {
      code: 'train-quantized',
      level: 'advice',
      message: `At ${formatNumber(fewest)} bits training with the quantizers in place keeps more than any rounding: quantize.aware, with data.training.`,
      change: { pass: 'quantize.aware', options: { weights: fewest } },
    },
  ];
}
