import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { searchArchitecture } from '../../../src/passes/search/architecture.ts';
import { dimensionsOf, examplesOf, substitute } from '../../../src/passes/search/ranges.ts';
import { networkWithoutWeights, type ArchitectureRequest } from '../../../src/zoo/build-architecture.ts';

const template = {
  architecture: 'staged',
  inputSize: 8,
  classes: 4,
  stemChannels: { search: [4, 8] },
  stages: [
    {
      block: { search: ['basic', 'inverted', 'bottleneck'] },
      blocks: { search: { min: 1, max: 3, step: 1 } },
      channels: { search: { min: 8, max: 16, step: 8 } },
      kernel: { search: [3, 5, 7] },
      expansion: { search: [1, 2] },
      groups: { search: [1, 2] },
      squeezeExcite: { search: [false, true] },
    },
    { search: [{ channels: 8, stride: 2 }, null] },
  ],
};

describe('a search space over "staged"', () => {
  it('has a dimension for each range, whatever its place', () => {
    assert.deepEqual(
      dimensionsOf(template).map(({ name }) => name),
      [
        'stemChannels',
        ...['block', 'blocks', 'channels', 'kernel', 'expansion', 'groups', 'squeezeExcite'].map(
          (option) => `stages.0.${option}`,
        ),
        'stages.1',
      ],
    );
  });

  it('gives a network for each example', () => {
    const examples = examplesOf(template);
    assert.equal(examples.length, 2 + 3 + 3 + 2 + 3 + 2 + 2 + 2 + 2);
    for (const example of examples) networkWithoutWeights(example as ArchitectureRequest);
  });

  it('puts the values of a point in their places', () => {
    const point = {
      stemChannels: 8,
      'stages.0.block': 'inverted',
      'stages.0.blocks': 2,
      'stages.0.channels': 16,
      'stages.0.kernel': 7,
      'stages.0.expansion': 2,
      'stages.0.groups': 1,
      'stages.0.squeezeExcite': true,
      'stages.1': null,
    };
    const network = networkWithoutWeights(substitute(template, point) as ArchitectureRequest);
    const names = network.graph.nodes.map(({ name }) => name);
    assert.ok(names.includes('stage1.block2.se.mul') && !names.some((name) => /block3|stage2/.test(name)));
    assert.deepEqual(network.graph.initializers.get('stage1.block2.depthwise.conv.weight')?.dims, [32, 1, 7, 7]);
  });

  it('is taken by search.architecture, which refuses a range that is none', () => {
    assert.ok(searchArchitecture.options.safeParse({ space: template }).success);
    const wrong = { ...template, stages: [{ kernel: { search: [] } }] };
    const { error } = searchArchitecture.options.safeParse({ space: wrong });
    assert.deepEqual(error?.issues[0]?.path, ['space', 'stages', '0', 'kernel', 'search']);
  });

  it('is checked against the outputs of the model that it replaces, also where one choice alone does not fit', () => {
    const model = networkWithoutWeights({ architecture: 'mlp', inputSize: 8, classes: 4 });
    const options = (space: unknown): unknown => searchArchitecture.options.parse({ space });
    assert.equal(searchArchitecture.requires(model, options(template)), undefined);
    const obstacle = searchArchitecture.requires(model, options({ ...template, classes: { search: [4, 5] } }));
    assert.match(obstacle ?? '', /5/);
  });
});
