/**
 * `npm run bench -- trials [WORKERS ...]`: one search of 32 trials with one worker and with two (or as many as are named), each
 * worker with one thread, on a real Redis and a real S3 server; in turns, three rounds. Needs redis-server and versitygw on
 * the PATH, and `npm run build` before. The limit: two workers in at most 0.6 of the time of one, with the same result.
 */
import { createHash } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { TersorClient } from '../../src/client/client.ts';
import { Cluster } from '../../test/helpers/cluster.ts';

const ROUNDS = 3;
const EXAMPLE = 'examples/fashion-mnist';

interface Run {
  readonly seconds: number;
  readonly sha256: string;
}

export async function main(args: readonly string[]): Promise<void> {
  const counts = args.length === 0 ? [1, 2] : args.map(Number);
  console.log(`CPU ${cpus()[0]?.model.trim() ?? 'unknown'}, ${cpus().length} cores, Node ${process.version}`);
  const runs = new Map(counts.map((count) => [count, [] as Run[]]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [count, done] of runs) {
      const run = await searchWith(count, round);
      done.push(run);
      console.log(`round ${round}, ${count} workers: ${run.seconds.toFixed(1)} s, model ${run.sha256.slice(0, 12)}`);
    }
  }
  const [first] = counts;
  const base = medianOf(runs.get(first ?? 1) ?? []);
  for (const [count, done] of runs) {
    const median = medianOf(done);
    console.log(
      `${count} workers: median ${median.toFixed(1)} s, ${(median / base).toFixed(2)} of ${first ?? 1} worker`,
    );
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    const models = new Set([...runs.values()].map((done) => done[round]?.sha256));
    console.log(`round ${round}: ${models.size === 1 ? 'the same model from all' : 'DIFFERENT models'}`);
  }
}

/** From the POST to the end. The cost table is measured by a small job ahead. */
async function searchWith(workers: number, seed: number): Promise<Run> {
  const names = Array.from({ length: workers }, (_, index) => `worker-${index + 1}`);
  const cluster = await Cluster.start(names);
  try {
    const client = new TersorClient({ baseUrl: cluster.baseUrl });
    const model = await client.uploadModel({ path: `${EXAMPLE}/fashion-resnet8.onnx` });
    const calibration = await client.uploadDataset({ path: `${EXAMPLE}/calibration.npz` });
    const evaluation = await client.uploadDataset({ path: `${EXAMPLE}/evaluation.npz` });
    const common = {
      model: model.id,
      data: {
        calibration: { dataset: calibration.id },
        evaluation: { dataset: evaluation.id, metric: 'top1' as const },
      },
      preprocess: { scale: 1 / 255, mean: [0.286], std: [0.353] },
      threads: 1,
      seed,
    };
    const warm = await client.createJob({ ...common, recipe: { version: 1, steps: [{ pass: 'quantize.dynamic' }] } });
    await client.waitForJob(warm.id);
    const search = {
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
      ],
      warmStart: false,
      objectives: ['accuracy'],
      trials: 32,
      batch: 8,
      keepFront: 0,
    };
    const started = performance.now();
    const job = await client.createJob({ ...common, recipe: { version: 1, steps: [search] } });
    await client.waitForJob(job.id);
    const seconds = (performance.now() - started) / 1000;
    const path = join(tmpdir(), `tersor-bench-trials-${process.pid}.onnx`);
    await rm(path, { force: true });
    await client.downloadArtifact(job.id, 'model.onnx', path);
    const sha256 = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
    await rm(path);
    return { seconds, sha256 };
  } finally {
    await cluster.stop();
  }
}

function medianOf(runs: readonly Run[]): number {
  const sorted = runs.map(({ seconds }) => seconds).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
