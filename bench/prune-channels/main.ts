/**
 * `npm run bench -- prune-channels [--repeats 5]`: the time it takes to find what channels go together, and to take half of each
 * group out, for networks of the zoo; and of the whole pass by l2, to half of the MACs. Median ms, without reading or writing files.
 */
import { parseArgs } from 'node:util';
import { median } from '../../src/evaluation/statistics.ts';
import type { Model } from '../../src/onnx/model.ts';
import { canonicalize } from '../../src/passes/canonicalize/canonicalize.ts';
import { pruneChannels } from '../../src/passes/prune/channels/prune-channels.ts';
import { removeChannels } from '../../src/passes/prune/channels/remove-channels.ts';
import { analyzeChannels } from '../../src/passes/prune/groups/analyze-channels.ts';
import { channelGroups } from '../../src/passes/prune/groups/channel-groups.ts';
import { separateVectors } from '../../src/passes/prune/groups/separate-vectors.ts';
import { copyModel } from '../../src/training/copy-model.ts';
import { buildArchitecture, type ArchitectureRequest } from '../../src/zoo/build-architecture.ts';
import { passContext } from '../pass-context.ts';

/** Limits in ms for grouping and removal together, where there is one. */
const NETWORKS: readonly { readonly name: string; readonly request: ArchitectureRequest; readonly limitMs?: number }[] =
  [
    {
      name: 'ResNet-50',
      request: { architecture: 'resnet', depth: 50, stages: 'four', inputSize: 224, classes: 1000 },
      limitMs: 1000,
    },
    {
      name: 'DenseNet-201',
      request: { architecture: 'densenet', depth: 201, growthRate: 32, inputSize: 224, classes: 1000 },
      limitMs: 3000,
    },
    { name: 'DenseNet-BC-202, k = 12', request: { architecture: 'densenet', depth: 202 }, limitMs: 3000 },
    {
      name: 'MobileNetV2',
      request: { architecture: 'mobilenet-v2', inputSize: 224, classes: 1000 },
    },
    {
      name: 'ShuffleNetV1, 8 groups',
      request: { architecture: 'shufflenet-v1', groups: 8, inputSize: 224, classes: 1000 },
    },
    {
      name: 'ViT-S, 12 blocks',
      request: { architecture: 'vit', width: 384, heads: 6, depth: 12, inputSize: 224, patchSize: 16, classes: 1000 },
    },
  ];

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { repeats: { type: 'string', default: '5' } } });
  const repeats = Number(values.repeats);
  console.log('| network | nodes | groups | channels | grouping ms | removal ms | limit | whole pass ms |');
  console.log('|---|---|---|---|---|---|---|---|');
  for (const { name, request, limitMs } of NETWORKS) {
    const model = buildArchitecture(request, 1);
    const folded = canonicalize.options.parse({ foldBatchNormalization: false });
    await canonicalize.run(model, folded, passContext());
    const times = { grouping: [] as number[], removal: [] as number[], pass: [] as number[] };
    let [groups, channels] = [0, 0];
    for (let round = 0; round < repeats; round += 1) {
      const copy = copyModel(model);
      const found = timed(times.grouping, () => {
        separateVectors(copy.graph);
        const analysis = analyzeChannels(copy);
        return { analysis, groups: channelGroups(analysis).groups };
      });
      groups = found.groups.length;
      channels = found.groups.reduce((sum, { roots }) => sum + roots.length, 0);
      const removed = new Uint8Array(found.analysis.atoms.count);
      for (const { roots } of found.groups) for (const root of roots.subarray(0, roots.length / 2)) removed[root] = 1;
      timed(times.removal, () => removeChannels(found.analysis, removed));
      times.pass.push(await wholePass(copyModel(model)));
    }
    const [grouping, removal, pass] = [times.grouping, times.removal, times.pass].map(median);
    const limit = limitMs === undefined ? '' : `${limitMs}`;
    const row = [name, model.graph.nodes.length, groups, channels, ms(grouping), ms(removal), limit, ms(pass)];
    console.log(`| ${row.join(' | ')} |`);
  }
}

async function wholePass(model: Model): Promise<number> {
  const started = performance.now();
  await pruneChannels.run(model, pruneChannels.options.parse({ macsRatio: 0.5 }), passContext());
  return performance.now() - started;
}

function timed<Result>(into: number[], work: () => Result): Result {
  const started = performance.now();
  const result = work();
  into.push(performance.now() - started);
  return result;
}

function ms(value = NaN): string {
  return value.toFixed(0);
}
