/**
 * Child of the streaming benchmark: `stream.ts quantize MODEL OUTPUT OPTIONS` or `stream.ts copy FROM TO`. Prints seconds and the
 * process's peak memory as JSON: a process of its own for each, since peaks do not go down.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { loadModel } from '../../src/onnx/codec/load.ts';
import { TensorSpool } from '../../src/onnx/codec/tensor-spool.ts';
import { writeModel } from '../../src/onnx/codec/write.ts';
import { runStep } from '../../src/passes/pass-manager.ts';
import { quantizeWeights } from '../../src/passes/quantize/weights-only/quantize-weights.ts';
import type { Runtime } from '../../src/runtime/session.ts';
import { passContext } from '../pass-context.ts';

export interface StreamResult {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

const [command = '', from = '', to = '', options = '{}'] = process.argv.slice(2);
const started = performance.now();
if (command === 'copy') copy(from, to);
else await quantize(from, to, JSON.parse(options));
const { user, system } = process.cpuUsage();
const result: StreamResult = {
  seconds: (performance.now() - started) / 1000,
  cpuSeconds: (user + system) / 1e6,
  peakBytes: process.resourceUsage().maxRSS * 1024,
};
console.log(JSON.stringify(result));

/** Read and written in stretches of 4 MiB, on disk when it is over. */
function copy(source: string, target: string): void {
  const buffer = new Uint8Array(4 * 2 ** 20);
  const [input, output] = [openSync(source, 'r'), openSync(target, 'w')];
  for (;;) {
    const length = readSync(input, buffer, 0, buffer.length, null);
    if (length === 0) break;
    writeSync(output, buffer, 0, length);
  }
  fsyncSync(output);
  closeSync(input);
  closeSync(output);
}

async function quantize(path: string, target: string, given: unknown): Promise<void> {
  mkdirSync(dirname(target), { recursive: true });
  const spool = new TensorSpool(join(dirname(target), 'spool.bin'));
  // Rounding to nearest runs no model.
  const context = passContext({ runtime: { version: 'none' } as Runtime, spool });
  const model = await loadModel(path);
  await runStep(model, { pass: quantizeWeights, options: quantizeWeights.options.parse(given) }, context);
  await writeModel(model, target, { externalData: { location: 'model.onnx.data', thresholdBytes: 65536 } });
  spool.remove();
  for (const name of [target, join(dirname(target), 'model.onnx.data')]) {
    const file = openSync(name, 'r+');
    fsyncSync(file);
    closeSync(file);
  }
}
