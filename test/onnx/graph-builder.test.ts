import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import { verifyModel } from '../../src/onnx/verify/verify-model.ts';

describe('GraphBuilder', () => {
  it('names values after their nodes, each name once, and builds a model that verifies', () => {
    const b = new GraphBuilder('net');
    const x = b.input('x', 'float', ['batch', 4]);
    const first = b.op('Relu', [x], { name: 'act' });
    const second = b.op('Relu', [first], { name: 'act' });
    b.output(second, 'y', 'float', ['batch', 4]);
    const model = b.model(21);
    assert.deepEqual(
      model.graph.nodes.map(({ name, outputs }) => [name, ...outputs]),
      [
        ['act', 'act_output'],
        ['act_1', 'act_1_output'],
        ['y_identity', 'y'],
      ],
    );
    verifyModel(model);
  });

  it('refuses an output name that is taken', () => {
    const b = new GraphBuilder('net');
    const x = b.input('x', 'float', [1]);
    const y = b.op('Relu', [x]);
    assert.throws(() => b.output(y, 'x', 'float', [1]), /already has a value "x"/);
  });
});
