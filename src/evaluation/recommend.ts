import type { ConstraintReport, Environment, Recommendation, Report, StepReport } from '../schemas/report.ts';
import { hasExactInt8 } from './environment.ts';
import type { Evaluation } from './evaluate.ts';
import { formatNumber, formatPoints, formatShare } from './format.ts';
import { diagnosedStep, onDiagnosis } from './recommend-diagnosis.ts';
import { recommendOnSearch } from './recommend-search.ts';

export interface RecommendFacts {
  readonly evaluation: Evaluation;
  readonly environment: Environment;
  readonly target: Report['target'];
  readonly steps: readonly StepReport[];
  readonly constraints: readonly ConstraintReport[];
  readonly data: Report['data'];
}

/** Below this many calibration samples, ranges depend on which ones were picked. */
const FEW_CALIBRATION_SAMPLES = 100;
/** A layer whose output is this noisy is worth a look. */
const NOISY_LAYER_DB = 20;

/** What a careful engineer would say on reading the numbers, most pressing first. Rules, not prose: each has its code. */
export function recommend(facts: RecommendFacts): Recommendation[] {
  return [
    ...onAccuracy(facts),
    ...onDiagnosis(facts),
    ...onSpeed(facts),
    ...onSaturation(facts),
    ...onConstraints(facts),
    ...onCalibration(facts),
    ...recommendOnSearch(facts.steps),
    ...onSize(facts),
    ...onIdleSteps(facts),
    ...onData(facts),
    ...onRoles(facts),
  ];
}

/** The step whose ranges of activations come from calibration data. */
function staticStep(steps: readonly StepReport[]): StepReport | undefined {
  return steps.find(({ pass }) => pass === 'quantize.static' || pass === 'quantize.mixed');
}

function onAccuracy({ evaluation, steps }: RecommendFacts): Recommendation[] {
  const found: Recommendation[] = [];
  const nonFinite = (evaluation.comparison.outputs ?? []).filter(
    ({ nonFiniteElements }) => nonFiniteElements.result > nonFiniteElements.baseline,
  );
  const first = nonFinite[0];
  if (first !== undefined) {
    found.push({
      code: 'non-finite-outputs',
      level: 'warning',
      message: `Output "${first.name}" of the result holds ${first.nonFiniteElements.result} NaN or infinite values (the input model: ${first.nonFiniteElements.baseline}). Do not use this result.`,
    });
  }
  const broken = (evaluation.comparison.outputs ?? []).find(({ nonFiniteElements }) => nonFiniteElements.baseline > 0);
  if (broken !== undefined) {
    found.push({
      code: 'input-model-non-finite',
      level: 'warning',
      message: `The input model itself gives NaN or infinite values at output "${broken.name}". Check the model and the preprocessing before compressing it.`,
    });
  }
  const accuracy = evaluation.comparison.accuracy;
  if (accuracy === undefined) return found;
  const worse = accuracy.metric === 'rmse' ? accuracy.difference > 0 : accuracy.difference < 0;
  if (accuracy.significant && worse) {
    const loss =
      accuracy.metric === 'rmse'
        ? `the root mean squared error grew from ${formatNumber(accuracy.before)} to ${formatNumber(accuracy.after)}`
        : `${accuracy.metric} fell by ${formatPoints(-accuracy.difference)} points`;
    found.push({
      code: 'accuracy-drop',
      level: 'warning',
      message: `The loss of accuracy is real, not chance: ${loss} (p = ${formatNumber(accuracy.pairedTest.pValue)}).${remedy(evaluation, steps)}`,
    });
  } else if (!accuracy.significant) {
    found.push({
      code: 'accuracy-kept',
      level: 'info',
      message: `No significant change of accuracy was found on ${accuracy.samples} samples. ${range(accuracy)}`,
    });
  }
  const baseline = evaluation.baseline.accuracy;
  const classes = baseline?.perClass?.length ?? 0;
  const guessing = (interval: readonly [number, number]): boolean => interval[1] < 1.5 / classes;
  const trains = steps.some(({ training = [] }) => training.length > 0);
  if (baseline?.metric === 'top1' && classes >= 2 && guessing(baseline.confidenceInterval) && trains) {
    const trained = evaluation.result.accuracy;
    const learned = trained === undefined || !guessing(trained.confidenceInterval);
    found.push(
      learned
        ? {
            code: 'started-from-guessing',
            level: 'info',
            message: `The input model guesses (${formatShare(baseline.value)} over ${classes} classes), as a network does before it is trained. Judge the result by its own accuracy, not by the difference.`,
          }
        : {
            code: 'result-is-guessing',
            level: 'warning',
            message: `Training taught the model nothing: the result is hardly better than guessing (${formatShare(trained.value)} over ${classes} classes). Train for more epochs, try another learningRate (the curves show whether the loss falls), and check labels and preprocessing.`,
          },
    );
  } else if (baseline?.metric === 'top1' && classes >= 2 && guessing(baseline.confidenceInterval)) {
    found.push({
      code: 'baseline-is-guessing',
      level: 'warning',
      message: `The input model is hardly better than guessing (${formatShare(baseline.value)} over ${classes} classes). Preprocessing or label order probably do not fit the model; the comparison means little until that is put right.`,
    });
  }
  return found;
}

function range(accuracy: NonNullable<Evaluation['comparison']['accuracy']>): string {
  if (accuracy.metric === 'rmse') return '';
  const [low, high] = accuracy.confidenceInterval;
  return `The true change lies between ${formatPoints(low)} and ${formatPoints(high)} points (95 %).`;
}

function remedy(evaluation: Evaluation, steps: readonly StepReport[]): string {
  if ((diagnosedStep(steps)?.diagnosis.findings.length ?? 0) > 0)
    return ' The layers that lose it, and what to change, are listed next.';
  const ideas: string[] = [];
  const quantizing = staticStep(steps);
  if (quantizing !== undefined) {
    const { method } = quantizing.options;
    if (method === 'minmax' || method === undefined) ideas.push('calibrate with "method": "percentile" or "entropy"');
    else ideas.push('calibrate with "method": "mse" or "minmax"');
  }
  const worst = worstLayer(evaluation);
  if (worst !== undefined) {
    ideas.push(
      `leave the layer with the most noise in float: "exclude": ["${worst.name}"] (${formatNumber(worst.sqnrDb)} dB)`,
    );
  }
  if (steps.some(({ pass }) => pass.startsWith('prune'))) ideas.push('prune less, or fine-tune after pruning');
  return ideas.length === 0 ? '' : ` Try to ${ideas.join(', or ')}.`;
}

/** The layer whose own contribution to the noise is largest: the biggest drop of SQNR from one layer to the next. */
function worstLayer(evaluation: Evaluation): { name: string; sqnrDb: number } | undefined {
  let worst: { name: string; sqnrDb: number } | undefined;
  for (const layer of evaluation.layers) {
    if (layer.weights === undefined || layer.sqnrDb === undefined || layer.sqnrDb === null) continue;
    if (worst === undefined || layer.sqnrDb < worst.sqnrDb) worst = { name: layer.name, sqnrDb: layer.sqnrDb };
  }
  return worst === undefined || worst.sqnrDb > NOISY_LAYER_DB + 10 ? undefined : worst;
}

function onSpeed({ evaluation }: RecommendFacts): Recommendation[] {
  const latency = evaluation.comparison.latency;
  const found: Recommendation[] = [];
  const share = evaluation.result.integerNodesShare ?? 0;
  if (latency?.verdict === 'slower') {
    const why =
      share > 0
        ? ' Small, depthwise or memory-bound layers often are slower in int8 on a CPU; leave them in float with "exclude", or keep the input model where speed counts more than size.'
        : ' Use the result where size counts more than speed, or keep the input model.';
    found.push({
      code: 'slower-than-input',
      level: 'warning',
      message: `The result is slower than its input on this machine: it takes ${formatNumber(1 / latency.speedup)} times as long.${why}`,
    });
  }
  if (latency?.verdict === 'inconclusive') {
    found.push({
      code: 'speed-inconclusive',
      level: 'info',
      message: `No difference in speed can be claimed: ${latency.reason}.`,
    });
  }
  const sparsity = evaluation.result.sparsity ?? 0;
  const added = sparsity - (evaluation.baseline.sparsity ?? 0);
  if (added > 0.05 && latency?.verdict !== 'faster') {
    found.push({
      code: 'zeros-bring-no-speed',
      level: 'info',
      message: `${formatShare(sparsity)} of the weights are zero. ONNX Runtime multiplies zeros like any other number, so they save space after compression, not time.`,
    });
  }
  const quantized = Object.keys(evaluation.result.operators).some((name) =>
    /QuantizeLinear|Integer|QLinear/.test(name),
  );
  if (quantized && evaluation.result.integerNodesShare !== undefined && share < 0.5) {
    found.push({
      code: 'few-integer-kernels',
      level: 'advice',
      message: `Only ${formatShare(share)} of the compute kernels really run in integers on this CPU; the steps below say what was left out and why.`,
    });
  }
  return found;
}

/** Nodes whose 8-bit products may overflow 16 bits on x64 without VNNI, as the quantizing steps counted them. */
function nodesAtRisk(steps: readonly StepReport[]): number | undefined {
  let nodes: number | undefined;
  for (const { details } of steps) {
    const risk = details['saturationRisk'];
    if (typeof risk !== 'object' || risk === null) continue;
    const listed = 'nodes' in risk && Array.isArray(risk.nodes) ? risk.nodes.length : 0;
    nodes = (nodes ?? 0) + listed;
  }
  return nodes;
}

function onSaturation({ environment, target, steps }: RecommendFacts): Recommendation[] {
  if (!steps.some(({ pass }) => pass.startsWith('quantize'))) return [];
  const nodes = nodesAtRisk(steps);
  const madeForAny = target.cpu === 'portable' || target.cpu === 'int8-only';
  if (nodes === 0 || (nodes === undefined && madeForAny)) return [];
  const here = hasExactInt8(environment) === false;
  const where =
    nodes === undefined ? 'its 8-bit products' : `8-bit products of ${nodes} ${nodes === 1 ? 'node' : 'nodes'}`;
  return [
    {
      code: 'saturation-risk',
      level: here ? 'warning' : 'advice',
      message:
        `The result was made for ${target.cpu === 'this' ? "this machine's CPU" : target.cpu}. On an x64 CPU without VNNI ${where} may saturate in 16 bits, silently, and accuracy may drop.` +
        (here ? ' The CPU that measured this report is such a one.' : '') +
        ' Use target "portable" for a file that may run anywhere.',
    },
  ];
}

function onConstraints({ constraints }: RecommendFacts): Recommendation[] {
  return constraints
    .filter(({ met }) => met !== true)
    .map(({ name, explanation, met }) => ({
      code: met === null ? 'constraint-undecided' : 'constraint-missed',
      level: 'warning' as const,
      message: `${name} ${met === null ? 'could not be shown to hold' : 'is missed'}. ${explanation}`,
    }));
}

function onCalibration({ steps, data }: RecommendFacts): Recommendation[] {
  const calibrationSamples = data.calibration?.samples;
  if (staticStep(steps) === undefined || calibrationSamples === undefined) return [];
  if (calibrationSamples >= FEW_CALIBRATION_SAMPLES) return [];
  return [
    {
      code: 'few-calibration-samples',
      level: 'advice',
      message: `Only ${calibrationSamples} calibration ${calibrationSamples === 1 ? 'sample was' : 'samples were'} used. With ${FEW_CALIBRATION_SAMPLES} to 500 typical ones the ranges depend less on which were picked.`,
    },
  ];
}

function onSize({ evaluation, steps }: RecommendFacts): Recommendation[] {
  const { bytes } = evaluation.comparison;
  if (steps.length === 0) return [];
  if (bytes.after > bytes.before) {
    return [
      {
        code: 'larger-than-input',
        level: 'warning',
        message:
          'The result is larger than its input: what the steps added (scales, zero points, nodes) outweighs what they saved.',
      },
    ];
  }
  return [];
}

/** Steps of the recipe that had nothing to do: tidying up beside them must not hide it. */
function onIdleSteps({ steps }: RecommendFacts): Recommendation[] {
  const asked = steps.filter(({ pass }) => pass !== 'canonicalize');
  return (asked.length === 0 ? steps : asked)
    .filter(({ changed }) => changed === 0)
    .map(({ pass, skipped: [first, ...others], warnings }) => {
      const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
      const why = first === undefined ? (warnings[0] ?? '') : `${first.node}: ${first.reason}${more}`;
      return {
        code: 'nothing-changed',
        level: 'warning',
        message: `${pass} changed nothing${why === '' ? '' : `. ${why}`}`,
      };
    });
}

function onData({ evaluation }: RecommendFacts): Recommendation[] {
  if (evaluation.baseline.accuracy !== undefined) {
    const { samples, metric } = evaluation.baseline.accuracy;
    return samples < 1000 && metric !== 'rmse'
      ? [
          {
            code: 'small-evaluation-set',
            level: 'advice',
            message: `Accuracy was measured on ${samples} samples only; its interval is wide. A larger evaluation set would show smaller differences.`,
          },
        ]
      : [];
  }
  const reason = evaluation.notMeasured.find(({ name }) => name === 'baseline.accuracy')?.reason;
  return [
    {
      code: 'no-accuracy',
      level: 'advice',
      message: `Accuracy was not measured${reason === undefined ? '' : `: ${reason}`}. How close the outputs stayed is below; a labelled set in data.evaluation would tell what that means for the task.`,
    },
  ];
}

/** What the data sets themselves showed: clamped ranges, a single class, values that are not finite. */
function onRoles({ data }: RecommendFacts): Recommendation[] {
  return Object.entries(data).flatMap(([role, { warnings }]) =>
    warnings.map((warning) => ({
      code: 'data',
      level: 'warning' as const,
      message: `Data in the role ${role}: ${warning}`,
    })),
  );
}
