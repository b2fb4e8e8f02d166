import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { CALIBRATION_IMAGES, type Net, type Part } from '../nets.ts';

const MadeSchema = z.object({
  seconds: z.number(),
  peakBytes: z.number(),
  error: z.string().optional(),
  notes: z.array(z.string()).optional(),
});
/** What quantizing took, by the process that did it; `error`: why there is no file. */
export type Made = z.output<typeof MadeSchema>;

/** Tools other than ours, by the names that peers.py knows, with the heads of their columns. */
export const PEERS = {
  ort: 'ORT',
  'ort-rr': 'ORT rr',
  'ort-dynamic': 'ORT dynamic',
  nncf: 'NNCF',
  inc: 'INC',
} as const;
export type PeerName = keyof typeof PEERS;

const LIMIT_MS = 3_600_000;

/** Quantizes with another tool, or reads what an earlier run of it left in the folder. Undefined: neither is there. */
export function runPeer(tool: PeerName, net: Net, folder: string, python: string | undefined): Made | undefined {
  const target = modelPath(folder, net, tool);
  const record = target.replace(/onnx$/, 'json');
  if (existsSync(record)) return MadeSchema.parse(JSON.parse(readFileSync(record, 'utf8')));
  if (python === undefined) return undefined;
  const script = fileURLToPath(new URL('peers.py', import.meta.url));
  const files = [net.model, target, net.calibration].map((path) => resolve(path));
  const numbers = [String(CALIBRATION_IMAGES), net.mean.join(','), net.std.join(','), String(net.batch)];
  const program = python.includes('/') ? resolve(python) : python;
  const made = run(program, [script, tool, ...files, ...numbers], folder);
  writeFileSync(record, JSON.stringify(made));
  return made;
}

export function runOurs(
  preset: string,
  net: Net,
  given: { folder: string; list: string; costs: string; part: Part },
): Made {
  const script = fileURLToPath(new URL('ours.ts', import.meta.url));
  const target = modelPath(given.folder, net, preset);
  return run(process.execPath, [
    '--import',
    'tsx',
    script,
    given.list,
    net.name,
    preset,
    given.costs,
    target,
    given.part,
  ]);
}

export function modelPath(folder: string, net: Net, tool: string): string {
  return join(folder, `${net.name}.${tool}.onnx`.replaceAll(' ', '-'));
}

/** @param cwd - some tools leave files of their own where they are started */
function run(program: string, args: readonly string[], cwd?: string): Made {
  const started = performance.now();
  const { stdout, stderr, status } = spawnSync(program, args, { encoding: 'utf8', timeout: LIMIT_MS, cwd });
  const seconds = (performance.now() - started) / 1000;
  if (status !== 0) {
    const last = stderr.trim().split('\n').slice(-12).join('\n');
    return { seconds, peakBytes: 0, error: `ended with ${status ?? 'a signal'}: ${last}` };
  }
  return MadeSchema.parse(JSON.parse(stdout.trim().split('\n').at(-1) ?? ''));
}
