/**
 * `npm run chaos [-- JOBS]`: API and two workers on a real Redis and S3 server; jobs are submitted while processes are
 * killed, Redis restarts and is flushed. Then the history is checked: every acknowledged job ended exactly once, none is
 * lost, no artifact comes from an attempt that lost, the same request gave the same bytes. Exit code 0 only then.
 */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import { Graph } from '../../src/onnx/graph.ts';
import { Model } from '../../src/onnx/model.ts';
import { makeNode } from '../../src/onnx/node.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { tensorValue } from '../../src/onnx/value-type.ts';
import { Job } from '../../src/schemas/job.ts';
import { Cluster } from '../helpers/cluster.ts';
import { FAULTS, jobChildren } from './faults.ts';

const jobs = Number(process.argv[2] ?? 200);
const FIRST_FAULT_MS = 5000;
const BETWEEN_FAULTS_MS = 6000;
const PATIENCE_MS = 20 * 60_000;

const started = performance.now();
const say = (text: string): void =>
  console.log(`${((performance.now() - started) / 1000).toFixed(1).padStart(7)} s  ${text}`);

const cluster = await Cluster.start(['worker-1', 'worker-2']);
let failed = false;
try {
  const model = await upload();
  const acknowledged: string[] = [];
  const submitting = submitAll(model, acknowledged);
  const breaking = breakThings();
  await submitting;
  say(`${acknowledged.length} jobs acknowledged`);
  await breaking;
  await allTerminal(acknowledged);
  const problems = await check(acknowledged);
  for (const problem of problems) console.error(`PROBLEM  ${problem}`);
  failed = problems.length > 0 || acknowledged.length !== jobs;
  say(
    failed
      ? `FAILED: ${problems.length} problems`
      : `all ${jobs} jobs ended exactly once, ${FAULTS.length} kinds of faults`,
  );
} finally {
  if (failed) console.error(`logs are in ${cluster.folder}`);
  else await cluster.stop();
}
process.exit(failed ? 1 : 0);

/** Two small Gemm layers with seeded weights: a job on it takes about a second. */
async function upload(): Promise<string> {
  const width = 64;
  const weights = (name: string, shift: number): Tensor =>
    Tensor.float(
      name,
      Array.from({ length: width * width }, (_, index) => Math.sin(index * 0.7 + shift) / 8),
      [width, width],
    );
  const graph = new Graph({
    name: 'chaos',
    inputs: [tensorValue('x', 'float', ['batch', width])],
    outputs: [tensorValue('y', 'float', ['batch', width])],
    nodes: [
      makeNode('Gemm', ['x', 'w1'], ['h'], { name: 'fc1' }),
      makeNode('Relu', ['h'], ['r'], { name: 'relu1' }),
      makeNode('Gemm', ['r', 'w2'], ['y'], { name: 'fc2' }),
    ],
  });
  for (const tensor of [weights('w1', 0), weights('w2', 1)]) graph.initializers.set(tensor.name, tensor);
  const body = encodeModel(new Model({ graph, opsetImports: new Map([['', 17]]), irVersion: 8 }));
  const response = await fetch(`${cluster.baseUrl}/v1/models`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: new Uint8Array(body),
  });
  if (!response.ok) throw new Error(`upload: ${response.status} ${await response.text()}`);
  return ((await response.json()) as { id: string }).id;
}

/** Retries each submission with its Idempotency-Key until it is acknowledged: one key, one job. */
async function submitAll(model: string, acknowledged: string[]): Promise<void> {
  for (let index = 0; index < jobs; index += 1) {
    const key = `chaos-${index}`;
    for (;;) {
      const response = await fetch(`${cluster.baseUrl}/v1/jobs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': key },
        body: JSON.stringify({ model, recipe: { version: 1, steps: [{ pass: 'quantize.dynamic' }] }, threads: 1 }),
      }).catch(() => undefined);
      if (response?.status === 202) {
        acknowledged.push(((await response.json()) as { id: string }).id);
        break;
      }
      if (response !== undefined && response.status < 500 && response.status !== 429 && response.status !== 409) {
        throw new Error(`submit: ${response.status} ${await response.text()}`);
      }
      await delay(300);
    }
    await delay(100);
  }
}

async function breakThings(): Promise<void> {
  await delay(FIRST_FAULT_MS);
  for (const fault of FAULTS) {
    say(`fault: ${fault.name}`);
    await fault.inject(cluster);
    await delay(BETWEEN_FAULTS_MS);
  }
}

async function getJob(id: string): Promise<Job | undefined> {
  const response = await fetch(`${cluster.baseUrl}/v1/jobs/${id}`).catch(() => undefined);
  return response?.ok === true ? Job.parse(await response.json()) : undefined;
}

async function allTerminal(ids: readonly string[]): Promise<void> {
  const open = new Set(ids);
  const end = performance.now() + PATIENCE_MS;
  for (let round = 0; open.size > 0; round += 1) {
    for (const id of [...open]) {
      const status = (await getJob(id))?.status;
      if (status === 'succeeded' || status === 'failed' || status === 'canceled') open.delete(id);
    }
    if (round % 10 === 0) say(`${open.size} jobs still open`);
    if (performance.now() > end) throw new Error(`${open.size} jobs did not end: ${[...open].slice(0, 5).join(', ')}`);
    await delay(1000);
  }
}

async function check(ids: readonly string[]): Promise<string[]> {
  const problems: string[] = [];
  if (new Set(ids).size !== ids.length) problems.push('two acknowledgements name the same job');
  const hashes = new Set<string>();
  let retried = 0;
  for (const id of ids) {
    const job = await getJob(id);
    if (job === undefined) {
      problems.push(`${id} is lost`);
      continue;
    }
    if (job.attempt > 1) retried += 1;
    if (job.status !== 'succeeded') problems.push(`${id} ended as ${job.status}: ${JSON.stringify(job.error)}`);
    const events = await (await fetch(`${cluster.baseUrl}/v1/jobs/${id}/events`)).text();
    const ends = events.match(/^event: ?job\.(succeeded|failed|canceled)$/gm) ?? [];
    if (ends.length !== 1) problems.push(`${id} has ${ends.length} terminal events`);
    const bytes = new Uint8Array(
      await (await fetch(`${cluster.baseUrl}/v1/jobs/${id}/artifacts/model.onnx`)).arrayBuffer(),
    );
    hashes.add(createHash('sha256').update(bytes).digest('hex'));
    const report = (await (await fetch(`${cluster.baseUrl}/v1/jobs/${id}/report`)).json()) as {
      artifacts?: { name: string; sha256: string }[];
    };
    const named = report.artifacts?.find(({ name }) => name === 'model.onnx')?.sha256;
    if (named === undefined || !hashes.has(named))
      problems.push(`${id}: the report names other bytes than the artifact has`);
  }
  if (hashes.size !== 1) problems.push(`the same request gave ${hashes.size} different artifacts`);
  say(`${retried} jobs needed more than one attempt`);
  await delay(3000);
  const idle = jobChildren().length;
  if (idle > 2) problems.push(`${idle} job children are alive, two spare ones are expected`);
  for (const name of ['api', 'worker-1', 'worker-2']) {
    const log = await cluster.log(name);
    if (/unhandled|TypeError/i.test(log)) problems.push(`${name}.log shows a defect`);
  }
  return problems;
}
