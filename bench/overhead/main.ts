/**
 * `npm run bench -- overhead [JOBS]`: what the service adds to a job. Starts the built service on its embedded default, runs
 * dynamic int8 on the example network one job after another, and takes from each POST-to-succeeded time what the child
 * says it computed (from the arrival of its task to its result). The design's limit is a median under 400 ms.
 */
import { cpus } from 'node:os';
import type { TersorClient } from '../../src/client/client.ts';
import { withService } from '../service.ts';

export async function main(args: readonly string[]): Promise<void> {
  const jobs = Number(args[0] ?? 20);
  const overheads = await withService((client) => measure(client, jobs));
  overheads.sort((a, b) => a - b);
  const at = (share: number): string => (overheads[Math.floor(share * (overheads.length - 1))] ?? NaN).toFixed(0);
  console.log(`CPU ${cpus()[0]?.model.trim() ?? 'unknown'}, Node ${process.version}, ${jobs} jobs`);
  console.log(
    `POST to succeeded minus the child's compute: median ${at(0.5)} ms, p90 ${at(0.9)} ms, max ${at(1)} ms (limit 400)`,
  );
}

async function measure(client: TersorClient, jobs: number): Promise<number[]> {
  const model = await client.uploadModel({ path: 'examples/fashion-mnist/fashion-resnet8.onnx' });
  const overheads: number[] = [];
  // The first job measures the kernel cost table; it is not counted.
  for (let run = 0; run <= jobs; run += 1) {
    const started = performance.now();
    const job = await client.createJob({
      model: model.id,
      recipe: { version: 1, steps: [{ pass: 'quantize.dynamic' }] },
      metadata: { run: String(run) },
    });
    for await (const event of client.events(job.id)) if (event.type === 'job.succeeded') break;
    const total = performance.now() - started;
    const computeMs = await computeOf(client, job.id);
    if (run > 0) overheads.push(total - computeMs);
  }
  return overheads;
}

/** The child's own figure stands in the run's log. */
async function computeOf(client: TersorClient, jobId: string): Promise<number> {
  for (const line of (await client.logs(jobId)).split('\n')) {
    const entry = line === '' ? {} : (JSON.parse(line) as { computeMs?: number });
    if (entry.computeMs !== undefined) return entry.computeMs;
  }
  throw new Error(`the log of ${jobId} has no computeMs`);
}
