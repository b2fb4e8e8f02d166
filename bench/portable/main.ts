/**
 * `npm run bench -- portable [NETS.json] [--folder DIR] [--without-vnni LIB.so]`: int8 that uses all codes beside int8 that is portable, by
 * accuracy on this CPU and, with the library, on a CPU without VNNI. See README.md.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { loadModel } from '../../src/onnx/codec/load.ts';
import { writeModel } from '../../src/onnx/codec/write.ts';
import { runStep, scheduleRecipe } from '../../src/passes/pass-manager.ts';
import type { TargetCpu } from '../../src/passes/pass.ts';
import { resolveRecipe } from '../../src/recipes/resolve.ts';
import { feedsOf, readNets, type Net } from '../nets.ts';
import { passContext } from '../pass-context.ts';

const OWN_NETS = fileURLToPath(new URL('nets.json', import.meta.url));
/** All codes, as other quantizers do; and ours. */
const TARGETS = ['x64-vnni', 'portable'] as const satisfies readonly TargetCpu[];

export async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { folder: { type: 'string' }, 'without-vnni': { type: 'string' } },
  });
  const list = positionals[0] ?? OWN_NETS;
  const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'portable-'));
  mkdirSync(folder, { recursive: true });
  const library = values['without-vnni'];
  const cpuKinds = ['this CPU', ...(library === undefined ? [] : ['without VNNI'])];
  console.log(`${cpus()[0]?.model.trim() ?? ''}; points of top-1 lost; files in ${folder}\n`);
  const columns = cpuKinds.flatMap((cpu) => TARGETS.map((target) => `${target}, ${cpu}`));
  console.log(`| network | ${columns.join(' | ')} | nodes that could saturate |`);
  console.log(`|---${'|---'.repeat(columns.length)}|---|`);
  for (const net of readNets(list)) {
    const files: string[] = [];
    const risks: number[] = [];
    for (const target of TARGETS) {
      const path = join(folder, `${net.name}.${target}.onnx`.replaceAll(' ', '-'));
      risks.push(await quantize(net, target, path));
      files.push(path);
    }
    const lost = cpuKinds.map((_, index) => scores(list, net, files, index === 0 ? undefined : library));
    const cells = lost.flatMap(({ float, top1 }) => top1.map((value) => (float - value).toFixed(2)));
    const float = lost.map((of) => of.float.toFixed(2)).join(' and ');
    console.log(`| ${net.name} (${float}) | ${cells.join(' | ')} | ${risks.join(' and ')} |`);
  }
}

const Risk = z.object({ saturationRisk: z.object({ nodes: z.array(z.string()) }) });

/** Every layer in int8, whatever it gains. @returns how many nodes could saturate */
async function quantize(net: Net, targetCpu: TargetCpu, path: string): Promise<number> {
  const calibration = await feedsOf(net, 'calibration');
  const context = passContext({ targetCpu, data: { calibration: calibration.feeds } });
  const model = await loadModel(net.model);
  let risk = 0;
  for (const step of scheduleRecipe(resolveRecipe('int8').recipe)) {
    const { details } = await runStep(model, step, context);
    if (!step.implicit) risk = Risk.parse(details).saturationRisk.nodes.length;
  }
  await writeModel(model, path);
  await calibration.close();
  return risk;
}

const Scores = z.object({ float: z.number(), top1: z.array(z.number()) });

/** In a process of its own: which kernels ONNX Runtime takes is settled when it loads. */
function scores(list: string, net: Net, files: readonly string[], library?: string): z.output<typeof Scores> {
  const script = fileURLToPath(new URL('score.ts', import.meta.url));
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--import', 'tsx', script, list, net.name, ...files],
    { encoding: 'utf8', env: { ...process.env, ...(library === undefined ? {} : { LD_PRELOAD: library }) } },
  );
  if (status !== 0) throw new Error(stderr);
  return Scores.parse(JSON.parse(stdout.trim().split('\n').at(-1) ?? ''));
}
