import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { CompressionError, messageOf } from './errors.ts';

const GIB = 1024 ** 3;
const LOOPBACK = new Set(['localhost', '127.0.0.1', '::1']);

/** Whole numbers only, so that `PORT=80x` or `PORT=` is an error and not a default. */
const integer = (min: number, max: number) =>
  z
    .string()
    .regex(/^[0-9]{1,16}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().int().min(min).max(max));

const bucket = z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be the name of an S3 bucket');

const TENANT = /^[a-z0-9][a-z0-9-]{0,62}$/;

const DATE = /^\d{4}-\d{2}-\d{2}$/;

/** One API key, known by the hash of its secret. */
export interface ApiKey {
  readonly tenant: string;
  /** SHA-256 of the key, hexadecimal. Keys have 256 bits of entropy by advice, so no slow hash is needed. */
  readonly sha256: string;
  readonly scope: 'write' | 'read';
  /** Milliseconds since the epoch from which on the key is refused. */
  readonly expiresAt?: number;
}

/** `tenant:sha256[:read|write][:YYYY-MM-DD]`, separated by commas or lines; `#` starts a comment. The date is the first day without the key. */
function parseApiKeys(text: string, report: (problem: string) => void): ApiKey[] {
  const keys: ApiKey[] = [];
  const lines = text.split('\n').map((line) => line.replace(/#.*$/, ''));
  const entries = lines.flatMap((line) => line.split(',')).map((entry) => entry.trim());
  const given = entries.filter((entry) => entry !== '');
  if (given.length === 0) report('holds no key');
  for (const [index, entry] of given.entries()) {
    const [tenant = '', sha256 = '', ...rest] = entry.split(':');
    const date = DATE.test(rest.at(-1) ?? '') ? rest.pop() : undefined;
    const [scope = 'write', ...more] = rest;
    const expiresAt = date === undefined ? undefined : Date.parse(`${date}T00:00:00Z`);
    // The entry itself is not repeated: somebody may have put the key there instead of its hash.
    const where = `entry ${index + 1}`;
    if (!TENANT.test(tenant)) report(`${where}: the tenant must be lower-case letters, digits and dashes`);
    else if (!/^[0-9a-fA-F]{64}$/.test(sha256))
      report(
        `${where}: after the tenant comes the SHA-256 of the key, 64 hexadecimal digits (printf %s KEY | sha256sum)`,
      );
    else if ((scope !== 'write' && scope !== 'read') || more.length > 0)
      report(`${where}: the scope must be read or write, and the last day a date: YYYY-MM-DD`);
    else if (Number.isNaN(expiresAt)) report(`${where}: ${date ?? ''} is not a day of the calendar`);
    else keys.push({ tenant, sha256: sha256.toLowerCase(), scope, ...(expiresAt === undefined ? {} : { expiresAt }) });
  }
  return keys;
}

const apiKeys = z.string().transform((value, context): readonly ApiKey[] => {
  const report = (message: string) => context.addIssue({ code: 'custom', message });
  if (!value.startsWith('file:')) return parseApiKeys(value, report);
  try {
    return parseApiKeys(readFileSync(value.slice('file:'.length), 'utf8'), report);
  } catch (error) {
    report(`cannot read the file: ${messageOf(error)}`);
    return [];
  }
});

/** Every variable the service reads. Defaults and limits live here and nowhere else. */
const Environment = z.object({
  HOST: z.string().min(1).default('127.0.0.1'),
  PORT: integer(0, 65_535).default(8080),
  DATA_DIR: z.string().min(1).default('./data'),
  S3_BUCKET: bucket.optional(),
  S3_ENDPOINT: z.url({ protocol: /^https?$/ }).optional(),
  S3_REGION: z.string().min(1).default('us-east-1'),
  S3_PREFIX: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9/_-]*$/, 'must be letters, digits, / _ -')
    .optional(),
  SOURCE_BUCKETS: z
    .string()
    .transform((text) => text.split(',').map((name) => name.trim()))
    .pipe(z.array(bucket))
    .default([]),
  REDIS_URL: z.url({ protocol: /^rediss?$/ }).optional(),
  ROLE: z.enum(['all', 'api', 'worker']).default('all'),
  API_KEYS: apiKeys.default([]),
  WORKER_CONCURRENCY: integer(1, 256).default(1),
  JOB_THREADS: integer(1, 256).optional(),
  JOB_MEMORY_BYTES: integer(256 * 1024 ** 2, 2 ** 45).default(4 * GIB),
  JOB_DEADLINE_SECONDS: integer(1, 7 * 24 * 3600).default(6 * 3600),
  SNAPSHOT_SECONDS: integer(1, 24 * 3600).default(120),
  MODEL_MAX_BYTES: integer(1024, 2 ** 45).default(2 * GIB),
  DATASET_MAX_BYTES: integer(1024, 2 ** 45).default(8 * GIB),
  TENANT_MAX_ACTIVE_JOBS: integer(1, 1000).default(1000),
  RATE_LIMIT_READS_PER_MINUTE: integer(0, 10_000_000).default(6000),
  RATE_LIMIT_WRITES_PER_MINUTE: integer(0, 10_000_000).default(1200),
  MAX_CONNECTIONS: integer(1, 1_000_000).default(2048),
  WEBHOOK_ALLOW_HTTP: z.stringbool().default(false),
  WEBHOOK_ALLOW_PRIVATE: z.stringbool().default(false),
  WEBHOOK_REFUSED_HOSTS: z
    .string()
    .transform((text) => text.split(',').map((name) => name.trim()))
    .pipe(z.array(z.string().regex(/^[A-Za-z0-9.-]{1,253}$/, 'must be host names, separated by commas')))
    .default([]),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
});

const ConfigSchema = Environment.superRefine((env, context) => {
  if (env.API_KEYS.length === 0 && env.ROLE !== 'worker' && !LOOPBACK.has(env.HOST))
    context.addIssue({
      code: 'custom',
      path: ['HOST'],
      message: `${env.HOST} can be reached from outside, so API_KEYS must be set; without keys use 127.0.0.1`,
    });
  if (env.ROLE !== 'all' && env.REDIS_URL === undefined)
    context.addIssue({
      code: 'custom',
      path: ['ROLE'],
      message: `${env.ROLE} needs REDIS_URL: the in-process queue serves one process only`,
    });
  if (env.S3_ENDPOINT !== undefined && env.S3_BUCKET === undefined && env.SOURCE_BUCKETS.length === 0)
    context.addIssue({ code: 'custom', path: ['S3_ENDPOINT'], message: 'is set, but no S3_BUCKET' });
}).transform((env) => ({
  host: env.HOST,
  port: env.PORT,
  dataDir: env.DATA_DIR,
  s3:
    env.S3_BUCKET === undefined
      ? undefined
      : { bucket: env.S3_BUCKET, endpoint: env.S3_ENDPOINT, region: env.S3_REGION, prefix: env.S3_PREFIX },
  sources: { buckets: env.SOURCE_BUCKETS, endpoint: env.S3_ENDPOINT, region: env.S3_REGION },
  redisUrl: env.REDIS_URL,
  role: env.ROLE,
  apiKeys: env.API_KEYS,
  workerConcurrency: env.WORKER_CONCURRENCY,
  jobThreads: env.JOB_THREADS ?? Math.max(1, Math.floor(availableParallelism() / env.WORKER_CONCURRENCY)),
  jobMemoryBytes: env.JOB_MEMORY_BYTES,
  jobDeadlineSeconds: env.JOB_DEADLINE_SECONDS,
  snapshotSeconds: env.SNAPSHOT_SECONDS,
  modelMaxBytes: env.MODEL_MAX_BYTES,
  datasetMaxBytes: env.DATASET_MAX_BYTES,
  tenantMaxActiveJobs: env.TENANT_MAX_ACTIVE_JOBS,
  readsPerMinute: env.RATE_LIMIT_READS_PER_MINUTE,
  writesPerMinute: env.RATE_LIMIT_WRITES_PER_MINUTE,
  maxConnections: env.MAX_CONNECTIONS,
  webhookAllowHttp: env.WEBHOOK_ALLOW_HTTP,
  webhookAllowPrivate: env.WEBHOOK_ALLOW_PRIVATE,
  webhookRefusedHosts: env.WEBHOOK_REFUSED_HOSTS,
  logLevel: env.LOG_LEVEL,
}));

export type Config = Readonly<z.infer<typeof ConfigSchema>>;

/**
 * Reads the environment once and checks it whole.
 *
 * @throws CompressionError CONFIG_INVALID that lists every problem, one a line
 */
export function loadConfig(env: NodeJS.ProcessEnv): Config {
  // An empty variable is what compose files and shells leave behind for "not set".
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const result = ConfigSchema.safeParse(present);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
  throw new CompressionError('CONFIG_INVALID', `Bad configuration:\n${problems.join('\n')}`);
}

/** What `npm run config` prints: everything, with what is secret replaced. */
export function redactedConfig(config: Config): Readonly<Record<string, unknown>> {
  return {
    ...config,
    redisUrl: config.redisUrl === undefined ? undefined : withoutPassword(config.redisUrl),
    apiKeys: config.apiKeys.map((key) => `${key.tenant}:[redacted]:${key.scope}`),
  };
}

function withoutPassword(url: string): string {
  const parsed = new URL(url);
  if (parsed.password !== '') parsed.password = 'redacted';
  return parsed.href;
}
