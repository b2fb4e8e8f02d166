import type { Problem } from '../schemas/common.ts';

/** The service refused a request, or a job did not succeed. */
export class TersorError extends Error {
  override readonly name: string = 'TersorError';
  /** One of docs/errors.md, UNREACHABLE when no answer came, or FILE_UNREADABLE for a file to upload. */
  readonly code: string;
  /** HTTP status, when there was an answer. */
  readonly status: number | undefined;
  readonly problem: Problem | undefined;

  constructor(code: string, message: string, options: ErrorOptions & { status?: number; problem?: Problem } = {}) {
    super(message, options);
    this.code = code;
    this.status = options.status;
    this.problem = options.problem;
  }
}
