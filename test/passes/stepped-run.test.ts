import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SteppedRun } from '../../src/passes/stepped-run.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { contextWith, noiseSource, repeatingNet, valuesOf, Weights } from './prune/recovery/helpers.ts';

/** Two convolutions with a shortcut around them, and a shape computed on the way. */
const net = () =>
  repeatingNet((b, weights: Weights, channels) => {
    const weight = (name: string): string => b.initializer(weights.tensor(name, [8, 8, 1, 1], 0.3));
    const one = b.op('Conv', [channels, weight('w2')], { name: 'one' });
    const shape = b.op('Shape', [one], { name: 'shape' });
    const two = b.op('Conv', [b.op('Relu', [one]), weight('w3')], { name: 'two' });
    return b.op('Reshape', [b.op('Add', [two, channels], { name: 'sum' }), shape]);
  });

async function collect(run: SteppedRun, cut: number, tap: string): Promise<Float32Array> {
  const values: number[] = [];
  for await (const batch of run.advance(cut, [tap])) {
    const array = batch.values.get(tap);
    if (array?.data instanceof Float32Array) values.push(...array.data);
  }
  return Float32Array.from(values);
}

describe('SteppedRun', () => {
  for (const [what, keptBytes] of [
    ['from what the last cut kept', undefined],
    ['from the start where nothing can be kept', 0],
  ] as const) {
    it(`gives what a whole run gives, with the weights there are at each step, ${what}`, async () => {
      const model = net();
      const feeds = noiseSource(model, 19);
      const { nodes, initializers } = model.graph;
      const indexOf = (name: string): number => nodes.findIndex((node) => node.name === name);
      const run = new SteppedRun(model, feeds, contextWith(), keptBytes === undefined ? {} : { keptBytes });
      for (const [cut, tap] of [
        ['one', 'channels_output'],
        ['one', 'one_output'],
        ['two', 'relu_output'],
        ['sum', 'sum_output'],
      ] as const) {
        const got = await collect(run, indexOf(cut), tap);
        const expected = await valuesOf(model, feeds, tap);
        assert.equal(got.length, expected.length, tap);
        expected.forEach((value, i) => assert.ok(Math.abs(value - (got[i] ?? NaN)) < 1e-4, tap));
        // Weights behind the cut may change from step to step.
        if (cut === 'one' && tap === 'one_output')
          initializers.set('w2', Tensor.float('w2', new Weights().noise([64]), [8, 8, 1, 1]));
      }
    });
  }
});
