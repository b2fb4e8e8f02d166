import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeNode } from '../../../src/onnx/node.ts';
import { makeCostTable, type KernelCost } from '../../../src/passes/cost/kernel-cost-table.ts';
import { quantizeStatic } from '../../../src/passes/quantize/static.ts';
import { apply, contextOf, net, optimizedOperators, source, weight } from './helpers.ts';

describe('choices by the kernel cost table', () => {
  it('leave nodes in float together that would not be worth it one by one', async () => {
    const dims = [1, 8, 8, 8];
    const depthwise = { pads: [1, 1, 1, 1], group: 8 };
    const model = net({
      nodes: [
        makeNode('Conv', ['x', 'd1'], ['a'], { attributes: depthwise, name: 'd1' }),
        makeNode('Relu', ['a'], ['b']),
        makeNode('Conv', ['b', 'd2'], ['c'], { attributes: depthwise, name: 'd2' }),
        makeNode('Conv', ['c', 'p1'], ['d'], { name: 'p1' }),
        makeNode('Conv', ['d', 'p2'], ['e'], { name: 'p2' }),
        makeNode('Conv', ['e', 'p3'], ['y'], { name: 'p3' }),
      ],
      tensors: [
        ...['d1', 'd2'].map((name) => weight(name, [8, 1, 3, 3])),
        ...['p1', 'p2', 'p3'].map((name) => weight(name, [8, 8, 1, 1])),
      ],
      inputs: { x: dims },
      outputs: { y: dims },
    });
    // Each is 90 of 3,200 slower, less than is worth a change; the quantizer ahead of them only moves behind them.
    const entries: KernelCost[] = [
      { kernel: 'depthwise-conv', shape: [8, 9, 64], work: 4608, floatNs: 100, int8Ns: 190 },
      { kernel: 'pointwise-conv', shape: [8, 8, 64], work: 4096, floatNs: 1000, int8Ns: 400 },
      { kernel: 'conv-boundary', shape: [512], work: 512, floatNs: 0, int8Ns: 120 },
    ];
    const costTable = makeCostTable({ cpuKind: 'test', runtimeVersion: 'test', threads: 1, entries });
    const { skipped } = await apply(quantizeStatic, model, {}, { ...contextOf(source('x', dims)), costTable });
    assert.deepEqual(skipped.map(({ node }) => node).sort(), ['d1', 'd2']);
  });

  it('do not leave in float what ONNX Runtime fuses with the quantizers around it all the same', async () => {
    const dims = [1, 8, 8, 8];
    const pool = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
    const build = () =>
      net({
        nodes: [
          makeNode('Conv', ['x', 'p1'], ['a'], { name: 'p1' }),
          makeNode('AveragePool', ['a'], ['b'], { attributes: pool, name: 'pool' }),
          makeNode('Conv', ['b', 'p2'], ['y'], { name: 'p2' }),
        ],
        tensors: ['p1', 'p2'].map((name) => weight(name, [8, 8, 1, 1])),
        inputs: { x: dims },
        outputs: { y: dims },
      });
    const entries: KernelCost[] = [
      { kernel: 'pointwise-conv', shape: [8, 8, 64], work: 4096, floatNs: 5000, int8Ns: 400 },
      { kernel: 'average-pool', shape: [512], work: 512, floatNs: 100, int8Ns: 2000 },
      { kernel: 'conv-boundary', shape: [512], work: 512, floatNs: 0, int8Ns: 20 },
      { kernel: 'boundary', shape: [512], work: 512, floatNs: 0, int8Ns: 20 },
    ];
    const costTable = makeCostTable({ cpuKind: 'test', runtimeVersion: 'test', threads: 1, entries });
    const context = contextOf(source('x', dims));
    const { skipped } = await apply(quantizeStatic, build(), {}, { ...context, costTable });
    assert.deepEqual(skipped, []);
    // With the pool excluded by hand its kernel is the same.
    const excluded = build();
    await apply(quantizeStatic, excluded, { exclude: ['pool'] }, context);
    assert.equal((await optimizedOperators(excluded))['QLinearAveragePool'], 1);
  });
});
