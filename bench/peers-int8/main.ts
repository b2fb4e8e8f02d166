/**
 * `npm run bench -- peers-int8 NETS.json [--folder DIR] [--python PY] [--inc-python PY] [--presets int8,int8-accurate] [--choose-by test]`: image
 * classifiers quantized by other tools and by presets, on the same calibration images, scored on the same test images. See README.md.
 */
import { existsSync, mkdirSync, mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { defined } from '../../src/errors.ts';
import { measureKernelCosts } from '../../src/passes/cost/kernel-cost-table.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import type { Session } from '../../src/runtime/session.ts';
import { latencies, processorMs, topOne } from '../quantize/measure.ts';
import { feedsOf, PartSchema, readNets, type Net } from '../nets.ts';
import { tables, type Row } from './tables.ts';
import { modelPath, PEERS, runOurs, runPeer, type Made, type PeerName } from './tools.ts';

export async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      folder: { type: 'string' },
      python: { type: 'string' },
      'inc-python': { type: 'string' },
      presets: { type: 'string', default: 'int8,int8-accurate' },
      'choose-by': { type: 'string', default: 'choice' },
    },
  });
  const list = defined(positionals[0], 'NETS.json');
  const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'peers-int8-'));
  mkdirSync(folder, { recursive: true });
  const runtime = createRuntime(folder);
  const costs = join(folder, 'costs.json');
  if (!existsSync(costs)) writeFileSync(costs, JSON.stringify(await measureKernelCosts(runtime, { threads: 1 })));
  const part = PartSchema.parse(values['choose-by']);
  const presets = values.presets.split(',').filter((name) => name !== '');
  const rows: Row[] = [];
  for (const net of readNets(list)) {
    const made = new Map<string, Made>();
    for (const tool of Object.keys(PEERS) as PeerName[]) {
      const found = runPeer(tool, net, folder, tool === 'inc' ? values['inc-python'] : values.python);
      if (found !== undefined) made.set(tool, found);
    }
    for (const preset of presets) made.set(preset, runOurs(preset, net, { folder, list, costs, part }));
    const row = await score(net, made, folder);
    rows.push(row);
    writeFileSync(join(folder, 'results.json'), JSON.stringify(rows, null, 2));
    console.log(JSON.stringify(row));
  }
  const heads = { ...PEERS, ...Object.fromEntries(presets.map((preset) => [preset, `\`${preset}\``])) };
  console.log(`\n${cpus()[0]?.model.trim() ?? ''}, ${runtime.version}, one thread, files in ${folder}\n`);
  console.log(tables(rows, heads));

  /** Accuracy with one session alive at a time, processor time with all of them in turns. */
  async function score({ name, ...net }: Net, all: ReadonlyMap<string, Made>, from: string): Promise<Row> {
    const { feeds, close } = await feedsOf({ name, ...net }, 'test');
    const sessionOf = (path: string): Promise<Session> => runtime.createSession({ path }, { threads: 1 });
    const accuracyOf = async (path: string): Promise<number> => {
      const session = await sessionOf(path);
      try {
        return 100 * (await topOne(session, feeds));
      } finally {
        await session.release();
      }
    };
    const float = await accuracyOf(net.model);
    const row: Row = { name, float, bytes: statSync(net.model).size, images: feeds.samples, tools: {} };
    const scored: string[] = [];
    for (const [tool, made] of all) {
      const path = modelPath(from, { name, ...net }, tool);
      let { error } = made;
      let top1 = NaN;
      if (error === undefined) {
        try {
          top1 = await accuracyOf(path);
          scored.push(tool);
        } catch (failure) {
          error = `does not run: ${String(failure).slice(0, 300)}`;
        }
      }
      row.tools[tool] =
        error === undefined ? { ...made, top1, lost: float - top1, bytes: statSync(path).size } : { ...made, error };
    }
    const paths = [net.model, ...scored.map((tool) => modelPath(from, { name, ...net }, tool))];
    const sessions = await Promise.all(paths.map(sessionOf));
    const times = await latencies(sessions, feeds, processorMs);
    for (const [index, tool] of scored.entries()) {
      const result = row.tools[tool];
      if (result !== undefined) result.speedup = (times[0] ?? NaN) / (times[index + 1] ?? NaN);
    }
    for (const session of sessions) await session.release();
    await close();
    return row;
  }
}
