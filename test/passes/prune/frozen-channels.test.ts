import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Graph } from '../../../src/onnx/graph.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { analyzeChannels } from '../../../src/passes/prune/groups/analyze-channels.ts';
import { channelGroups } from '../../../src/passes/prune/groups/channel-groups.ts';
import { net, weight, type NetParts } from '../quantize/helpers.ts';
import { between, op } from './between.ts';

/** Layers that keep all channels, and why. */
const FROZEN: Readonly<Record<string, { readonly parts: NetParts; readonly layer?: string; readonly reason: RegExp }>> =
  {
    'LayerNormalization over channels': {
      parts: between([op('LayerNormalization', ['a', 'g'], 'n', { axis: 1 })], [weight('g', [8, 6, 6], 4)], {
        last: 'n',
        channels: 8,
      }),
      reason: /normalizes over this axis/,
    },
    'a grouped convolution of which one group has to stay': {
      parts: between(
        [
          op('Conv', ['a', 'w1'], 'g', { group: 2 }),
          op('Split', ['g', 'sizes'], ['s', 't'], { axis: 1 }),
          op('Softmax', ['s'], 'm', { axis: 1 }),
          op('Concat', ['m', 't'], 'n', { axis: 1 }),
        ],
        [weight('w1', [8, 4, 1, 1], 4), Tensor.int64('sizes', [4, 4])],
        { last: 'n', channels: 8 },
      ),
      layer: 'Conv_g',
      reason: /normalizes over this axis|groups of equal size, and these channels have no counterpart/,
    },
    LRN: {
      parts: between([op('LRN', ['a'], 'n', { size: 3 })], [], { last: 'n', channels: 8 }),
      reason: /neighbouring channels/,
    },
    'a split that takes one channel alone': {
      parts: between(
        [op('Split', ['a', 'sizes'], ['s', 't'], { axis: 1 }), op('Mul', ['s', 't'], 'm')],
        [Tensor.int64('sizes', [1, 7])],
        { last: 'm', channels: 7 },
      ),
      reason: /takes it alone/,
    },
    'a mean over channels': {
      parts: between([op('ReduceMean', ['a', 'axes'], 'n')], [Tensor.int64('axes', [-3])], { last: 'n', channels: 1 }),
      reason: /reduces this axis/,
    },
    'Tile on the channel axis': {
      parts: between([op('Tile', ['a', 'repeats'], 'n')], [Tensor.int64('repeats', [1, 2, 1, 1])], {
        last: 'n',
        channels: 16,
      }),
      reason: /repeats this axis/,
    },
    'channels that meet one channel expanded': {
      parts: between(
        [op('Conv', ['a', 'w1'], 'b'), op('Expand', ['b', 'shape'], 'e'), op('Mul', ['a', 'e'], 'n')],
        [weight('w1', [1, 8, 1, 1], 4), Tensor.int64('shape', [2, 8, 6, 6])],
        { last: 'n', channels: 8 },
      ),
      reason: /expands this axis/,
    },
    'channels that are counted': {
      parts: between(
        [
          op('Shape', ['a'], 's'),
          op('Gather', ['s', 'one'], 'c'),
          op('Cast', ['c'], 'f', { to: 1 }),
          op('Div', ['a', 'f'], 'n'),
        ],
        [Tensor.int64('one', [1])],
        { last: 'n', channels: 8 },
      ),
      reason: /gives its size to others/,
    },
    'an operator without a rule': {
      parts: between([op('TopK', ['a', 'k'], ['n', ''], { axis: 1 })], [Tensor.int64('k', [8])], {
        last: 'n',
        channels: 8,
      }),
      reason: /has no pruning rule/,
    },
  };

describe('channels that stay', () => {
  for (const [name, { parts, layer = 'Conv_a', reason }] of Object.entries(FROZEN)) {
    it(name, () => {
      const { frozen } = channelGroups(analyzeChannels(net(parts)));
      const found = frozen.find(({ node }) => node.name === layer);
      assert.match(found?.reason ?? '', reason);
    });
  }

  it('what a subgraph reads, and graph outputs', () => {
    const parts = between([op('Relu', ['a'], 'r')], [], { last: 'r', channels: 8 });
    const model = net(parts);
    const branch = (name: string): Graph =>
      new Graph({
        name,
        nodes: [op('ReduceSum', ['r'], `${name}_sum`, { keepdims: 0 })],
        outputs: [tensorValue(`${name}_sum`, 'float', [])],
      });
    model.graph.inputs.push(tensorValue('flag', 'bool', []));
    model.graph.nodes.push(
      makeNode('If', ['flag'], ['z'], {
        attributes: {
          then_branch: { kind: 'graph', value: branch('yes') },
          else_branch: { kind: 'graph', value: branch('no') },
        },
      }),
    );
    model.graph.outputs.push(tensorValue('z', 'float', []));
    const { groups, frozen } = channelGroups(analyzeChannels(model));
    assert.deepEqual(groups, []);
    assert.deepEqual(
      frozen.map(({ node, channels }) => [node.name, channels]),
      [
        ['Conv_a', 8],
        ['Conv_y', 4],
      ],
    );
    assert.match(frozen[0]?.reason ?? '', /reads it in a subgraph/);
    assert.match(frozen[1]?.reason ?? '', /is an output of the graph/);
  });

  it('weights that a caller may override', () => {
    const model = net(between([op('Relu', ['a'], 'r')], [], { last: 'r', channels: 8 }));
    model.graph.inputs.push(tensorValue('w_in', 'float', [8, 3, 3, 3]));
    assert.deepEqual(channelGroups(analyzeChannels(model)).groups, []);
  });
});
