import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { convLayout, convWorkload } from '../../../src/passes/cost/conv-layout.ts';
import { FloatLatency } from '../../../src/passes/cost/float-latency.ts';
import { emptyCostTable, type KernelCostTable } from '../../../src/passes/cost/kernel-cost-table.ts';
import { net } from '../quantize/helpers.ts';
import { blockedTable, convs, IMAGE_SIZE, timeOf } from './helpers.ts';

const SIZE = IMAGE_SIZE;

const estimate = (model: Model, table: KernelCostTable = blockedTable()): number =>
  timeOf(model, new FloatLatency(table));

/** A blocked convolution of whole blocks, and half of what leaving and re-entering costs, by the table. */
const blocked = (outputs: number, inputs: number) => (outputs * inputs * 9 * 64 * 10) / 1000;
const half = (channels: number) => (channels * SIZE * SIZE) / 2;
const close = (actual: number, expected: number) => {
  // Interpolation is exact where all measured rates of a kernel are equal, up to rounding of exponentials.
  assert.ok(Math.abs(actual - expected) < 1e-6 * expected, `${actual} instead of ${expected}`);
};

describe('convolution layouts', () => {
  const size = { outputs: 32, inputs: 32, group: 1, window: 9, pixels: 64 };

  it('follow the channels: narrow below a block, general where they are no multiple of 4', () => {
    assert.equal(convLayout(size, 16), 'blocked');
    assert.equal(convLayout({ ...size, inputs: 28, outputs: 31 }, 16), 'blocked');
    assert.equal(convLayout({ ...size, inputs: 30 }, 16), 'plain');
    assert.equal(convLayout({ ...size, inputs: 15 }, 16), 'narrow');
    assert.equal(convLayout({ ...size, inputs: 12 }, 8), 'blocked');
    assert.equal(convLayout({ ...size, inputs: 15 }, 8), 'plain');
    assert.equal(convLayout(size, 1), 'plain');
  });

  it('of groups need whole blocks, of single channels a multiple of 4', () => {
    assert.equal(convLayout({ ...size, inputs: 1, group: 32 }, 16), 'blocked');
    assert.equal(convLayout({ ...size, inputs: 1, outputs: 30, group: 30 }, 16), 'plain');
    assert.equal(convLayout({ ...size, inputs: 16, group: 2 }, 16), 'blocked');
    assert.equal(convLayout({ ...size, inputs: 8, group: 4 }, 16), 'plain');
  });

  it('fill blocks up', () => {
    assert.deepEqual(convWorkload({ ...size, outputs: 17, inputs: 20 }, 16).shape, [32, 32 * 9, 64]);
    assert.deepEqual(convWorkload({ ...size, outputs: 17, inputs: 10 }, 16).shape, [32, 10 * 9, 64]);
    assert.deepEqual(convWorkload({ ...size, outputs: 17, inputs: 18 }, 16).shape, [17, 18 * 9, 64]);
  });
});

describe('float latency', () => {
  it('adds up convolutions, and entering and leaving their layout; activations are part of them', () => {
    close(estimate(convs(16, 32, 16)), half(16) + blocked(32, 16) + blocked(16, 32) + half(16));
  });

  it('is that of whole blocks', () => {
    const whole = estimate(convs(16, 32, 16));
    for (const width of [20, 24, 28]) close(estimate(convs(16, width, 16)), whole);
  });

  it('knows that a width that is no multiple of 4 is slower', () => {
    // The second convolution is general: its input leaves the layout, and what it makes is plain as the output is.
    const general = (16 * 30 * 9 * 64 * 20) / 1000;
    close(estimate(convs(16, 30, 16)), half(16) + blocked(32, 16) + half(30) + general);
    assert.ok(estimate(convs(16, 30, 16)) > estimate(convs(16, 32, 16)));
  });

  it('knows that fewer channels than a block are faster one by one', () => {
    const times = [12, 8, 4].map((width) => estimate(convs(16, width, 16)));
    assert.ok((times[0] ?? 0) > (times[1] ?? 0) && (times[1] ?? 0) > (times[2] ?? 0), times.join(' '));
  });

  it('takes everything as it is where there are no blocks', () => {
    const { convolutionBlock: _, ...table } = blockedTable();
    assert.ok(estimate(convs(16, 30, 16), table) < estimate(convs(16, 32, 16), table));
  });

  it('counts products by their work, and other operators by their elements', () => {
    const model = net({
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['p'], { name: 'product' }),
        makeNode('Neg', ['p'], ['n'], { name: 'neg' }),
        makeNode('Reshape', ['n', 'shape'], ['y'], { name: 'reshape' }),
      ],
      tensors: [
        Tensor.float('w', new Float32Array(64 * 64), [64, 64]),
        Tensor.fromArray('shape', { type: 'int64', dims: [1], data: BigInt64Array.of(4096n) }),
      ],
      inputs: { x: [64, 64] },
      outputs: { y: [4096] },
    });
    close(estimate(model), 64 ** 3 / 10 + 4096 / 2);
  });

  it('knows nothing by an empty table', () => {
    assert.ok(new FloatLatency(emptyCostTable()).knowsNothing);
    assert.equal(estimate(convs(16, 16), emptyCostTable()), 0);
  });
});
