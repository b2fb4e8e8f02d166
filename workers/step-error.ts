import { CompressionError, messageOf } from '../src/errors.ts';

/** An error with the recipe step it came from. */
export class StepError extends CompressionError {
  readonly step: number;

  private constructor(error: CompressionError, step: number) {
    super(error.code, error.message, { cause: error, places: error.places });
    this.step = step;
  }

  /** What is not one of our errors stays as it is: it is a defect, and its stack is wanted. */
  static of(error: unknown, step: number): unknown {
    if (error instanceof StepError) return error;
    if (error instanceof CompressionError) return new StepError(error, step);
    if (error instanceof Error) error.message = `step ${step}: ${messageOf(error)}`;
    return error;
  }
}
