import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { mixedNetwork, mixedName } from '../../../../src/passes/search/darts/mixed-network.ts';
import { operationSpace, type OperationSpace } from '../../../../src/passes/search/darts/places.ts';
import { networkWithoutWeights } from '../../../../src/zoo/build-architecture.ts';
import { runtime } from '../../../training/helpers.ts';
import { largestDifference, noise } from '../one-shot/networks.ts';

const template = {
  architecture: 'staged',
  inputSize: 8,
  classes: 4,
  stemChannels: 8,
  stages: [
    { block: { search: ['skip', 'inverted', 'plain'] }, kernel: { search: [3, 5] }, channels: 8, expansion: 2 },
    { block: 'basic', channels: 8, stride: 2 },
    { block: { search: ['shuffle', 'skip', 'bottleneck'] }, channels: 8 },
  ],
};

function spaceOf(given: Record<string, unknown> = {}): OperationSpace {
  const space = operationSpace({ ...template, ...given }, {});
  assert.ok(typeof space !== 'string', typeof space === 'string' ? space : '');
  return space;
}

describe('operationSpace', () => {
  it('has a place for each stage with something to choose, and an operation for each combination of its values', () => {
    const { places } = spaceOf();
    assert.deepEqual(
      places.map(({ name, operations, solid }) => [name, operations.length, solid]),
      [
        ['stages.0', 6, 2],
        ['stages.2', 3, 0],
      ],
    );
    assert.deepEqual(places[0]?.operations[3], { 'stages.0.block': 'inverted', 'stages.0.kernel': 5 });
  });

  it('says why operations cannot be mixed', () => {
    const problem = (given: Record<string, unknown>): string => {
      const space = operationSpace({ ...template, ...given }, {});
      return typeof space === 'string' ? space : 'none';
    };
    assert.match(problem({ stemChannels: { search: [4, 8] } }), /"stemChannels" is no list of values for an option/);
    assert.match(problem({ stages: [{ channels: { search: [8, 16] } }] }), /gives .*16.* a sample, the first .*8/);
    assert.match(problem({ stages: [{ block: { search: ['basic', 'skip'] }, channels: 9 }] }), /cannot be built/);
    assert.match(problem({ stages: [{ block: { search: ['skip'] }, channels: 8 }] }), /no two operations/);
    const many = [1, 2, 3, 4, 5, 6, 7, 8];
    assert.match(
      problem({
        stages: [
          {
            channels: 8,
            kernel: { search: [3, 5, 7] },
            blocks: { search: many },
            squeezeExcite: { search: [false, true] },
          },
        ],
      }),
      /48 operations/,
    );
    const other = operationSpace({ architecture: 'resnet', depth: { search: [8, 14] } }, {});
    assert.ok(typeof other === 'string');
    assert.match(other, /"staged" alone/);
  });
});

describe('mixedNetwork', () => {
  it('gives, with all strength on one operation a place, what the network of these operations gives', async () => {
    const space = spaceOf();
    const { model, places } = mixedNetwork(space, 3);
    verifyModel(model);
    assert.deepEqual(
      places.map(({ skip, operations }) => [skip, operations]),
      [
        [0, 6],
        [1, 3],
      ],
    );
    const input = noise([2, 3, 8, 8]);
    for (const chosen of [
      [0, 0],
      [3, 1],
      [5, 2],
    ]) {
      for (const [index, { alpha, operations }] of places.entries()) {
        const strengths = Array.from({ length: operations }, (_, at) => (at === chosen[index] ? 0 : -1000));
        model.graph.initializers.set(alpha, Tensor.float(alpha, strengths));
      }
      const plain = networkWithoutWeights(space.requestOf(space.pointOf(chosen)));
      for (const [name, own] of plain.graph.initializers) {
        const index = space.places.findIndex(({ prefix }) => name.startsWith(prefix));
        const source = model.graph.initializers.get(index < 0 ? name : mixedName(chosen[index] ?? 0, name));
        if (source !== undefined && own.dataType === 'float') plain.graph.initializers.set(name, source.renamed(name));
      }
      const [one, other] = await Promise.all(
        [model, plain].map(async (network) => {
          const session = await runtime.createSession(network, { threads: 1 });
          const result = (await session.run({ input })).get('logits')?.data;
          await session.release();
          assert.ok(result instanceof Float32Array);
          return result;
        }),
      );
      assert.ok(one !== undefined && other !== undefined);
      assert.ok(other.some((value) => Math.abs(value) > 0.01));
      // Sums of float32 in another order.
      assert.ok(largestDifference(one, other) < 1e-4, chosen.join());
    }
  });

  it('has the same bytes for the same seed, and weights of its own for each operation', () => {
    const { model } = mixedNetwork(spaceOf(), 3);
    const again = mixedNetwork(spaceOf(), 3).model;
    assert.deepEqual([...model.graph.initializers.keys()], [...again.graph.initializers.keys()]);
    const weights = [...model.graph.initializers.keys()].filter((name) => name.endsWith('block1.conv.conv.weight'));
    assert.deepEqual(weights, [
      'operation4.stage1.block1.conv.conv.weight',
      'operation5.stage1.block1.conv.conv.weight',
    ]);
  });
});
