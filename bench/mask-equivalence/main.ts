/**
 * `npm run bench -- mask-equivalence FOLDER|FILE… [--shares 0.25,0.5] [--seeds 1,2] [--dimensions '{"seq": 8}']`: for every .onnx file, random channels of each group
 * taken out give the outputs of the model with the same channels held at zero. Weights that the file makes from a constant (models that
 * show a topology only) become random ones first. Largest difference over the largest value, to the original (something has to change) and
 * to the original with zeros; the limit is 1e-4.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { generatedFeeds } from '../../src/data/generated-feeds.ts';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { messageOf } from '../../src/errors.ts';
import { loadModel } from '../../src/onnx/codec/load.ts';
import { macsOf } from '../../src/onnx/cost/macs.ts';
import { NameScope } from '../../src/onnx/graph.ts';
import type { Model } from '../../src/onnx/model.ts';
import { countWeightElements } from '../../src/onnx/print/summarize-model.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { canonicalize } from '../../src/passes/canonicalize/canonicalize.ts';
import { FloatLatency } from '../../src/passes/cost/float-latency.ts';
import { emptyCostTable } from '../../src/passes/cost/kernel-cost-table.ts';
import { ChannelCosts } from '../../src/passes/prune/channels/channel-costs.ts';
import { removeChannels } from '../../src/passes/prune/channels/remove-channels.ts';
import { analyzeChannels } from '../../src/passes/prune/groups/analyze-channels.ts';
import { channelGroups } from '../../src/passes/prune/groups/channel-groups.ts';
import { separateVectors } from '../../src/passes/prune/groups/separate-vectors.ts';
import { copyModel } from '../../src/training/copy-model.ts';
import { maskRemoved, randomRemoval, relativeDifference, run } from '../../test/passes/prune/helpers.ts';
import { passContext } from '../pass-context.ts';

const LIMIT = 1e-4;
/** Nodes whose second input is a weight that a topology may leave to a constant. */
const HAS_WEIGHT = /^(Conv|ConvTranspose|Gemm|MatMul)$/;

export async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      shares: { type: 'string', default: '0.25,0.5' },
      seeds: { type: 'string', default: '1,2' },
      dimensions: { type: 'string', default: '{}' },
    },
  });
  const shares = values.shares.split(',').map(Number);
  const seeds = values.seeds.split(',').map(Number);
  const dimensions = JSON.parse(values.dimensions) as Record<string, number>;
  console.log(
    '| model | groups | channels | frozen layers | cases | removed channels | to the original | to the masked |',
  );
  console.log('|---|---|---|---|---|---|---|---|');
  let worst = 0;
  for (const file of await onnxFiles(positionals)) {
    try {
      const row = await checkModel(file, { shares, seeds, dimensions });
      worst = Math.max(worst, row.difference);
      const counts = [row.groups, row.channels, row.frozen, row.cases, row.removed].join(' | ');
      console.log(`| ${file.name} | ${counts} | ${row.change.toFixed(2)} | ${row.difference.toExponential(1)} |`);
    } catch (error) {
      worst = Infinity;
      console.log(`| ${file.name} | failed: ${messageOf(error).slice(0, 200)} |`);
    }
  }
  console.log(`largest difference ${worst.toExponential(1)} (limit ${LIMIT}: ${worst <= LIMIT ? 'met' : 'MISSED'})`);
}

interface ModelFile {
  readonly name: string;
  readonly path: string;
}

async function onnxFiles(paths: readonly string[]): Promise<readonly ModelFile[]> {
  const found: ModelFile[] = [];
  for (const path of paths) {
    if (!(await stat(path)).isDirectory()) {
      found.push({ name: path, path });
      continue;
    }
    const names = (await readdir(path, { recursive: true })).filter((name) => name.endsWith('.onnx')).sort();
    found.push(...names.map((name) => ({ name, path: join(path, name) })));
  }
  return found;
}

interface Cases {
  readonly shares: readonly number[];
  readonly seeds: readonly number[];
  /** Of open inputs. */
  readonly dimensions: Readonly<Record<string, number>>;
}

async function checkModel(file: ModelFile, { shares, seeds, dimensions }: Cases) {
  const model = await loadModel(file.path);
  await canonicalize.run(
    model,
    canonicalize.options.parse({ foldBatchNormalization: false, constantFoldBytes: 2 ** 30 }),
    passContext(),
  );
  giveRandomWeights(model);
  separateVectors(model.graph);
  const row = { groups: 0, channels: 0, frozen: 0, cases: 0, removed: 0, difference: 0, change: 0 };
  for (const share of shares) {
    for (const seed of seeds) {
      const [pruned, masked] = [copyModel(model), copyModel(model)];
      const analysis = analyzeChannels(pruned);
      const { groups, frozen } = channelGroups(analysis);
      Object.assign(row, { groups: groups.length, frozen: frozen.length });
      row.channels = groups.reduce((sum, { roots }) => sum + roots.length, 0);
      const removed = randomRemoval(analysis, groups, { share, seed });
      const { macs, parameters } = new ChannelCosts(analysis, new FloatLatency(emptyCostTable())).without(removed);
      maskRemoved(masked, analysis, removed);
      removeChannels(analysis, removed);
      row.removed += removed.reduce((sum, one) => sum + one, 0);
      if (macs !== macsOf(pruned).total || parameters !== countWeightElements(pruned))
        throw new Error(
          `MACs or parameters are not those counted from the file: ${macs}, ${parameters}; ${macsOf(pruned).total}, ${countWeightElements(pruned)}`,
        );
      for await (const { feeds } of generatedFeeds(openInputs(model), { seed, samples: 1, dimensions }).batches()) {
        const outputs = await run(pruned, feeds);
        const difference = relativeDifference(await run(masked, feeds), outputs);
        row.difference = Number.isNaN(difference) ? Infinity : Math.max(row.difference, difference);
        row.change = Math.max(row.change, relativeDifference(await run(model, feeds), outputs));
      }
      row.cases += 1;
    }
  }
  return row;
}

function openInputs({ graph }: Model) {
  return graph.inputs.filter(({ name }) => !graph.initializers.has(name));
}

/** Constants and weights that several layers share because all their values are equal become noise, of He's size, for each layer. */
function giveRandomWeights({ graph }: Model): void {
  const random = new SeededRandom(1);
  const names = new NameScope(graph);
  for (const node of graph.nodes) {
    const weight = graph.initializers.get(node.inputs[1] ?? '');
    if (!HAS_WEIGHT.test(node.opType) || weight?.dataType !== 'float') continue;
    const values = weight.floats();
    if (values.some((value) => value !== values[0])) continue;
    const fanIn = weight.elementCount / Math.max(1, weight.dims[0] ?? 1);
    const noise = Float32Array.from(values, () => random.normal() * Math.sqrt(2 / fanIn));
    const name = names.fresh(`${node.inputs[1]}_random`);
    graph.initializers.set(name, Tensor.float(name, noise, weight.dims));
    node.inputs[1] = name;
  }
  const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs));
  for (const name of graph.initializers.keys()) if (!read.has(name)) graph.initializers.delete(name);
}
