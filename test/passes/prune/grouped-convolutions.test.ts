import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { removeChannels } from '../../../src/passes/prune/channels/remove-channels.ts';
import { analyzeChannels } from '../../../src/passes/prune/groups/analyze-channels.ts';
import { channelGroups } from '../../../src/passes/prune/groups/channel-groups.ts';
import { buildArchitecture } from '../../../src/zoo/build-architecture.ts';
import { weight, type NetParts } from '../quantize/helpers.ts';
import { between, op } from './between.ts';
import { assertRemovable, randomRemoval } from './helpers.ts';

/** With the sizes of the groups in order of first use. */
const CASES: Readonly<Record<string, { readonly parts: NetParts; readonly groups: readonly number[] }>> = {
  'grouped convolutions with a channel shuffle between them': {
    parts: between(
      [
        op('Conv', ['a', 'w1', 'b1'], 'b', { group: 3 }),
        op('Reshape', ['b', 'opened'], 'o'),
        op('Transpose', ['o'], 't', { perm: [0, 2, 1, 3, 4] }),
        op('Reshape', ['t', 'closed'], 's'),
        op('Conv', ['s', 'w2'], 'd', { group: 3 }),
      ],
      [
        weight('w_in', [6, 3, 3, 3], 1),
        weight('b_in', [6], 2),
        weight('w1', [12, 2, 1, 1], 4),
        weight('b1', [12], 5),
        weight('w2', [9, 4, 1, 1], 6),
        Tensor.int64('opened', [0, 3, 4, 6, 6]),
        Tensor.int64('closed', [0, 12, 6, 6]),
      ],
      { last: 'd', channels: 9 },
    ),
    // Four columns of three groups each; 3 and 4 have no common divisor, so that every column has an output of each group.
    groups: [2, 4, 3],
  },
  'grouped convolutions of different widths on a sum': {
    parts: between(
      [
        op('Conv', ['a', 'w1'], 'b', { group: 2 }),
        op('Conv', ['a', 'w2'], 'c', { group: 4 }),
        op('Add', ['b', 'c'], 's'),
      ],
      [weight('w1', [12, 4, 1, 1], 4), weight('w2', [12, 2, 1, 1], 5)],
      { last: 's', channels: 12 },
    ),
    groups: [2, 3],
  },
};

describe('grouped convolutions', () => {
  for (const [name, { parts, groups }] of Object.entries(CASES)) {
    it(name, () => assertRemovable(parts, groups));
  }

  for (const groups of [2, 3, 4, 8] as const) {
    it(`every unit of ShuffleNetV1 with ${groups} groups loses channels, as many in each group`, () => {
      const model = buildArchitecture({ architecture: 'shufflenet-v1', groups, classes: 5, inputSize: 32 }, 1);
      const analysis = analyzeChannels(model);
      const { groups: found, frozen } = channelGroups(analysis);
      assert.deepEqual(
        frozen.map(({ reason }) => reason),
        ['"logits" is an output of the graph'],
      );
      const weightOf = (node: Node): readonly number[] =>
        model.graph.initializers.get(node.inputs[1] ?? '')?.dims ?? [];
      const before = new Map(model.graph.nodes.map((node) => [node.name, weightOf(node)]));
      removeChannels(analysis, randomRemoval(analysis, found, { share: 0.5, seed: groups }));
      for (const node of model.graph.nodes) {
        if (node.opType !== 'Conv') continue;
        const [[rows = 0, columns = 0], [oldRows = 0, oldColumns = 0] = []] = [weightOf(node), before.get(node.name)];
        assert.ok(rows < oldRows, node.name);
        if (node.int('group', 1) === groups) assert.ok(rows % groups === 0 && columns < oldColumns);
      }
    });
  }
});
