/**
 * Every error a client can see. `httpStatus` is the answer when it happens inside a request; a job that ends with the
 * code is `failed` and carries it in `error.code`. `retryable`: the same request may succeed later, unchanged.
 * A test proves that docs/errors.md lists each code.
 */
export const ERROR_CODES = {
  // requests
  BAD_REQUEST: { httpStatus: 400, retryable: false },
  BODY_INVALID: { httpStatus: 400, retryable: false },
  QUERY_INVALID: { httpStatus: 400, retryable: false },
  RECIPE_INVALID: { httpStatus: 400, retryable: false },
  IDEMPOTENCY_KEY_INVALID: { httpStatus: 400, retryable: false },
  IDEMPOTENCY_KEY_REUSED: { httpStatus: 422, retryable: false },
  IDEMPOTENCY_IN_FLIGHT: { httpStatus: 409, retryable: true },
  UNAUTHENTICATED: { httpStatus: 401, retryable: false },
  FORBIDDEN: { httpStatus: 403, retryable: false },
  NOT_FOUND: { httpStatus: 404, retryable: false },
  METHOD_NOT_ALLOWED: { httpStatus: 405, retryable: false },
  NOT_ACCEPTABLE: { httpStatus: 406, retryable: false },
  CONFLICT: { httpStatus: 409, retryable: false },
  IN_USE: { httpStatus: 409, retryable: false },
  NOT_READY: { httpStatus: 409, retryable: true },
  REQUEST_TIMEOUT: { httpStatus: 408, retryable: true },
  HEADERS_TOO_LARGE: { httpStatus: 431, retryable: false },
  PAYLOAD_TOO_LARGE: { httpStatus: 413, retryable: false },
  UNSUPPORTED_MEDIA_TYPE: { httpStatus: 415, retryable: false },
  RANGE_NOT_SATISFIABLE: { httpStatus: 416, retryable: false },
  RATE_LIMITED: { httpStatus: 429, retryable: true },
  QUOTA_EXCEEDED: { httpStatus: 429, retryable: true },
  SOURCE_DENIED: { httpStatus: 400, retryable: false },
  WEBHOOK_URL_REFUSED: { httpStatus: 400, retryable: false },
  WEBHOOK_LIMIT: { httpStatus: 400, retryable: false },
  // models
  MODEL_PARSE: { httpStatus: 422, retryable: false },
  MODEL_INVALID: { httpStatus: 422, retryable: false },
  MODEL_UNSUPPORTED: { httpStatus: 422, retryable: false },
  MODEL_UNSUPPORTED_OP: { httpStatus: 422, retryable: false },
  MODEL_EXTERNAL_DATA: { httpStatus: 422, retryable: false },
  MODEL_LIMIT: { httpStatus: 422, retryable: false },
  MODEL_LOAD: { httpStatus: 422, retryable: false },
  MODEL_RUN: { httpStatus: 422, retryable: false },
  // data sets
  DATASET_PARSE: { httpStatus: 422, retryable: false },
  DATASET_PICKLE: { httpStatus: 422, retryable: false },
  DATASET_LIMIT: { httpStatus: 422, retryable: false },
  DATASET_SHAPE: { httpStatus: 422, retryable: false },
  DATASET_LABELS: { httpStatus: 422, retryable: false },
  DATASET_EMPTY: { httpStatus: 422, retryable: false },
  DATASET_VALUES: { httpStatus: 422, retryable: false },
  DATASET_TOO_SMALL: { httpStatus: 422, retryable: false },
  // inputs of a job
  INPUT_CHECKSUM: { httpStatus: 422, retryable: false },
  INPUT_CHANGED: { httpStatus: 409, retryable: false },
  INPUT_NOT_FOUND: { httpStatus: 404, retryable: false },
  INPUT_DENIED: { httpStatus: 403, retryable: false },
  // recipes at run time
  RECIPE_NO_MATCH: { httpStatus: 422, retryable: false },
  RECIPE_VERSION: { httpStatus: 422, retryable: false },
  PASS_PRECONDITION: { httpStatus: 422, retryable: false },
  PASS_POSTCONDITION: { httpStatus: 500, retryable: false },
  TRAIN_NO_GRADIENT: { httpStatus: 422, retryable: false },
  TRAIN_DIVERGED: { httpStatus: 422, retryable: false },
  // limits
  LIMIT_SIZE: { httpStatus: 413, retryable: false },
  LIMIT_TIME: { httpStatus: 422, retryable: false },
  LIMIT_MEMORY: { httpStatus: 422, retryable: false },
  DISK_FULL: { httpStatus: 507, retryable: true },
  // the machinery
  CHILD_CRASH: { httpStatus: 500, retryable: true },
  CRASH_LOOP: { httpStatus: 500, retryable: false },
  CANCELED: { httpStatus: 409, retryable: false },
  OBJECT_STORE_UNAVAILABLE: { httpStatus: 503, retryable: true },
  QUEUE_UNAVAILABLE: { httpStatus: 503, retryable: true },
  OVERLOADED: { httpStatus: 503, retryable: true },
  CONFIG_INVALID: { httpStatus: 500, retryable: false },
  INTERNAL: { httpStatus: 500, retryable: true },
} as const satisfies Record<string, { httpStatus: number; retryable: boolean }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** One place in a request body that is wrong, by RFC 6901 JSON pointer. */
export interface ErrorPlace {
  readonly pointer: string;
  readonly message: string;
}

/** The one error class. The message says what, where, expected, got, and what to do. */
export class CompressionError extends Error {
  override readonly name: string = 'CompressionError';
  readonly code: ErrorCode;
  readonly places: readonly ErrorPlace[];
  /** Seconds after which a retry makes sense, for Retry-After. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: ErrorOptions & { places?: readonly ErrorPlace[]; retryAfterSeconds?: number } = {},
  ) {
    super(message, options);
    this.code = code;
    this.places = options.places ?? [];
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  get httpStatus(): number {
    return ERROR_CODES[this.code].httpStatus;
  }

  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }
}

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}

/** The value, or an error that names what is missing. For places where the program knows that it is there. */
export function defined<T>(value: T | undefined | null, what: string): T {
  if (value === undefined || value === null) throw new CompressionError('INTERNAL', `${what} is missing`);
  return value;
}

export function assertNever(value: never, what: string): never {
  throw new CompressionError('INTERNAL', `unexpected ${what}: ${JSON.stringify(value)}`);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
