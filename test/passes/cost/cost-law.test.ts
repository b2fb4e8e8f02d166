import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fitLaw } from '../../../src/passes/cost/cost-law.ts';
import { CostModel } from '../../../src/passes/cost/cost-model.ts';

const near = (actual: number, expected: number, share = 1e-6): void =>
  assert.ok(Math.abs(actual / expected - 1) < share, `${actual}, expected ${expected}`);

/** [output channels, reduction, pixels] */
const shapes = [
  [16, 16, 256],
  [32, 32, 3136],
  [64, 64, 196],
  [128, 128, 784],
  [256, 256, 49],
] as const;
const convs = shapes.map((shape) => ({ shape, work: shape[0] * shape[1] * shape[2] }));

describe('laws of kernel times', () => {
  it('finds what work, results and the call take', () => {
    const time = ({ shape, work }: (typeof convs)[number]): number => 0.002 * work + 0.2 * shape[0] * shape[2] + 900;
    const law = fitLaw(convs, convs.map(time));
    const other = { shape: [48, 8, 784] as const, work: 48 * 8 * 784 };
    near(law(other), 0.002 * other.work + 0.2 * 48 * 784 + 900, 1e-4);
  });

  it('finds what a place takes, however little comes of it', () => {
    const few = [...convs, { shape: [2, 144, 1024] as const, work: 2 * 144 * 1024 }];
    const time = ({ shape, work }: (typeof few)[number]): number => 0.002 * work + 25 * shape[2];
    const law = fitLaw(few, few.map(time));
    near(law({ shape: [6, 54, 1024], work: 6 * 54 * 1024 }), 0.002 * 6 * 54 * 1024 + 25 * 1024, 1e-4);
  });

  it('is proportional to the work where the times are, and from one measurement', () => {
    const rate = fitLaw(
      convs,
      convs.map(({ work }) => work / 100),
    );
    near(rate({ shape: [8, 8, 8], work: 512 }), 5.12);
    const [one] = convs;
    near(fitLaw([one!], [700])({ shape: [32, 16, 512], work: 4 * one!.work }), 2800);
  });

  it('never takes a share that is negative: more work is not less time', () => {
    // A straight line through these would start below zero.
    const elements = [1000, 2000, 4000].map((work) => ({ shape: [work], work }));
    const law = fitLaw(elements, [10, 40, 160]);
    assert.ok(law({ shape: [1], work: 1 }) > 0);
    assert.ok(law({ shape: [500], work: 500 }) < law({ shape: [600], work: 600 }));
  });
});

describe('cost model', () => {
  const entries = convs.map(({ shape, work }, index) => ({
    kernel: 'pointwise-conv',
    shape,
    work,
    floatNs: work / 90 + [0, 300, -200, 100, 50][index]!,
    int8Ns: 0.002 * work + 0.2 * shape[0] * shape[2] + 900,
  }));

  it('gives the measured time at a measured shape, whatever the law says', () => {
    const model = new CostModel({ entries });
    for (const entry of entries) near(model.estimate(entry)!.floatNs, entry.floatNs, 1e-3);
  });

  it('knows that results take time beside products', () => {
    const wide = { kernel: 'pointwise-conv', shape: [48, 8, 784], work: 48 * 8 * 784 };
    near(new CostModel({ entries }).estimate(wide)!.int8Ns, 0.002 * wide.work + 0.2 * 48 * 784 + 900, 0.02);
  });

  it('says nothing of kernels that were not measured, and 0 for a type that was not', () => {
    const model = new CostModel({ entries: entries.map((entry) => ({ ...entry, int8Ns: 0 })) });
    assert.equal(model.estimate({ kernel: 'conv', shape: [1, 1, 1], work: 1 }), undefined);
    assert.equal(model.estimate(entries[0]!)!.int8Ns, 0);
  });
});
