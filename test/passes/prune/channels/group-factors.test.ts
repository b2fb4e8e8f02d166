import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ChannelChooser } from '../../../../src/passes/prune/channels/choose-channels.ts';
import { factorsOf, layerOf } from '../../../../src/passes/prune/channels/group-factors.ts';
import { pruneChannels } from '../../../../src/passes/prune/channels/prune-channels.ts';
import { analyzeChannels } from '../../../../src/passes/prune/groups/analyze-channels.ts';
import { channelGroups } from '../../../../src/passes/prune/groups/channel-groups.ts';
import { runStep } from '../../../../src/passes/pass-manager.ts';
import { buildArchitecture } from '../../../../src/zoo/build-architecture.ts';
import { contextOf } from '../../quantize/helpers.ts';

const resnet8 = () => buildArchitecture({ architecture: 'resnet', depth: 8, shortcut: 'pad' }, 1);

interface Details {
  readonly macs: { readonly share: number };
  readonly groups: readonly { readonly name: string; readonly of: number; readonly kept: number }[];
}

async function prune(options: object): Promise<Details> {
  const step = {
    pass: pruneChannels,
    options: pruneChannels.options.parse({ scope: 'local', speed: 'ignore', ...options }),
  };
  return (await runStep(resnet8(), step, contextOf())).details as unknown as Details;
}

describe('factors of prune.channels', () => {
  const { groups } = channelGroups(analyzeChannels(resnet8()));
  const layers = groups.map(layerOf);
  const [first = '', second = ''] = layers;

  it('names a layer for each group, each once', () => {
    assert.equal(new Set(layers).size, groups.length);
    assert.deepEqual(pruneChannels.layers?.(resnet8(), pruneChannels.options.parse({})), layers);
  });

  it('multiplies the share that a group loses: 0 nothing, 2 twice as much', async () => {
    const { groups: cut } = await prune({ ratio: 0.25, factors: { [first]: 0, [second]: 2 } });
    const shares = cut.map(({ of, kept }) => 1 - kept / of);
    assert.equal(shares[0], 0);
    assert.equal(shares[1], 0.5);
    assert.ok(
      shares.slice(2).every((share) => share === 0.25),
      shares.join(' '),
    );
  });

  it('meets a target of MACs whatever the factors, and only their proportions matter', async () => {
    const small = await prune({ macsRatio: 0.5, factors: { '*': 0.1, [first]: 0.3 } });
    const large = await prune({ macsRatio: 0.5, factors: { '*': 1, [first]: 3 } });
    assert.ok(small.macs.share <= 0.5 && small.macs.share > 0.45, String(small.macs.share));
    assert.deepEqual(
      small.groups.map(({ kept }) => kept),
      large.groups.map(({ kept }) => kept),
    );
  });

  it('goes with scope local, and takes the last of several globs', () => {
    const refused = pruneChannels.options.safeParse({ factors: { '*': 1 } });
    assert.match(String(refused.error?.issues[0]?.message), /scope "local"/);
    assert.deepEqual(factorsOf(groups, { '*': 0.5, [first]: 1 }, 'ratio').slice(0, 2), [1, 0.5]);
  });

  it('refuses a glob that matches nothing, with the layers there are', () => {
    assert.throws(() => factorsOf(groups, { nothing: 1 }, 'ratio'), {
      code: 'RECIPE_NO_MATCH',
      message: new RegExp(`factors "nothing".*${first.replaceAll('.', '\\.')}`),
    });
  });

  it('leaves one channel at least', () => {
    const [group] = groups;
    assert.ok(group);
    const scores = Float64Array.from(group.roots, (_, index) => index);
    const chooser = new ChannelChooser([{ group, scores, factor: 16 }], { scope: 'local', roundTo: 1, maxRatio: 0.9 });
    assert.equal(chooser.keptCounts(0.5)[0], chooser.leastKept(0));
  });
});
