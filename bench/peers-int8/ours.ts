/**
 * Child of the benchmark: `ours.ts NETS.json NAME PRESET COSTS.json OUT.onnx PART` quantizes one net with a preset and prints one line of
 * JSON, like peers.py: a process of its own, since peaks of memory do not go down.
 */
import { readFileSync } from 'node:fs';
import { defined } from '../../src/errors.ts';
import { loadModel } from '../../src/onnx/codec/load.ts';
import { writeModel } from '../../src/onnx/codec/write.ts';
import { KernelCostTableSchema } from '../../src/passes/cost/kernel-cost-table.ts';
import { runStep, scheduleRecipe } from '../../src/passes/pass-manager.ts';
import { resolveRecipe } from '../../src/recipes/resolve.ts';
import { passContext } from '../pass-context.ts';
import { feedsOf, PartSchema, readNets } from '../nets.ts';
import type { Made } from './tools.ts';

const [list = '', name = '', preset = '', costs = '', target = '', part = ''] = process.argv.slice(2);
const started = performance.now();
const net = defined(
  readNets(list).find((one) => one.name === name),
  name,
);
const calibration = await feedsOf(net, 'calibration');
const choice = await feedsOf(net, PartSchema.parse(part));
const context = passContext({
  data: { calibration: calibration.feeds, evaluation: choice.feeds },
  costTable: KernelCostTableSchema.parse(JSON.parse(readFileSync(costs, 'utf8'))),
});
const model = await loadModel(net.model);
const notes: string[] = [];
for (const step of scheduleRecipe(resolveRecipe(preset).recipe)) {
  const { changes, skipped, details } = await runStep(model, step, context);
  if (step.implicit) continue;
  const slow = skipped.filter(({ reason }) => reason.startsWith('int8 would not be faster')).length;
  notes.push(`${changes} nodes quantized, ${slow} left in float for speed`);
  const accuracy = details['accuracy'] as { chosen: object } | undefined;
  if (accuracy !== undefined) notes.push(`added ${JSON.stringify(accuracy.chosen)}`);
}
await writeModel(model, target);
await calibration.close();
await choice.close();
const made: Made = {
  seconds: (performance.now() - started) / 1000,
  peakBytes: process.resourceUsage().maxRSS * 1024,
  notes,
};
console.log(JSON.stringify(made));
