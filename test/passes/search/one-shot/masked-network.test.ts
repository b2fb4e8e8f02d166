import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { GraphBuilder } from '../../../../src/onnx/graph-builder.ts';
import { sortTopologically } from '../../../../src/onnx/verify/topological-order.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { takeWeights } from '../../../../src/passes/search/one-shot/extract.ts';
import { lineUp, survey } from '../../../../src/passes/search/one-shot/line-up.ts';
import { insertMasks, maskFeeds } from '../../../../src/passes/search/one-shot/masked-network.ts';
import { createRuntime } from '../../../../src/runtime/onnxruntime.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';
import { networkWithoutWeights } from '../../../../src/zoo/build-architecture.ts';
import { largestDifference, livelyNetwork, noise } from './networks.ts';

const folder = mkdtempSync(join(tmpdir(), 'masked-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const runtime = createRuntime(folder);

type Request = Parameters<typeof livelyNetwork>[0];

const small8 = { inputSize: 8, classes: 4 };
const staged = (...stages: readonly object[]): Request => ({
  architecture: 'staged',
  ...small8,
  stemChannels: 8,
  uniform: true,
  headChannels: 24,
  stages,
});

const PAIRS: readonly (readonly [name: string, large: Request, small: Request])[] = [
  [
    'basic blocks in width, depth, kernel, expansion and groups',
    staged({ blocks: 3, channels: 8, kernel: 7, expansion: 2 }, { blocks: 2, channels: 16, kernel: 5, stride: 2 }),
    staged({ blocks: 1, channels: 6, kernel: 3, expansion: 1 }, { blocks: 2, channels: 10, kernel: 3, stride: 2 }),
  ],
  [
    'bottlenecks with squeeze-and-excitation',
    staged({ block: 'bottleneck', blocks: 2, channels: 16, kernel: 5, expansion: 1, squeezeExcite: true }),
    staged({ block: 'bottleneck', blocks: 1, channels: 12, kernel: 3, expansion: 2, squeezeExcite: true }),
  ],
  [
    'inverted residuals with squeeze-and-excitation',
    staged(
      { block: 'inverted', blocks: 3, channels: 8, kernel: 5, expansion: 4, squeezeExcite: true },
      { block: 'inverted', blocks: 2, channels: 12, expansion: 3, stride: 2 },
    ),
    staged(
      { block: 'inverted', blocks: 2, channels: 5, kernel: 3, expansion: 1, squeezeExcite: true },
      { block: 'inverted', blocks: 1, channels: 12, expansion: 2, stride: 2 },
    ),
  ],
  [
    'separable and plain convolutions, blocks that add nothing',
    staged({ block: 'separable', blocks: 3, channels: 16, kernel: 5 }, { block: 'plain', blocks: 2, channels: 12 }),
    staged({ block: 'separable', blocks: 1, channels: 7, kernel: 3 }, { block: 'plain', blocks: 1, channels: 9 }),
  ],
  [
    'resnet in depth and width',
    { architecture: 'resnet', depth: 14, width: 0.5, ...small8 },
    { architecture: 'resnet', depth: 8, width: 0.25, ...small8 },
  ],
  [
    'mobilenet-v2 in depth and width',
    { architecture: 'mobilenet-v2', depth: 0.5, width: 1, ...small8 },
    { architecture: 'mobilenet-v2', depth: 0.3, width: 0.75, ...small8 },
  ],
  [
    'mobilenet-v3 in width',
    { architecture: 'mobilenet-v3', width: 1, ...small8 },
    { architecture: 'mobilenet-v3', width: 0.75, ...small8 },
  ],
  ['mlp in width', { architecture: 'mlp', width: 16, ...small8 }, { architecture: 'mlp', width: 6, ...small8 }],
];

describe('a network under masks', () => {
  for (const [name, largeRequest, smallRequest] of PAIRS) {
    it(`computes what the network taken out of it does: ${name}`, async () => {
      const large = livelyNetwork(largeRequest);
      const small = networkWithoutWeights(smallRequest);
      const found = lineUp(survey(large), survey(small));
      assert.ok(typeof found !== 'string', typeof found === 'string' ? found : '');
      takeWeights(small, large, found);
      const masked = copyModel(large);
      const builder = new GraphBuilder(masked.graph);
      const kernels = new Set([...found.dims].filter(([, dims]) => dims.length === 4).map(([weight]) => weight));
      const masks = insertMasks(builder, { kernels, blocks: found.left });
      sortTopologically(masked.graph);
      verifyModel(masked);
      const input = noise([3, 3, 8, 8]);
      const whole = await runtime.createSession(masked, { threads: 1 });
      const part = await runtime.createSession(small, { threads: 1 });
      const [one, other] = [
        (await whole.run({ input, ...maskFeeds(masks, found) })).get('logits')?.data,
        (await part.run({ input })).get('logits')?.data,
      ];
      await whole.release();
      await part.release();
      assert.ok(one instanceof Float32Array && other instanceof Float32Array);
      assert.ok(
        other.some((value) => Math.abs(value) > 0.01),
        'the outputs say something',
      );
      // Sums of float32 in another order.
      assert.ok(largestDifference(one, other) < 1e-4);
    });
  }
});

describe('lineUp', () => {
  const problem = (large: Request, small: Request): string => {
    const found = lineUp(survey(networkWithoutWeights(large)), survey(networkWithoutWeights(small)));
    return typeof found === 'string' ? found : 'none';
  };

  it('says which layer of a network is no part of the large one', () => {
    const inverted = { block: 'inverted', channels: 8 };
    assert.match(problem(staged(inverted), staged({ channels: 8 })), /^\S+: /);
    assert.match(
      problem(staged({ channels: 8 }), staged({ channels: 9 })),
      /\[9, 8, 3, 3\], no part of \[8, 8, 3, 3\]/,
    );
    assert.match(problem(staged({ channels: 8 }), staged({ channels: 8, groups: 2 })), /groups/);
    assert.match(problem(staged({ channels: 8, stride: 2 }), staged({ channels: 8 })), /strides/);
    assert.match(problem(staged({ channels: 8 }), { ...staged({ channels: 8 }), activation: 'relu6' }), /Relu|Clip/);
    assert.match(problem(staged({ channels: 8 }), { ...staged({ channels: 8 }), inputSize: 12 }), /sizes/);
  });

  it('refuses operators that mix channels, and shortcuts that come and go', () => {
    const shuffle = (channels: number): Request => staged({ block: 'shuffle', blocks: 2, channels, stride: 2 });
    assert.match(problem(shuffle(16), shuffle(8)), /share weights|differs|another value/);
    const free = (channels: number): Request => ({ ...staged({ channels }), uniform: false });
    assert.match(problem(free(12), free(8)), /only the largest network has this layer/);
    const padded = { architecture: 'resnet', depth: 8, shortcut: 'pad', ...small8 };
    assert.match(
      problem({ ...padded, width: 0.5 }, { ...padded, width: 0.25 }),
      /Pad|Slice|reads another value|differs/,
    );
  });
});
