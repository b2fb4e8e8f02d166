import { z } from 'zod';
import { CompressionError } from '../errors.ts';

/**
 * What a model answered to each sample, kept small (9 bytes a sample at most for classes, 16 for regression), so that two
 * models can be paired sample by sample without keeping their outputs.
 */
export interface ClassificationOutcome {
  readonly kind: 'classification';
  /** The output that was read. */
  readonly output: string;
  readonly classes: number;
  /** Best class per sample; -1 where the output held a NaN or infinity: no prediction, counted as wrong. */
  readonly predictions: Int32Array;
  readonly labels: Int32Array;
  /** 1 where the label is among the five best; absent when the model has five classes or fewer. */
  readonly inTop5?: Uint8Array;
  readonly nonFiniteSamples: number;
}

export interface RegressionOutcome {
  readonly kind: 'regression';
  readonly output: string;
  /** Mean squared and mean absolute error of each sample; NaN where the output is not finite. */
  readonly squaredErrors: Float64Array;
  readonly absoluteErrors: Float64Array;
  readonly nonFiniteSamples: number;
}

/** `none`: accuracy could not be measured, and why. That is an answer, never an error. */
export interface NoOutcome {
  readonly kind: 'none';
  readonly reason: string;
}

export type Outcome = ClassificationOutcome | RegressionOutcome | NoOutcome;

/** The outcome as plain JSON, for a checkpoint: arrays as base64 of their little-endian bytes. */
export const OutcomeJson = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('classification'),
    output: z.string(),
    classes: z.number().int(),
    predictions: z.string(),
    labels: z.string(),
    inTop5: z.string().optional(),
    nonFiniteSamples: z.number().int(),
  }),
  z.object({
    kind: z.literal('regression'),
    output: z.string(),
    squaredErrors: z.string(),
    absoluteErrors: z.string(),
    nonFiniteSamples: z.number().int(),
  }),
  z.object({ kind: z.literal('none'), reason: z.string() }),
]);
export type OutcomeJson = z.infer<typeof OutcomeJson>;

export function outcomeToJson(outcome: Outcome): OutcomeJson {
  switch (outcome.kind) {
    case 'classification': {
      const { inTop5, predictions, labels, ...rest } = outcome;
      return {
        ...rest,
        predictions: toBase64(predictions),
        labels: toBase64(labels),
        ...(inTop5 === undefined ? {} : { inTop5: toBase64(inTop5) }),
      };
    }
    case 'regression':
      return {
        ...outcome,
        squaredErrors: toBase64(outcome.squaredErrors),
        absoluteErrors: toBase64(outcome.absoluteErrors),
      };
    case 'none':
      return outcome;
  }
}

/** @throws CompressionError INTERNAL when the arrays of a checkpoint do not fit each other */
export function outcomeFromJson(json: OutcomeJson): Outcome {
  switch (json.kind) {
    case 'classification': {
      const { inTop5, predictions, labels, ...rest } = json;
      const outcome: ClassificationOutcome = {
        ...rest,
        predictions: new Int32Array(fromBase64(predictions)),
        labels: new Int32Array(fromBase64(labels)),
        ...(inTop5 === undefined ? {} : { inTop5: new Uint8Array(fromBase64(inTop5)) }),
      };
      if (outcome.labels.length !== outcome.predictions.length) {
        throw new CompressionError(
          'INTERNAL',
          `stored outcome has ${outcome.predictions.length} predictions for ${outcome.labels.length} labels`,
        );
      }
      return outcome;
    }
    case 'regression':
      return {
        ...json,
        squaredErrors: new Float64Array(fromBase64(json.squaredErrors)),
        absoluteErrors: new Float64Array(fromBase64(json.absoluteErrors)),
      };
    case 'none':
      return json;
  }
}

function toBase64(array: Int32Array | Uint8Array | Float64Array): string {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');
}

/** A fresh buffer, so that any typed array may view it from its start. */
function fromBase64(text: string): ArrayBuffer {
  const bytes = Buffer.from(text, 'base64');
  const buffer = new ArrayBuffer(bytes.byteLength);
  new Uint8Array(buffer).set(bytes);
  return buffer;
}
