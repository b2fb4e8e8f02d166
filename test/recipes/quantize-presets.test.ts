import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Model } from '../../src/onnx/model.ts';
import { makeNode } from '../../src/onnx/node.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { runStep } from '../../src/passes/pass-manager.ts';
import type { PassResult, TargetCpu } from '../../src/passes/pass.ts';
import { planJob } from '../../src/recipes/plan-job.ts';
import { resolveRecipe } from '../../src/recipes/resolve.ts';
import { CreateJob } from '../../src/schemas/job.ts';
import { contextOf, cosine, net, noise, outputOf, source, weight } from '../passes/quantize/helpers.ts';

const DIMS = [1, 4, 8, 8];
const convolutions = (): Model =>
  net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { name: 'first', attributes: { pads: [1, 1, 1, 1] } }),
      makeNode('Relu', ['c1'], ['r1'], { name: 'relu' }),
      makeNode('Conv', ['r1', 'w2', 'b2'], ['c2'], { name: 'second', attributes: { pads: [1, 1, 1, 1] } }),
      makeNode('Add', ['c2', 'x'], ['y'], { name: 'sum' }),
    ],
    tensors: [weight('w1', [8, 4, 3, 3], 1), weight('b1', [8], 2), weight('w2', [4, 8, 3, 3], 3), weight('b2', [4], 4)],
    inputs: { x: DIMS },
    outputs: { y: DIMS },
  });

async function runPreset(name: string, model: Model, targetCpu: TargetCpu): Promise<PassResult | undefined> {
  let last: PassResult | undefined;
  for (const step of resolveRecipe(name).steps) {
    last = await runStep(model, step, contextOf(source('x', DIMS), { targetCpu }));
  }
  return last;
}

describe('preset int8-only-hardware', () => {
  it('computes in symmetric int8 alone, with powers of two as scales', async () => {
    const model = convolutions();
    const x = { x: { type: 'float' as const, dims: DIMS, data: noise(256, 100) } };
    const before = await outputOf(model, x);
    const result = await runPreset('int8-only-hardware', model, 'int8-only');
    assert.equal(result?.changes, 3);
    assert.deepEqual(result.details['floatNodes'] ?? [], []);
    let scales = 0;
    for (const { opType, inputs } of model.graph.nodes) {
      if (opType !== 'QuantizeLinear' && opType !== 'DequantizeLinear') continue;
      for (const scale of model.graph.initializers.get(inputs[1] ?? '')?.floats() ?? []) {
        assert.equal(Math.log2(scale), Math.round(Math.log2(scale)), `${inputs[1]} ${scale}`);
        scales += 1;
      }
      const zero = model.graph.initializers.get(inputs[2] ?? '');
      assert.match(zero?.dataType ?? 'int32', /^int(8|32)$/);
    }
    assert.ok(scales > 20);
    assert.ok(cosine(before, await outputOf(model, x)) > 0.999);
  });

  const target = async (body: object): Promise<unknown> => {
    const dataset = {
      id: 'dst_0123456789abcdef',
      name: null,
      sha256: 'a'.repeat(64),
      bytes: 1000,
      kind: 'npz' as const,
      samples: 100,
      createdAt: '2026-01-01T00:00:00.000Z',
    };
    const request = {
      model: { architecture: 'resnet', depth: 8, classes: 10, inputSize: 32 },
      data: { calibration: { dataset: dataset.id } },
      ...body,
    };
    const { job } = await planJob('acme', CreateJob.parse(request), {
      models: { get: () => Promise.resolve(undefined) },
      datasets: { get: () => Promise.resolve(dataset) },
      limits: { jobThreads: 1, jobDeadlineSeconds: 3600 },
      checkWebhookUrl: () => undefined,
    });
    return job.target;
  };

  it('sets the target that it is made for, unless the job names another', async () => {
    const recipe = 'int8-only-hardware';
    assert.deepEqual(await target({ recipe }), { cpu: 'int8-only' });
    assert.deepEqual(await target({ recipe, target: { latencyBatches: [8] } }), {
      cpu: 'int8-only',
      latencyBatches: [8],
    });
    assert.deepEqual(await target({ recipe, target: { cpu: 'arm64-dotprod' } }), { cpu: 'arm64-dotprod' });
    assert.deepEqual(await target({ recipe: 'int8' }), { cpu: 'portable' });
  });
});

describe('preset int8-mobile', () => {
  /** A block of MobileNet whose channels differ by up to 64 times between the layers; the output is that of equal ones. */
  const depthwise = (): Model => {
    const factor = (channel: number): number => 2 ** (channel % 7);
    const scaled = (name: string, dims: readonly number[], seed: number, scaleOf: (index: number) => number): Tensor =>
      Tensor.float(
        name,
        weight(name, dims, seed)
          .floats()
          .map((value, index) => value * scaleOf(index)),
        dims,
      );
    return net({
      nodes: [
        makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { name: 'expand' }),
        makeNode('Relu', ['c1'], ['r1'], { name: 'relu1' }),
        makeNode('Conv', ['r1', 'w2', 'b2'], ['c2'], {
          name: 'depthwise',
          attributes: { group: 16, pads: [1, 1, 1, 1] },
        }),
        makeNode('Relu', ['c2'], ['r2'], { name: 'relu2' }),
        makeNode('Conv', ['r2', 'w3', 'b3'], ['y'], { name: 'project' }),
      ],
      tensors: [
        scaled('w1', [16, 4, 1, 1], 1, (index) => factor(Math.floor(index / 4))),
        scaled('b1', [16], 2, factor),
        weight('w2', [16, 1, 3, 3], 3),
        scaled('b2', [16], 4, factor),
        scaled('w3', [4, 16, 1, 1], 5, (index) => 1 / factor(index % 16)),
        weight('b3', [4], 6),
      ],
      inputs: { x: DIMS },
      outputs: { y: DIMS },
    });
  };
  const errorOf = async (preset: string): Promise<number> => {
    const model = depthwise();
    const x = { x: { type: 'float' as const, dims: DIMS, data: noise(256, 100) } };
    const before = await outputOf(model, x);
    await runPreset(preset, model, 'portable');
    const after = await outputOf(model, x);
    return before.reduce((sum, value, index) => sum + (value - (after[index] ?? 0)) ** 2, 0);
  };

  it('keeps channels that int8 rounds away beside larger ones', async () => {
    const [usual, mobile] = [await errorOf('int8'), await errorOf('int8-mobile')];
    assert.ok(mobile < usual / 10, `squared error ${mobile}, int8 ${usual}`);
  });
});

describe('preset int8-transformer', () => {
  it('keeps sums in float and needs no operator that the model lacks', async () => {
    const result = await runPreset('int8-transformer', convolutions(), 'portable');
    assert.equal(result?.changes, 2);
    assert.match(result.skipped.find(({ node }) => node === 'sum')?.reason ?? '', /placement "layers"/);
  });
});
