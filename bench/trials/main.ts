/**
 * `npm run bench -- trials [--workers 1,2] [--trials 32] [--batch 8] [--epochs 10] [--rounds 3]`: one search with one worker process and with
 * two (or as many as are named), each with one thread, on a real Redis and a real S3 server; in turns, each round with another
 * seed. Needs redis-server and versitygw on the PATH, and `npm run build` before. The limit: two workers in at most 0.6 of the
 * time of one, with the same result. A candidate is pruned and trained for some seconds; with `--epochs 0` it is only pruned, and the start of a process, which uses
 * several cores, is half of it.
 */
import { createHash } from 'node:crypto';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { canonicalJson } from '../../src/canonical-json.ts';
import { TersorClient, type JobRequest } from '../../src/client/client.ts';
import { median } from '../../src/evaluation/statistics.ts';
import { Report } from '../../src/schemas/report.ts';
import { S3Store } from '../../src/storage/s3.ts';
import { Cluster } from '../../test/helpers/cluster.ts';
import { putKnownKernelCosts } from '../../test/helpers/known-kernel-costs.ts';
import type { S3Server } from '../../test/helpers/services.ts';

const EXAMPLE = 'examples/fashion-mnist';
const LIMIT = 0.6;

interface Run {
  readonly seconds: number;
  /** Hash of all that was tried with its figures, and of the models. */
  readonly answer: string;
  /** Trials that each worker ran. */
  readonly shares: readonly number[];
}

interface Plan {
  readonly trials: number;
  readonly batch: number;
  readonly epochs: number;
  readonly seed: number;
}

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      workers: { type: 'string', default: '1,2' },
      trials: { type: 'string', default: '32' },
      batch: { type: 'string', default: '8' },
      epochs: { type: 'string', default: '10' },
      rounds: { type: 'string', default: '3' },
    },
  });
  const counts = values.workers.split(',').map(Number);
  const plan = { trials: Number(values.trials), batch: Number(values.batch), epochs: Number(values.epochs) };
  const rounds = Number(values.rounds);
  console.log(`CPU ${cpus()[0]?.model.trim() ?? 'unknown'}, ${cpus().length} cores, Node ${process.version}`);
  console.log(`${plan.trials} trials in batches of ${plan.batch}, ${plan.epochs} epochs each, one thread a worker`);
  const runs = new Map(counts.map((count) => [count, [] as Run[]]));
  for (let seed = 0; seed < rounds; seed += 1) {
    // In turns, and the other way round in every second round, so that a machine that slows down wrongs nobody.
    const order = seed % 2 === 0 ? counts : [...counts].reverse();
    for (const count of order) {
      const run = await searchWith(count, { ...plan, seed });
      runs.get(count)?.push(run);
      const shares = `${run.shares.join(' + ')} trials`;
      console.log(`round ${seed}, workers ${count}: ${run.seconds.toFixed(1)} s, ${shares}, answer ${run.answer}`);
    }
    const answers = new Set([...runs.values()].map((done) => done[seed]?.answer));
    console.log(`round ${seed}: ${answers.size === 1 ? 'the same answer from all' : 'DIFFERENT answers'}`);
  }
  summarize(runs);
}

/** Seconds from the POST to the end. */
async function searchWith(workers: number, plan: Plan): Promise<Run> {
  const names = Array.from({ length: workers }, (_, index) => `worker-${index + 1}`);
  const prepare = async (s3: S3Server): Promise<void> => {
    const store = new S3Store(s3);
    await putKnownKernelCosts(store);
    await store.close();
  };
  const cluster = await Cluster.start(names, { prepare });
  try {
    const client = new TersorClient({ baseUrl: cluster.baseUrl });
    const common = await dataOf(client, plan.seed);
    await warmUp(client, common, 2 * workers);
    const started = performance.now();
    const job = await client.createJob({ ...common, recipe: { version: 1, steps: [searchOf(plan)] } });
    const over = await client.waitForJob(job.id);
    const seconds = (performance.now() - started) / 1000;
    if (over.status !== 'succeeded')
      throw new Error(`the search ended as ${over.status}: ${JSON.stringify(over.error)}`);
    const ids = await trialIds(client, job.id);
    const work = await Promise.all(names.map((name) => cluster.workOf(name)));
    return {
      seconds,
      answer: await answerOf(client, job.id),
      shares: work.map(({ succeeded }) => succeeded.filter((id) => ids.has(id)).length),
    };
  } finally {
    await cluster.stop();
  }
}

async function dataOf(client: TersorClient, seed: number): Promise<Omit<JobRequest, 'recipe'>> {
  const model = await client.uploadModel({ path: `${EXAMPLE}/fashion-resnet8.onnx` });
  const calibration = await client.uploadDataset({ path: `${EXAMPLE}/calibration.npz` });
  const evaluation = await client.uploadDataset({ path: `${EXAMPLE}/evaluation.npz` });
  return {
    model: model.id,
    data: {
      calibration: { dataset: calibration.id },
      training: { dataset: calibration.id },
      evaluation: { dataset: evaluation.id, metric: 'top1' },
    },
    preprocess: { scale: 1 / 255, mean: [0.286], std: [0.353] },
    threads: 1,
    seed,
  };
}

/** Candidates: networks pruned by another ratio in each layer, no two alike, and trained. */
function searchOf({ trials, batch, epochs }: Plan) {
  const training = { epochs, learningRate: 0.01, augment: ['crop4', 'flip'], validation: { role: 'evaluation' } };
  return {
    pass: 'search.compression',
    steps: [
      {
        pass: 'prune.channels',
        macsRatio: 0.6,
        scope: 'local',
        speed: 'ignore',
        recover: 'least-squares',
        factors: { search: { layers: [0, 0.5, 1, 1.5, 2] } },
      },
      ...(epochs > 0 ? [{ pass: 'train.finetune', training }] : []),
    ],
    warmStart: false,
    objectives: ['accuracy'],
    trials,
    batch,
    keepFront: 0,
  };
}

/** A short job for each worker, so that what a first job costs is not counted. */
async function warmUp(client: TersorClient, common: Omit<JobRequest, 'recipe'>, jobs: number): Promise<void> {
  const recipe = { version: 1 as const, steps: [{ pass: 'quantize.dynamic' }] };
  const warming = await Promise.all(Array.from({ length: jobs }, () => client.createJob({ ...common, recipe })));
  for (const { id } of warming) {
    const { status, error } = await client.waitForJob(id);
    if (status !== 'succeeded') throw new Error(`the first job ended as ${status}: ${JSON.stringify(error)}`);
  }
}

async function trialIds(client: TersorClient, parent: string): Promise<ReadonlySet<string>> {
  const ids = new Set<string>();
  let cursor: string | undefined;
  do {
    const page = await client.listJobs({ parent, limit: 100, ...(cursor === undefined ? {} : { cursor }) });
    for (const { id } of page.items) ids.add(id);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return ids;
}

async function answerOf(client: TersorClient, id: string): Promise<string> {
  const { steps } = Report.parse(await client.report(id));
  const { timing: _measured, ...details } = steps.at(-1)?.details ?? {};
  const models = (await client.artifacts(id)).filter(({ kind }) => kind === 'model').map(({ sha256 }) => sha256);
  return createHash('sha256').update(canonicalJson({ details, models })).digest('hex').slice(0, 12);
}

function summarize(runs: ReadonlyMap<number, readonly Run[]>): void {
  const medianOf = (done: readonly Run[]): number => median(done.map(({ seconds }) => seconds));
  const [[, first] = [1, []]] = runs;
  const base = medianOf(first);
  for (const [count, done] of runs) {
    const seconds = medianOf(done);
    const share = seconds / base;
    const verdict = count === 2 ? ` (limit ${LIMIT}: ${share <= LIMIT ? 'met' : 'MISSED'})` : '';
    console.log(`workers ${count}: median ${seconds.toFixed(1)} s, ${share.toFixed(2)} of the first${verdict}`);
  }
}
