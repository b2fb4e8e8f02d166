import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import type { Model } from '../../src/onnx/model.ts';
import { elementCount, type NdArray } from '../../src/onnx/nd-array.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import type { Runtime } from '../../src/runtime/session.ts';
import { blockConvolutions, convolutionBlock } from '../../src/training/blocked-convolutions.ts';
import { runtime } from './gradients/check-gradient.ts';

interface Layer {
  readonly channels: number;
  readonly maps: number;
  readonly kernel: number;
  readonly stride?: number;
  readonly dilation?: number;
  readonly group?: number;
  readonly bias?: boolean;
  readonly isConstant?: boolean;
}

function modelOf(layer: Layer): { model: Model; feeds: Record<string, NdArray> } {
  const { channels, maps, kernel, stride = 1, dilation = 1, group = 1, bias = false, isConstant = false } = layer;
  const random = new SeededRandom(7);
  const array = (dims: readonly number[]): NdArray => ({
    type: 'float',
    dims,
    data: Float32Array.from({ length: elementCount(dims) }, () => random.normal()),
  });
  const feeds: Record<string, NdArray> = { x: array([2, channels, 9, 8]) };
  const b = new GraphBuilder('layer');
  const inputs = [b.input('x', 'float', [2, channels, 9, 8])];
  const w = array([maps, channels / group, kernel, kernel]);
  if (isConstant) inputs.push(b.initializer(Tensor.fromArray('w', w)));
  else {
    inputs.push(b.input('w', 'float', w.dims));
    feeds['w'] = w;
  }
  if (bias) {
    inputs.push(b.input('bias', 'float', [maps]));
    feeds['bias'] = array([maps]);
  }
  const attributes = {
    group,
    strides: [stride, stride],
    dilations: [dilation, dilation],
    pads: [1, 0, 2, 1],
    kernel_shape: [kernel, kernel],
  };
  // Two readers of one input, as forward and backward have them.
  const outputs = [b.op('Conv', inputs, { attributes }), b.op('Conv', inputs, { attributes })];
  const sum = b.op('Add', outputs);
  b.graph.outputs.push({ name: sum, type: undefined });
  return { model: b.model(21), feeds };
}

async function run(model: Model, feeds: Record<string, NdArray>): Promise<NdArray> {
  const session = await runtime.createSession(model, { threads: 1 });
  try {
    const [result] = (await session.run(feeds)).values();
    assert.ok(result !== undefined);
    return result;
  } finally {
    await session.release();
  }
}

describe('convolutions on blocked kernels', () => {
  const lowered: [string, Layer][] = [
    ['3x3', { channels: 32, maps: 16, kernel: 3 }],
    ['3x3, stride 2', { channels: 16, maps: 48, kernel: 3, stride: 2 }],
    ['3x3, dilated', { channels: 16, maps: 16, kernel: 3, dilation: 2 }],
    ['2x2 with a bias', { channels: 16, maps: 32, kernel: 2, bias: true }],
  ];
  for (const [name, layer] of lowered) {
    it(`gives what the plain kernel gives: ${name}`, async () => {
      const block = await convolutionBlock(runtime);
      const { model, feeds } = modelOf(layer);
      const expected = await run(model, feeds);
      assert.equal(blockConvolutions(model, block), block === 1 ? 0 : 2);
      const got = await run(model, feeds);
      assert.deepEqual(got.dims, expected.dims);
      for (const [index, value] of expected.data.entries()) {
        assert.ok(Math.abs(Number(got.data[index]) - Number(value)) <= 2e-4, `element ${index}`);
      }
    });
  }

  const left: [string, Layer][] = [
    ['a 1x1 kernel', { channels: 16, maps: 16, kernel: 1 }],
    ['groups', { channels: 32, maps: 32, kernel: 3, group: 2 }],
    ['channels that are no whole blocks', { channels: 20, maps: 16, kernel: 3 }],
    ['constant weights, which the runtime reorders itself', { channels: 16, maps: 16, kernel: 3, isConstant: true }],
  ];
  for (const [name, layer] of left) {
    it(`leaves ${name} alone`, () => {
      const { model } = modelOf(layer);
      assert.equal(blockConvolutions(model, 16), 0);
      assert.equal(model.graph.nodes.length, 3);
    });
  }

  it('leaves double precision alone, for which there is no such kernel', () => {
    const b = new GraphBuilder('layer');
    const x = b.input('x', 'double', [1, 16, 5, 5]);
    const w = b.input('w', 'double', [16, 16, 3, 3]);
    b.graph.outputs.push({ name: b.op('Conv', [x, w]), type: undefined });
    assert.equal(blockConvolutions(b.model(21), 16), 0);
  });

  it('reorders an input once for all its readers', () => {
    const { model } = modelOf({ channels: 16, maps: 16, kernel: 3 });
    assert.equal(blockConvolutions(model, 8), 2);
    assert.equal(model.graph.nodes.filter(({ opType }) => opType === 'ReorderInput').length, 1);
  });

  it('is off where the runtime has no such kernels', async () => {
    const { CompressionError } = await import('../../src/errors.ts');
    const other: Runtime = {
      version: 'other',
      createSession: () => Promise.reject(new CompressionError('MODEL_LOAD', 'no operator ReorderInput')),
    };
    assert.equal(await convolutionBlock(other), 1);
    assert.equal(blockConvolutions(modelOf({ channels: 16, maps: 16, kernel: 3 }).model, 1), 0);
  });
});
