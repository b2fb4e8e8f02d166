/**
 * `npm run bench -- quantize --model M.onnx --calibration C.npz --evaluation E.npz [--mean .. --std ..] [--samples 512]
 * [--pass quantize.static] [--options JSON] [--target portable] [PEER.onnx ...]`: one image classifier quantized, held against the
 * float model and against other files: bytes, top-1, latency of one thread in turns; of quantize.static calibration time against plain passes, of quantize.mixed the chosen types.
 * The result is written to the folder for temporary files.
 * Images are uint8 NCHW; x = (pixel / 255 - mean) / std.
 */
import { statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { defined } from '../../src/errors.ts';
import { bindFeeds } from '../../src/data/bind-feeds.ts';
import type { Dataset } from '../../src/data/dataset.ts';
import { openDataset } from '../../src/data/open-dataset.ts';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import { loadModel } from '../../src/onnx/codec/load.ts';
import { calibrate } from '../../src/passes/calibrate.ts';
import { runStep } from '../../src/passes/pass-manager.ts';
import type { FeedSource, PassContext, TargetCpu } from '../../src/passes/pass.ts';
import { measureKernelCosts } from '../../src/passes/cost/kernel-cost-table.ts';
import { canonicalize } from '../../src/passes/canonicalize/canonicalize.ts';
import { PASSES } from '../../src/passes/registry.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import { median } from '../../src/evaluation/statistics.ts';
import type { Session } from '../../src/runtime/session.ts';
import { passContext } from '../pass-context.ts';
import { latencies, topOne } from './measure.ts';

const runtime = createRuntime(tmpdir());
const BATCH = 16;
const CALIBRATION_ROUNDS = 7;

export async function main(args: readonly string[]): Promise<void> {
  const { values, positionals: peers } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      model: { type: 'string' },
      calibration: { type: 'string' },
      evaluation: { type: 'string' },
      mean: { type: 'string', default: '0.485,0.456,0.406' },
      std: { type: 'string', default: '0.229,0.224,0.225' },
      samples: { type: 'string', default: '512' },
      pass: { type: 'string', default: 'quantize.static' },
      options: { type: 'string', default: '{}' },
      target: { type: 'string', default: 'portable' },
    },
  });
  const path = defined(values.model, '--model');
  const model = await loadModel(path);
  const numbers = (list: string): number[] => list.split(',').map(Number);
  const preprocess = { scale: 1 / 255, mean: numbers(values.mean), std: numbers(values.std) };
  const datasets: Dataset[] = [];
  const feedsOf = async (role: 'calibration' | 'evaluation', file: string, samples?: number): Promise<FeedSource> => {
    const inputs = model.graph.inputs.filter(({ name }) => !model.graph.initializers.has(name));
    const full = { layout: 'nchw', channelOrder: 'rgb', resize: null, ...preprocess } as const;
    const dataset = await openDataset(file);
    datasets.push(dataset);
    return bindFeeds(dataset, { role, samples, preprocess: full }, inputs);
  };
  const calibration = await feedsOf(
    'calibration',
    defined(values.calibration, '--calibration'),
    Number(values.samples),
  );
  const evaluation = await feedsOf('evaluation', defined(values.evaluation, '--evaluation'));
  const context = passContext({
    runtime,
    targetCpu: values.target as TargetCpu,
    data: { calibration },
    costTable: await measureKernelCosts(runtime, { threads: 1 }),
  });
  await runStep(model, { pass: canonicalize, options: canonicalize.options.parse({}) }, context);
  const pass = defined(
    PASSES.find(({ name }) => name === values.pass),
    values.pass,
  );
  const options: unknown = pass.options.parse(JSON.parse(values.options));
  const points = pass.observe?.(model, options, context) ?? [];
  if (points.length > 0) {
    await reportCalibration(context, calibration, path, () => calibrate(model, points, calibration, context));
  }
  const started = performance.now();
  const outcome = await runStep(model, { pass, options }, context);
  console.log(
    `changed ${outcome.changes} nodes, left ${outcome.skipped.length} in float, ${((performance.now() - started) / 1000).toFixed(1)} s; estimate ${JSON.stringify(outcome.details['estimatedNs'])}`,
  );
  for (const name of ['budget', 'accuracy', 'measured', 'choices', 'pareto']) {
    const own = outcome.details[name];
    for (const line of Array.isArray(own) ? own : own === undefined ? [] : [own])
      console.log(name, JSON.stringify(line));
  }
  const ours = join(tmpdir(), `${basename(path, '.onnx')}.${values.pass}.onnx`);
  writeFileSync(ours, encodeModel(model));
  await compare([path, ours, ...peers], evaluation);
  for (const dataset of datasets) await dataset.close();
}

/** One pass over the samples with the model as it is: what calibration is held against. Loading the model counts in both. */
async function plainPass(feeds: FeedSource, path: string): Promise<void> {
  const session = await runtime.createSession({ path }, { threads: 1 });
  for await (const batch of feeds.batches(BATCH)) await session.run(batch.feeds);
  await session.release();
}

async function reportCalibration(
  context: PassContext,
  feeds: FeedSource,
  path: string,
  run: () => Promise<unknown>,
): Promise<void> {
  await plainPass(feeds, path);
  const before = process.memoryUsage().rss;
  let peak = before;
  const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 5);
  const [plain, calibrating]: [number[], number[]] = [[], []];
  for (let round = 0; round < CALIBRATION_ROUNDS; round += 1) {
    plain.push(await secondsOf(() => plainPass(feeds, path)));
    calibrating.push(await secondsOf(run));
  }
  clearInterval(timer);
  const [calibration, passes] = [median(calibrating), median(plain)];
  const grown = ((peak - before) / 2 ** 20).toFixed(0);
  console.log(`CPU ${cpus()[0]?.model.trim() ?? ''}, ${context.runtime.version}, one thread`);
  console.log(
    `calibration of ${feeds.samples} samples ${calibration.toFixed(2)} s, ${(calibration / passes).toFixed(2)}x plain passes (${passes.toFixed(2)} s), medians of ${CALIBRATION_ROUNDS} rounds in turns; memory +${grown} MB`,
  );
}

async function secondsOf(run: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await run();
  return (performance.now() - started) / 1000;
}

async function compare(paths: readonly string[], evaluation: FeedSource): Promise<void> {
  const sessions: Session[] = [];
  for (const path of paths) sessions.push(await runtime.createSession({ path }, { threads: 1 }));
  const times = await latencies(sessions, evaluation);
  for (const [index, path] of paths.entries()) {
    const accuracy = await topOne(defined(sessions[index], path), evaluation);
    const p50 = defined(times[index], path);
    const speedup = (defined(times[0], path) / p50).toFixed(2);
    console.log(
      `${basename(path).padEnd(40)} ${String(statSync(path).size).padStart(9)} bytes  top-1 ${(100 * accuracy).toFixed(2)}  p50 ${p50.toFixed(3)} ms  ${speedup}x`,
    );
  }
  for (const session of sessions) await session.release();
}
