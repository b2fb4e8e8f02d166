import { CompressionError } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import { validate, type ValidationResult } from '../../training/validation.ts';
import type { PassContext } from '../pass.ts';

const BATCH = 100;
/** Differences of shares of samples are off by this much. */
const ROUNDING = 1e-12;

export interface MeasuredDrop {
  readonly value: number;
  /** Share of the samples (top1), or growth as a share of the error in float (rmse). Positive is worse. */
  readonly drop: number;
  readonly met: boolean;
}

/** Measures what candidates lose on the evaluation data against the model in float. */
export class AccuracyMeter {
  readonly float: ValidationResult;
  readonly maxDrop: number;
  readonly #validate: (model: Model) => Promise<ValidationResult>;

  private constructor(
    float: ValidationResult,
    maxDrop: number,
    validateOne: (model: Model) => Promise<ValidationResult>,
  ) {
    this.float = float;
    this.maxDrop = maxDrop;
    this.#validate = validateOne;
  }

  /**
   * @param what - needs the data, in the words of its options
   * @throws CompressionError PASS_PRECONDITION, DATASET_LABELS, MODEL_RUN; AbortError when canceled
   */
  static async create(
    model: Model,
    { what, maxDrop }: { readonly what: string; readonly maxDrop: number },
    { data, runtime, threads, signal }: PassContext,
  ): Promise<AccuracyMeter> {
    const { evaluation } = data;
    if (evaluation === undefined) {
      throw new CompressionError('PASS_PRECONDITION', `${what} needs evaluation data; give data.evaluation`);
    }
    const validateOne = (candidate: Model): Promise<ValidationResult> =>
      validate(candidate, evaluation, { runtime, threads, signal, batchSize: BATCH });
    return new AccuracyMeter(await validateOne(model), maxDrop, validateOne);
  }

  async measure(candidate: Model): Promise<MeasuredDrop> {
    const { value } = await this.#validate(candidate);
    const drop = this.#dropOf(value);
    return { value, drop, met: drop <= this.maxDrop + ROUNDING };
  }

  #dropOf(value: number): number {
    const { float } = this;
    if (float.metric === 'top1') return float.value - value;
    if (float.value === 0) return value === 0 ? 0 : Infinity;
    return value / float.value - 1;
  }
}
