import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import type { NdArray } from '../../../../src/onnx/nd-array.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { emptyCostTable, type KernelCostTable } from '../../../../src/passes/cost/kernel-cost-table.ts';
import { runStep } from '../../../../src/passes/pass-manager.ts';
import type { FeedSource } from '../../../../src/passes/pass.ts';
import { pruneChannels } from '../../../../src/passes/prune/channels/prune-channels.ts';
import { blockedTable } from '../../cost/helpers.ts';
import { contextOf, net, noise, outputOf, weight } from '../../quantize/helpers.ts';
import { op } from '../between.ts';

const [SAMPLES, CLASSES, WIDTH] = [64, 3, 64];
const DIMS = [SAMPLES, 16, 4, 4];
/** Channels of one value each. */
const FEEDS: Readonly<Record<string, NdArray>> = {
  x: { type: 'float', dims: DIMS, data: noise(SAMPLES * 256, 9).map((_, at, all) => all[at - (at % 16)] ?? NaN) },
};

const branch = (name: string) => [
  op('Conv', ['x', `${name}_in`], `${name}_c`, { pads: [1, 1, 1, 1] }),
  op('Relu', [`${name}_c`], `${name}_r`),
  op('Conv', [`${name}_r`, `${name}_out`], `${name}_d`),
];

/**
 * Two branches of the same shapes whose scores are added. What `common` adds is large and the same for all classes: without it the
 * outputs move much and no class does. What `telling` adds is small, and all that tells the classes apart: an odd function, so that
 * none of them wins always.
 */
function branches(): Model {
  const row = noise(WIDTH, 5).map((value) => 0.2 + 0.1 * value);
  const filters = noise((WIDTH / 2) * 144, 2).map((value) => 0.3 * value);
  const columns = noise(CLASSES * WIDTH, 4).map(
    (value, at, all) => 0.1 * (at % WIDTH < WIDTH / 2 ? value : -(all[at - WIDTH / 2] ?? NaN)),
  );
  return net({
    nodes: [
      ...branch('common'),
      ...branch('telling'),
      op('Add', ['common_d', 'telling_d'], 'sum'),
      op('GlobalAveragePool', ['sum'], 'mean'),
      op('Flatten', ['mean'], 'y'),
    ],
    tensors: [
      weight('common_in', [WIDTH, 16, 3, 3], 1),
      Tensor.float('telling_in', [...filters, ...filters.map((value) => -value)], [WIDTH, 16, 3, 3]),
      Tensor.float('common_out', [...row, ...row, ...row], [CLASSES, WIDTH, 1, 1]),
      Tensor.float('telling_out', columns, [CLASSES, WIDTH, 1, 1]),
    ],
    inputs: { x: ['n', 16, 4, 4] },
    outputs: { y: ['n', CLASSES] },
  });
}

async function classesOf(model: Model): Promise<number[]> {
  const scores = await outputOf(model, FEEDS);
  return Array.from({ length: SAMPLES }, (_, sample) => {
    const own = scores.slice(CLASSES * sample, CLASSES * (sample + 1));
    return own.indexOf(Math.max(...own));
  });
}

/** The samples with the classes that the whole model gives them. */
async function labelled(): Promise<FeedSource> {
  const data = BigInt64Array.from(await classesOf(branches()), BigInt);
  const labels: NdArray = { type: 'int64', dims: [SAMPLES], data };
  return {
    samples: SAMPLES,
    async *batches() {
      yield await Promise.resolve({ feeds: FEEDS, count: SAMPLES, labels });
    },
  };
}

interface Details {
  readonly macs: { readonly share: number };
  readonly latency?: { readonly share: number };
  readonly accuracyTarget?: { readonly measuredAccuracyDrop: number };
}

async function prune(options: object, costTable = emptyCostTable()) {
  const model = branches();
  const step = { pass: pruneChannels, options: pruneChannels.options.parse({ allocation: 'sensitivity', ...options }) };
  const { details } = await runStep(model, step, contextOf(await labelled(), { costTable }));
  const kept = (name: string): number => model.graph.initializers.get(name)?.dims[0] ?? NaN;
  return {
    model,
    kept: { common: kept('common_in'), telling: kept('telling_in') },
    bytes: encodeModel(model).byteLength,
    details: details as unknown as Details,
  };
}

/** Which branch is cut by which loss. */
const CUT = { metric: 'common', kl: 'common', output: 'telling' } as const;

describe('prune.channels by sensitivity, of a branch that no class depends on and one that all do', () => {
  const before = encodeModel(branches()).byteLength;
  type Pruned = Awaited<ReturnType<typeof prune>>;
  /** Each within reach of one branch alone, as the share that is left. */
  const targets: readonly [object, number, (pruned: Pruned) => number][] = [
    [{ ratio: 0.25 }, 0.75, ({ kept }) => (kept.common + kept.telling) / (2 * WIDTH)],
    [{ macsRatio: 0.7 }, 0.7, ({ details }) => details.macs.share],
    [{ bytesRatio: 0.7 }, 0.7, ({ bytes }) => bytes / before],
    [{ maxBytes: 55_000 }, 55_000 / before, ({ bytes }) => bytes / before],
  ];

  async function assertCut(sensitivity: keyof typeof CUT, costTable: KernelCostTable, of: (typeof targets)[number]) {
    const [target, limit, shareOf] = of;
    const pruned = await prune({ ...target, sensitivity }, costTable);
    const share = shareOf(pruned);
    assert.ok(share <= limit && share > limit - 0.05, `${share} for ${limit}, ${sensitivity}`);
    const { [CUT[sensitivity]]: cut, ...others } = pruned.kept;
    assert.deepEqual(Object.values(others), [WIDTH], `${sensitivity}: ${JSON.stringify(pruned.kept)}`);
    assert.ok(cut < WIDTH);
  }

  for (const target of targets) {
    it(`${Object.keys(target[0]).join()}: is met by the channels that cost the least of what is measured`, async () => {
      for (const sensitivity of ['metric', 'kl', 'output'] as const) {
        await assertCut(sensitivity, emptyCostTable(), target);
      }
    });
  }

  it('latencyRatio: is met by widths that pay, of the channels that cost the least', async () => {
    const shareOf = ({ details }: Pruned): number => details.latency?.share ?? NaN;
    for (const sensitivity of ['metric', 'kl', 'output'] as const) {
      await assertCut(sensitivity, blockedTable(), [{ latencyRatio: 0.83 }, 0.83, shareOf]);
    }
  });

  it('latencyRatio: measures a branch at the widths it can come to', async () => {
    // Blocks of 16: of 64 channels a quarter less brings nothing, of 48 a third does.
    const model = net({
      nodes: [...branch('narrow'), ...branch('wide'), op('Add', ['narrow_d', 'wide_d'], 'y')],
      tensors: [
        weight('wide_in', [64, 16, 3, 3], 1),
        weight('narrow_in', [48, 16, 3, 3], 2),
        weight('wide_out', [CLASSES, 64, 1, 1], 3, 0.1),
        weight('narrow_out', [CLASSES, 48, 1, 1], 4, 0.2),
      ],
      inputs: { x: ['n', 16, 4, 4] },
      outputs: { y: ['n', CLASSES, 4, 4] },
    });
    const options = { latencyRatio: 0.9, allocation: 'sensitivity', sensitivity: 'output' };
    const step = { pass: pruneChannels, options: pruneChannels.options.parse(options) };
    await runStep(model, step, contextOf(await labelled(), { costTable: blockedTable() }));
    const kept = (name: string): number => model.graph.initializers.get(name)?.dims[0] ?? NaN;
    assert.deepEqual([kept('wide_in'), kept('narrow_in')], [48, 48]);
  });

  it('maxAccuracyDrop: takes more where the accuracy itself says what to take, and keeps to it', async () => {
    const labels = await classesOf(branches());
    const removed: number[] = [];
    for (const sensitivity of ['metric', 'output']) {
      const { model, kept, details } = await prune({ maxAccuracyDrop: 0.1, sensitivity });
      const lost = (await classesOf(model)).filter((label, sample) => label !== labels[sample]).length / SAMPLES;
      assert.ok(lost <= 0.1, `${lost} lost`);
      assert.equal(details.accuracyTarget?.measuredAccuracyDrop, lost);
      removed.push(2 * WIDTH - kept.common - kept.telling);
      // No class depends on it, so all goes that may: maxRatio is 0.9.
      if (sensitivity === 'metric') assert.equal(kept.common, WIDTH - Math.floor(0.9 * WIDTH));
    }
    const [byMetric = 0, byOutput = 0] = removed;
    assert.ok(byMetric > byOutput, `${byMetric} and ${byOutput} channels`);
  });
});
