/**
 * `npm run bench -- weight-only stream [--gigabytes 1] [--folder DIR] [--options JSON]`: writes a transformer-shaped model with
 * external data, copies it, quantizes its weights from file to file, and says seconds and peak memory of both.
 *
 * `npm run bench -- weight-only compare FOLDER [PEER.onnx ...]`: the small network of llama_char.py through every algorithm, and files
 * that other tools made of it: bytes and negative log-likelihood. See README.md.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import { checkLayers } from './check-layers.ts';
import { compare } from './compare.ts';
import { shapeOfBytes, writeTransformer } from './transformer.ts';
import type { StreamResult } from './stream.ts';

export async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      gigabytes: { type: 'string', default: '1' },
      folder: { type: 'string' },
      options: { type: 'string', default: '{}' },
      samples: { type: 'string', default: '256' },
    },
  });
  const [command = 'stream', ...rest] = positionals;
  if (command === 'compare') {
    const [folder = '.', ...peers] = rest;
    await compare(folder, peers, Number(values.samples));
    return;
  }
  await stream(Number(values.gigabytes), values.folder ?? tmpdir(), values.options);
}

async function stream(gigabytes: number, parent: string, options: string): Promise<void> {
  const folder = mkdtempSync(join(parent, 'weight-only-'));
  try {
    const path = await writeTransformer(folder, shapeOfBytes(gigabytes * 1e9));
    rmSync(join(folder, 'source.bin'));
    const data = join(folder, 'model.onnx.data');
    const target = join(folder, 'result', 'model.onnx');
    mkdirSync(join(folder, 'result'));
    const quantized = child('quantize', path, target, options);
    const copied = child('copy', data, join(folder, 'copy.bin'));
    rmSync(join(folder, 'copy.bin'));
    const bytes = { before: statSync(data).size, after: statSync(join(folder, 'result', 'model.onnx.data')).size };
    console.log(`bytes ${bytes.before} to ${bytes.after}`);
    console.log(`copy      ${describe(copied)}`);
    console.log(
      `quantize  ${describe(quantized)}, ${(quantized.seconds / copied.seconds).toFixed(2)} of the copy's time`,
    );
    if (options !== '{}') return;
    for (const { layer, difference } of await checkLayers(
      path,
      target,
      ['0.q', '0.up', '0.down'],
      createRuntime(folder),
    )) {
      console.log(
        `layer ${layer}: differs from the plain reference by ${difference.toExponential(1)} of its largest output`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function describe({ seconds, cpuSeconds, peakBytes }: StreamResult): string {
  return `${seconds.toFixed(1)} s (${cpuSeconds.toFixed(1)} s of processor), peak memory ${Math.round(peakBytes / 2 ** 20)} MiB`;
}

function child(...args: readonly string[]): StreamResult {
  const script = fileURLToPath(new URL('stream.ts', import.meta.url));
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--import', 'tsx', script, ...args], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as StreamResult;
}
