import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import { Graph } from '../../src/onnx/graph.ts';
import { makeNode } from '../../src/onnx/node.ts';
import { tensorValue } from '../../src/onnx/value-type.ts';
import { quantizeDynamic } from '../../src/passes/quantize/dynamic.ts';
import { copyWithSubgraphs } from '../../src/training/copy-model.ts';
import { apply, contextOf, net, weight } from '../passes/quantize/helpers.ts';

describe('copyWithSubgraphs', () => {
  it('keeps what a pass does to branches, nested ones too, from the original', async () => {
    const product = (name: string): Graph =>
      new Graph({
        name,
        nodes: [makeNode('MatMul', ['x', `${name}_w`], [`${name}_y`], { name })],
        outputs: [tensorValue(`${name}_y`, 'float', [3, 8])],
        initializers: new Map([[`${name}_w`, weight(`${name}_w`, [16, 8])]]),
      });
    const choice = (output: string, first: Graph, second: Graph) =>
      makeNode('If', ['which'], [output], {
        attributes: {
          then_branch: { kind: 'graph', value: first },
          else_branch: { kind: 'graph', value: second },
        },
      });
    const nested = new Graph({
      name: 'nested',
      nodes: [choice('inner', product('a'), product('b'))],
      outputs: [tensorValue('inner', 'float', [3, 8])],
    });
    const model = net({
      nodes: [choice('y', nested, product('c'))],
      inputs: { x: [3, 16] },
      outputs: { y: [3, 8] },
    });
    model.graph.inputs.push(tensorValue('which', 'bool', []));
    const before = encodeModel(model);
    const copy = copyWithSubgraphs(model);
    assert.deepEqual(encodeModel(copy), before);
    assert.equal((await apply(quantizeDynamic, copy, {}, contextOf())).changes, 3);
    assert.notDeepEqual(encodeModel(copy), before);
    assert.deepEqual(encodeModel(model), before);
  });
});
