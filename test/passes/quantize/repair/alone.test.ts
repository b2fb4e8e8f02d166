import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeNode } from '../../../../src/onnx/node.ts';
import { StaticOptions } from '../../../../src/passes/quantize/static-options.ts';
import type { WeightType } from '../../../../src/passes/quantize/quant-type.ts';
import { computeUnits, planStatically } from '../../../../src/passes/quantize/static-run.ts';
import { contextOf, net, source, weight } from '../helpers.ts';

const DIMS = [1, 4, 8, 8];
const pads = [1, 1, 1, 1];

describe('layers learned alone', () => {
  it('get codes that do not depend on the types of the layers before', async () => {
    const codesBehind = async (first: WeightType, layersAlone: boolean): Promise<readonly number[]> => {
      const model = net({
        nodes: [
          makeNode('Conv', ['x', 'w1'], ['c'], { attributes: { pads }, name: 'first' }),
          makeNode('Relu', ['c'], ['r'], { name: 'relu' }),
          makeNode('Conv', ['r', 'w2'], ['y'], { attributes: { pads }, name: 'second' }),
        ],
        tensors: [weight('w1', [8, 4, 3, 3], 1), weight('w2', [8, 8, 3, 3], 2)],
        inputs: { x: DIMS },
        outputs: { y: [1, 8, 8, 8] },
      });
      const activations = 'uint8' as const;
      const choices = new Map([
        ['c', { weights: first, activations }],
        ['y', { weights: 'int4' as const, activations }],
      ]);
      const request = { options: StaticOptions.parse({ rounding: 'gptq' }), choices, layersAlone };
      const { plan, weights } = await planStatically(model, request, contextOf(source('x', DIMS)));
      return [...weights.weightOf(computeUnits(plan)[1]!).codes];
    };
    assert.deepEqual(await codesBehind('int2', true), await codesBehind('int8', true));
    assert.notDeepEqual(await codesBehind('int2', false), await codesBehind('int8', false));
  });
});
