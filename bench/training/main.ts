/**
 * `npm run bench -- training [--networks a,b] [--threads 2] [--rounds 5] [--steps 4] [--python PYTHON] [--profile]`: the time and
 * memory of a training step of ours and, where an interpreter with torch is given, of PyTorch in both memory layouts. Each engine
 * has a process of its own; they make their steps in turns, one at a time. `--profile` adds our time by operator.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { parseArgs } from 'node:util';
import { NETWORKS } from './networks.ts';
import { timeByOperator } from './profile.ts';

interface Engine {
  readonly label: string;
  readonly process: ChildProcessByStdio<Writable, Readable, null>;
  readonly answers: AsyncIterator<string>;
  readonly lines: Interface;
  readonly times: number[];
  peakMb: number;
}

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      networks: { type: 'string', default: NETWORKS.map(({ name }) => name).join() },
      threads: { type: 'string', default: '2' },
      rounds: { type: 'string', default: '5' },
      steps: { type: 'string', default: '4' },
      python: { type: 'string' },
      profile: { type: 'boolean', default: false },
    },
  });
  console.log(`${cpus()[0]?.model ?? 'unknown CPU'}, ${values.threads} threads; median ms a step (least), peak MB`);
  for (const network of values.networks.split(',')) {
    const engines = [ours(network, values.threads)];
    for (const layout of values.python === undefined ? [] : ['default', 'channels-last']) {
      engines.push(pytorch(values.python ?? '', network, values.threads, layout));
    }
    for (const engine of engines) await steps(engine, 3);
    for (const engine of engines) engine.times.length = 0;
    for (let round = 0; round < Number(values.rounds); round += 1) {
      for (const engine of engines) await steps(engine, Number(values.steps));
    }
    console.log(`${network}: ${engines.map((engine) => describe(engine, engines[1])).join(' | ')}`);
    for (const engine of engines) engine.process.stdin.end();
    if (values.profile) await profile(network, values.threads);
  }
}

function describe(engine: Engine, peer: Engine | undefined): string {
  const ratio = peer === undefined ? '' : ` ${(median(engine.times) / median(peer.times)).toFixed(2)}x`;
  const times = `${median(engine.times).toFixed(0)} (${Math.min(...engine.times).toFixed(0)}) ms${ratio}`;
  return `${engine.label} ${times}, ${engine.peakMb.toFixed(0)} MB`;
}

function ours(network: string, threads: string, profilePrefix?: string): Engine {
  const script = join(import.meta.dirname, 'steps.ts');
  const extra = profilePrefix === undefined ? [] : [profilePrefix];
  return engine('ours', process.execPath, ['--import', 'tsx', script, network, threads, ...extra]);
}

function pytorch(python: string, network: string, threads: string, layout: string): Engine {
  const script = join(import.meta.dirname, 'pytorch_steps.py');
  return engine(`PyTorch ${layout}`, python, [script, network, threads, layout]);
}

function engine(label: string, command: string, args: readonly string[]): Engine {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  return { label, process: child, lines, answers: lines[Symbol.asyncIterator](), times: [], peakMb: 0 };
}

async function steps(engine: Engine, count: number): Promise<void> {
  engine.process.stdin.write(`${count}\n`);
  const line = await engine.answers.next();
  if (line.done === true) throw new Error(`${engine.label} ended early`);
  const answer = JSON.parse(line.value) as { times: number[]; peakMb: number };
  engine.times.push(...answer.times);
  engine.peakMb = answer.peakMb;
}

async function profile(network: string, threads: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-training-'));
  try {
    const count = 8;
    const engine = ours(network, threads, join(folder, 'profile'));
    await steps(engine, count);
    const ended = new Promise((resolve) => engine.process.once('exit', resolve));
    engine.process.stdin.end();
    await ended;
    for (const file of readdirSync(folder)) {
      for (const line of timeByOperator(readFileSync(join(folder, file), 'utf8'), count)) console.log(`  ${line}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}
