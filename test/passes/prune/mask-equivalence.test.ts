import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { macsOf } from '../../../src/onnx/cost/macs.ts';
import { typesAtBatchOne } from '../../../src/onnx/cost/types-for-cost.ts';
import { countWeightElements } from '../../../src/onnx/print/summarize-model.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { FloatLatency } from '../../../src/passes/cost/float-latency.ts';
import { ChannelCosts } from '../../../src/passes/prune/channels/channel-costs.ts';
import { removeChannels } from '../../../src/passes/prune/channels/remove-channels.ts';
import { analyzeChannels } from '../../../src/passes/prune/groups/analyze-channels.ts';
import { channelGroups } from '../../../src/passes/prune/groups/channel-groups.ts';
import { copyModel } from '../../../src/training/copy-model.ts';
import { buildArchitecture, type ArchitectureRequest } from '../../../src/zoo/build-architecture.ts';
import { blockedTable } from '../cost/helpers.ts';
import { maskRemoved, noiseFeeds, randomizeVectors, randomRemoval, relativeDifference, run } from './helpers.ts';

/** Small networks of every family of the zoo, with the parts that couple channels in different ways. */
const NETWORKS: readonly ArchitectureRequest[] = [
  { architecture: 'resnet', depth: 8, width: 0.5, shortcut: 'pad' },
  { architecture: 'resnet', depth: 8, width: 0.5 },
  { architecture: 'resnet', depth: 50, stages: 'four', width: 0.0625, bottleneckWidth: 2 },
  { architecture: 'wide-resnet', depth: 10, width: 0.5 },
  { architecture: 'densenet', depth: 16, growthRate: 4 },
  { architecture: 'densenet', depth: 13, growthRate: 3, bottleneck: false },
  { architecture: 'squeezenet', width: 0.125 },
  { architecture: 'mobilenet-v1', width: 0.125 },
  { architecture: 'mobilenet-v2', width: 0.125 },
  { architecture: 'mobilenet-v3', width: 0.25 },
  { architecture: 'shufflenet-v1', width: 0.25, groups: 2 },
  { architecture: 'shufflenet-v1', width: 0.25, groups: 3 },
  { architecture: 'shufflenet-v1', width: 0.25, groups: 4 },
  { architecture: 'shufflenet-v1', width: 0.5, groups: 8 },
  { architecture: 'shufflenet-v2', width: 0.25 },
  { architecture: 'addernet', depth: 8, width: 0.25 },
  { architecture: 'vgg', width: 0.125 },
  { architecture: 'mlp' },
  { architecture: 'vit', width: 24, heads: 3, depth: 2 },
  { architecture: 'vit', width: 16, heads: 4, depth: 1, pool: 'token' },
  {
    architecture: 'staged',
    stemChannels: 8,
    stages: [
      { block: 'basic', channels: 8 },
      { block: 'bottleneck', channels: 12, expansion: 2, groups: 2 },
      { block: 'inverted', channels: 12, kernel: 5, expansion: 2, stride: 2, squeezeExcite: true },
      { block: 'separable', channels: 16 },
      { block: 'shuffle', channels: 16 },
      { block: 'plain', channels: 12, groups: 2 },
    ],
    headChannels: 20,
  },
];
const SHARES = [0.1, 0.3, 0.5, 0.7, 0.9, 1] as const;
const SEEDS_PER_SHARE = 3;

/**
 * Both graphs compute the same sums without the zeros, in another order at most: float32 rounding, some 1e-7, grows by the
 * depth and by what normalization scales up. A channel in the wrong place changes the result by tens of percent.
 */
const TOLERANCE = 1e-4;

describe('removing channels is the same as holding them at zero', () => {
  for (const request of NETWORKS) {
    it(JSON.stringify(request), async () => {
      for (const share of SHARES) {
        for (let seed = 1; seed <= SEEDS_PER_SHARE; seed += 1) await checkCase(request, share, seed);
      }
    });
  }
});

async function checkCase(request: ArchitectureRequest, share: number, seed: number): Promise<void> {
  const what = `${JSON.stringify(request)} share ${share} seed ${seed}`;
  const model = buildArchitecture({ inputSize: 8, ...request, classes: 5 }, seed);
  randomizeVectors(model, seed);
  const masked = copyModel(model);
  const analysis = analyzeChannels(model);
  const { groups } = channelGroups(analysis);
  const removed = randomRemoval(analysis, groups, { share, seed: 100 * seed + Math.round(10 * share) });
  maskRemoved(masked, analysis, removed);
  const expected = new ChannelCosts(analysis, new FloatLatency(blockedTable())).without(removed);
  assert.equal(removeChannels(analysis, removed) > 0, removed.includes(1), what);
  verifyModel(model);

  const { bytes, latencyNs, ...counts } = expected;
  const counted = { macs: macsOf(model).total, parameters: countWeightElements(model) };
  assert.deepEqual(counted, counts, `${what}: counts from the file`);
  const types = typesAtBatchOne(model);
  const sizesOf = (value: string) => types.shape(model.graph, value) as number[] | undefined;
  assert.equal(latencyNs, new FloatLatency(blockedTable()).of(model.graph)(sizesOf), `${what}: time of the file`);
  assert.ok(encodeModel(model).byteLength <= bytes, `${what}: bytes of the file, at most`);
  const feeds = noiseFeeds(model, seed, 1 + (seed % 2));
  const difference = relativeDifference(await run(masked, feeds), await run(model, feeds));
  assert.ok(difference <= TOLERANCE, `${what}: relative difference ${difference}`);
}
