import type { DiagnosedLayer, Finding, ValueDiagnosis } from '../../schemas/diagnosis.ts';
import { formatNumber, formatShare } from '../format.ts';
import { changesFor, type QuantizingStep } from './changes.ts';
import { decibels } from './ratios.ts';

type Reason = Finding['reason'];

/** The largest channel so much larger than the median one costs the others more than two bits. */
const UNEQUAL = 4;
/** Part of a range that hardly any value uses, likewise. */
const OUTLIERS = 4;
const UNEQUAL_ACTIVATIONS = 8;
const UNEQUAL_INPUTS = 8;
const SHIFTED = 0.5;
const CLIPPED = 0.5;

/** Why a layer loses accuracy, by where its own error comes from, and what to change. */
export function explain(layer: DiagnosedLayer, step: QuantizingStep): Finding {
  const { reason, text } = reasonOf(layer);
  const name = layer.name;
  return {
    layer: name,
    noiseShare: layer.noiseShare ?? 0,
    reason,
    explanation: text,
    changes: changesFor({ name, opType: layer.opType, reason }, step),
  };
}

function reasonOf(layer: DiagnosedLayer): { readonly reason: Reason; readonly text: string } {
  const { weights, meanShiftShare = 0 } = layer;
  const part = worstPart(layer);
  const ratio = weights?.channelRatio ?? 1;
  if (part === 'weights' && weights?.scales === 1 && ratio >= UNEQUAL) {
    return {
      reason: 'unequal-weight-channels',
      text: `One scale serves all channels, and the weights of the largest reach ${formatNumber(ratio)} times as far as those of the median one, which has about ${levels(weights.bits, ratio)} codes left.`,
    };
  }
  const inputRatio = weights?.inputRatio ?? 1;
  if (part === 'weights' && weights !== undefined && inputRatio >= UNEQUAL_INPUTS) {
    return {
      reason: 'unequal-weight-inputs',
      text: `The weights of its largest input channel reach ${formatNumber(inputRatio)} times as far as those of the median one and share their scales, which leaves the median one about ${levels(weights.bits, inputRatio)} codes.`,
    };
  }
  const value = part === 'input' ? layer.input : part === 'output' ? layer.outputValue : undefined;
  if (value !== undefined && value.clipNoiseShare > CLIPPED) {
    return {
      reason: 'activation-clipped',
      text: `${formatShare(value.saturatedShare)} of the values of its ${part} lie beyond the range ${range(value)} that the calibration found, and are cut off: that makes ${formatShare(value.clipNoiseShare)} of their error.`,
    };
  }
  if (value?.outlierRatio !== undefined && value.outlierRatio >= OUTLIERS) {
    return {
      reason: 'activation-outliers',
      text: `The range of its ${part} reaches ${formatNumber(value.outlierRatio)} times as far as 99.9 % of the values do: a few outliers leave the rest about ${levels(value.bits, value.outlierRatio)} codes.`,
    };
  }
  if (value?.channelRatio !== undefined && value.channelRatio >= UNEQUAL_ACTIVATIONS) {
    return {
      reason: 'unequal-activation-channels',
      text: `One range serves all channels of its ${part}, and the largest reaches ${formatNumber(value.channelRatio)} times as far as the median one, which has about ${levels(value.bits, value.channelRatio)} codes left.`,
    };
  }
  if (meanShiftShare >= SHIFTED) {
    return {
      reason: 'mean-shift',
      text: `${formatShare(meanShiftShare)} of its error is a shift of the channels' means, which a bias can take back.`,
    };
  }
  if (part === 'weights' && weights !== undefined) {
    return weights.bits < 8
      ? { reason: 'few-weight-bits', text: `Most of its error comes from weights in ${weights.bits} bits.` }
      : {
          reason: 'weight-rounding',
          text: 'Most of its error comes from the rounding of its weights; their ranges look sound.',
        };
  }
  if (value !== undefined) {
    return {
      reason: 'activation-rounding',
      text: `Most of its error comes from the rounding of its ${String(part)} to ${value.bits} bits; the range ${range(value)} fits the values.`,
    };
  }
  if (part === 'input') {
    return {
      reason: 'activation-rounding',
      text: 'Most of its error comes from the rounding of its input, whose range is found anew in each run.',
    };
  }
  return { reason: 'unknown', text: 'Where its error comes from could not be told apart.' };
}

/** Where most of the own error comes from: what alone has the lowest signal-to-noise ratio. */
function worstPart({ parts, ownSqnrDb }: DiagnosedLayer): 'weights' | 'input' | 'output' | undefined {
  const known = (
    [
      ['weights', parts.weightsSqnrDb ?? rest(ownSqnrDb, [parts.inputSqnrDb, parts.outputSqnrDb])],
      ['input', parts.inputSqnrDb],
      ['output', parts.outputSqnrDb],
    ] as const
  ).flatMap(([part, db]) => (typeof db === 'number' ? [{ part, db }] : []));
  return known.toSorted((a, b) => a.db - b.db)[0]?.part;
}

/** What is left of an error without its parts, as errors that have nothing to do with each other add up. */
function rest(
  whole: number | null | undefined,
  parts: readonly (number | null | undefined)[],
): number | null | undefined {
  if (typeof whole !== 'number') return undefined;
  const noise = (db: number | null | undefined): number => (typeof db === 'number' ? 10 ** (-db / 10) : 0);
  return decibels(parts.reduce<number>((left, db) => left - noise(db), noise(whole)));
}

function levels(bits: number, ratio: number): string {
  return formatNumber(Math.max(1, Math.round(2 ** bits / ratio)));
}

function range({ quantizedRange: { min, max } }: ValueDiagnosis): string {
  return `${formatNumber(min)} … ${formatNumber(max)}`;
}
