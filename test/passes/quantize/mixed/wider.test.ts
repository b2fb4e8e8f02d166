import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeCostTable } from '../../../../src/passes/cost/kernel-cost-table.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { quantizeMixed } from '../../../../src/passes/quantize/mixed/mixed.ts';
import { apply, contextOf, operators, source } from '../helpers.ts';
import { bruteForce, DIMS, labelOf, network, type BudgetReport, type Choice } from './helpers.ts';

const context = contextOf(source('x', DIMS));

describe('candidates with activations of several widths', () => {
  const candidates = [
    { weights: 'int8', activations: 'uint8' },
    { weights: 'int8', activations: 'uint16' },
    { weights: 'int4', activations: 'uint8' },
  ];

  it('are told apart by the noise of the input, and cost bit operations', async () => {
    const model = network();
    const { details } = await apply(quantizeMixed, model, { candidates, budget: { bopsRatio: 0.08 } }, context);
    verifyModel(model);
    const choices = details['choices'] as Choice[];
    for (const { candidates: [bytes, wide] = [] } of choices) {
      assert.ok(wide!.loss < bytes!.loss);
      assert.equal(wide!.cost, 2 * bytes!.cost);
    }
    const { limit, after } = details['budget'] as BudgetReport;
    assert.ok(after <= limit);
    assert.ok(new Set(choices.map(labelOf)).size > 1, choices.map(labelOf).join(' '));
  });

  it('are written so that a value is converted only where a layer of each width reads it', async () => {
    const model = network();
    // r1 is read by conv2 and by the sum, which takes anything: nothing to convert.
    const layers = { conv2: { weights: 'int8', activations: 'uint16' } };
    const { details } = await apply(quantizeMixed, model, { layers, budget: { averageBits: 8 } }, context);
    verifyModel(model);
    const activations = details['activations'] as { value: string; type: string }[];
    const types = (name: string) => activations.filter(({ value }) => value === name).map(({ type }) => type);
    assert.deepEqual([types('r1'), types('x'), types('r3')], [['uint16'], ['uint8'], ['uint8']]);
    assert.equal(new Set(activations.map(({ value }) => value)).size, activations.length);
    assert.ok((operators(model)['QuantizeLinear'] ?? 0) > 0);
  });
});

describe('budget latencyRatio', () => {
  it('goes by the kernel cost table: int8 kernels for 8 bits, float ones and a quantizer for the rest', async () => {
    const entry = (kernel: 'conv' | 'matmul' | 'boundary', shape: number[], floatNs: number, int8Ns: number) => ({
      kernel,
      shape,
      work: shape.reduce((product, size) => product * size, 1),
      floatNs,
      int8Ns,
    });
    const costTable = makeCostTable({
      cpuKind: 'test',
      runtimeVersion: 'test',
      threads: 1,
      entries: [
        entry('conv', [8, 72, 64], 10_000, 2000),
        entry('matmul', [6, 192, 1], 1000, 100),
        entry('boundary', [256], 0, 500),
      ],
    });
    const options = {
      candidates: ['float', { weights: 'int8' }, { weights: 'int4' }],
      budget: { latencyRatio: 0.6 },
    };
    const { details } = await apply(quantizeMixed, network(), options, contextOf(source('x', DIMS), { costTable }));
    const choices = details['choices'] as Choice[];
    const { before, limit, after } = details['budget'] as BudgetReport;
    assert.equal(limit, Math.floor(0.6 * before));
    assert.ok(after <= limit);
    for (const { node, candidates: [float, int8, int4] = [] } of choices) {
      // A stem of four channels has no entry here: it takes no time, and decides nothing.
      if (node === 'conv1') continue;
      assert.ok(int8!.cost < float!.cost && float!.cost < int4!.cost, node);
      assert.equal(float!.loss, 0);
    }
    const { least, chosen } = bruteForce(choices, limit);
    assert.ok(Math.abs(least - chosen) <= 1e-12 * least);
    assert.ok(choices.some(({ choice }) => choice === 'float'));
    // Four bits are neither quicker nor better than eight.
    assert.ok(!choices.some((layer) => labelOf(layer).startsWith('int4')));
  });
});
