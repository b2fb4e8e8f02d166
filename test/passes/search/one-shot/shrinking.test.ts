import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { partAt, sharedSpace, type SharedSpace } from '../../../../src/passes/search/one-shot/shared-space.ts';
import { drawPoint, phasesOf, shareEpochs } from '../../../../src/passes/search/one-shot/shrinking.ts';

const template = {
  architecture: 'staged',
  uniform: true,
  inputSize: 8,
  classes: 3,
  width: { search: { min: 0.5, max: 1 } },
  stages: [
    {
      block: 'bottleneck',
      channels: { search: [24, 8, 16] },
      blocks: { search: { min: 1, max: 3, step: 1 } },
      kernel: { search: [3, 5, 7] },
      expansion: { search: [1, 2, 4] },
    },
  ],
};

function shared(given: Record<string, unknown> = {}): SharedSpace {
  const found = sharedSpace({ ...template, ...given }, {});
  assert.ok(typeof found !== 'string', typeof found === 'string' ? found : '');
  return found;
}

describe('sharedSpace', () => {
  it('takes for the largest network the values with the most parameters, and tells what each dimension changes', () => {
    const { largest, kinds, varying } = shared();
    // The fewer a bottleneck divides by, the wider it is.
    assert.deepEqual(largest, {
      width: 1,
      'stages.0.channels': 24,
      'stages.0.blocks': 3,
      'stages.0.kernel': 7,
      'stages.0.expansion': 1,
    });
    assert.deepEqual([...kinds.values()], ['width', 'width', 'depth', 'kernel', 'width']);
    assert.deepEqual([...varying.blocks].sort(), ['stage1.block2', 'stage1.block3']);
    assert.equal(varying.kernels.size, 3);
  });

  it('has a part for each point that can be built', () => {
    const all = shared();
    const point = { ...all.largest, width: 0.7, 'stages.0.channels': 16, 'stages.0.kernel': 3 };
    const part = partAt(all, point);
    assert.ok(typeof part !== 'string', typeof part === 'string' ? part : '');
    assert.deepEqual(part.place.dims.get('stage1.block2.conv2.conv.weight')?.slice(2), [3, 3]);
  });

  it('says which value of which dimension cannot share weights', () => {
    const problem = sharedSpace({ ...template, activation: { search: ['relu', 'relu6'] } }, {});
    assert.match(typeof problem === 'string' ? problem : '', /^activation "relu6?": /);
    const sizes = sharedSpace({ ...template, inputSize: { search: [8, 12] } }, {});
    assert.match(typeof sizes === 'string' ? sizes : '', /^inputSize 8: .*sizes/);
  });
});

describe('drawPoint', () => {
  it('lets go of kernels, then of depth, then of width, an equal share of the steps each', () => {
    const space = shared();
    assert.deepEqual(phasesOf(space), ['kernel', 'depth', 'width']);
    const changed = (fraction: number): Set<string> => {
      const names = new Set<string>();
      for (let step = 0; step < 60; step += 1) {
        const point = drawPoint(space, 1, { epoch: 0, step, fraction, attempt: 0 });
        for (const [name, value] of Object.entries(point)) if (value !== space.largest[name]) names.add(name);
      }
      return names;
    };
    assert.deepEqual([...changed(0)], ['stages.0.kernel']);
    assert.deepEqual([...changed(0.34)].sort(), ['stages.0.blocks', 'stages.0.kernel']);
    assert.equal(changed(0.67).size, 5);
    assert.equal(changed(1).size, 5);
  });

  it('depends on seed, epoch, step and attempt alone', () => {
    const space = shared();
    const at = { epoch: 3, step: 5, fraction: 0.9, attempt: 0 };
    assert.deepEqual(drawPoint(space, 1, at), drawPoint(space, 1, at));
    const others = [
      drawPoint(space, 2, at),
      ...[{ epoch: 4 }, { step: 6 }, { attempt: 1 }].map((change) => drawPoint(space, 1, { ...at, ...change })),
    ];
    for (const other of others) assert.notDeepEqual(other, drawPoint(space, 1, at));
  });
});

describe('shareEpochs', () => {
  it('gives each part of the training one epoch at least', () => {
    assert.deepEqual(shareEpochs(20, 0.4), { whole: 8, parts: 12 });
    assert.deepEqual(shareEpochs(1, 0.4), { whole: 1, parts: 1 });
    assert.deepEqual(shareEpochs(2, 0.9), { whole: 1, parts: 1 });
  });
});
