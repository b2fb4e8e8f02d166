import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { copyModel } from '../../../../src/training/copy-model.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import type { NdArray } from '../../../../src/onnx/nd-array.ts';
import { makeNode } from '../../../../src/onnx/node.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../../src/onnx/value-type.ts';
import { canonicalize } from '../../../../src/passes/canonicalize/canonicalize.ts';
import { equalize } from '../../../../src/passes/quantize/equalize/equalize.ts';
import { quantizeStatic } from '../../../../src/passes/quantize/static.ts';
import { runStep } from '../../../../src/passes/pass-manager.ts';
import type { FeedSource } from '../../../../src/passes/pass.ts';
import { buildArchitecture } from '../../../../src/zoo/build-architecture.ts';
import { apply, contextOf, net, noise, operators, outputOf, runtime, source, weight } from '../helpers.ts';

const DIMS = [1, 4, 8, 8];
const feeds = { x: { type: 'float' as const, dims: DIMS, data: noise(256, 101) } };
const context = contextOf(source('x', DIMS));

/** Factors between 1/64 and 64, a different one for each channel. */
function factor(channel: number, seed: number): number {
  return 2 ** ((noise(channel + 1, seed).at(-1) ?? 0) * 6);
}

function closeTo(actual: Float32Array, expected: Float32Array): void {
  const largest = expected.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  actual.forEach((value, i) => assert.ok(Math.abs(value - (expected[i] ?? 0)) <= 1e-5 * largest));
}

/** Largest absolute weight of each slice along an axis of [a, b, ...]. */
function ranges(model: Model, name: string, axis: 0 | 1): number[] {
  const tensor = model.graph.initializers.get(name)!;
  const [a = 0, b = 0] = tensor.dims;
  const kernel = tensor.elementCount / (a * b);
  const found = Array.from({ length: axis === 0 ? a : b }, () => 0);
  tensor.floats().forEach((value, i) => {
    const channel = axis === 0 ? Math.floor(i / (b * kernel)) : Math.floor(i / kernel) % b;
    found[channel] = Math.max(found[channel] ?? 0, Math.abs(value));
  });
  return found;
}

/** Pointwise, depthwise, pointwise, with a PRelu and a Flatten on the way; the second half has its own weights. */
function separableNet(clip = 6): Model {
  const spread = (name: string, dims: number[], seed: number): Tensor => {
    const tensor = weight(name, dims, seed);
    const per = tensor.elementCount / (dims[0] ?? 1);
    return Tensor.float(
      name,
      tensor.floats().map((value, i) => value * factor(Math.floor(i / per), seed)),
      dims,
    );
  };
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { name: 'pointwise1' }),
      makeNode('Clip', ['c1', 'zero', 'six'], ['r1'], { name: 'relu6' }),
      makeNode('Conv', ['r1', 'w2', 'b2'], ['c2'], {
        attributes: { group: 6, pads: [1, 1, 1, 1] },
        name: 'depthwise',
      }),
      makeNode('PRelu', ['c2', 'slope'], ['r2'], { name: 'prelu' }),
      makeNode('Conv', ['r2', 'w3'], ['c3'], { name: 'pointwise2' }),
      makeNode('MaxPool', ['c3'], ['p'], { attributes: { kernel_shape: [4, 4], strides: [4, 4] }, name: 'pool' }),
      makeNode('Flatten', ['p'], ['f'], { name: 'flatten' }),
      makeNode('Gemm', ['f', 'w4', 'b4'], ['y'], { attributes: { transB: 1 }, name: 'head' }),
    ],
    tensors: [
      spread('w1', [6, 4, 1, 1], 1),
      weight('b1', [6], 2),
      spread('w2', [6, 1, 3, 3], 3),
      weight('b2', [6], 4),
      Tensor.float('slope', [0.1, 0.2, 0.3, 0.1, 0.2, 0.3], [6, 1, 1]),
      spread('w3', [5, 6, 1, 1], 5),
      weight('w4', [3, 20], 6),
      weight('b4', [3], 7),
      Tensor.float('zero', [0], []),
      Tensor.float('six', [clip], []),
    ],
    inputs: { x: DIMS },
    outputs: { y: [1, 3] },
  });
}

describe('equalize', () => {
  it('makes the ranges of neighbours alike, through depthwise layers, pools and Flatten; the output stays', async () => {
    const model = separableNet(1e6);
    const before = await outputOf(model, feeds);
    const { report } = await equalize(model, context);
    closeTo(await outputOf(model, feeds), before);
    assert.equal(report.links, 3);
    assert.equal(report.clipsReplaced, 1);
    assert.ok(report.largestScale > 4 && report.smallestScale < 1 / 4);
    assert.equal(operators(model)['Clip'], undefined);
    const pairs = [ranges(model, 'w1', 0), ranges(model, 'w2', 0), ranges(model, 'w3', 1)] as const;
    for (let c = 0; c < 6; c += 1) {
      // DFQ, eq. 11: at the solution r1 = r2 (= r3).
      for (const other of [pairs[1], pairs[2]]) assert.ok(Math.abs((other[c] ?? 0) / (pairs[0][c] ?? 1) - 1) < 1e-3);
    }
    const flattened = ranges(model, 'w4', 1);
    const made = ranges(model, 'w3', 0);
    for (let c = 0; c < 5; c += 1) {
      const read = Math.max(...flattened.slice(4 * c, 4 * c + 4));
      assert.ok(Math.abs(read / (made[c] ?? 1) - 1) < 1e-3);
    }
  });

  it('leaves a Clip whose upper end is reached, and says so', async () => {
    const model = separableNet(0.5);
    const before = await outputOf(model, feeds);
    const { report, skipped } = await equalize(model, context);
    closeTo(await outputOf(model, feeds), before);
    assert.equal(report.clipsReplaced, 0);
    assert.match(skipped.find(({ node }) => node === 'relu6')!.reason, /upper end 0.5 does something/);
    assert.match(skipped.find(({ node }) => node === 'pointwise1')!.reason, /Clip behind it does not scale along/);
  });

  it('does not touch layers with a shared weight, a second reader or an output between, and keeps shared biases apart', async () => {
    const pads = [1, 1, 1, 1];
    const model = net({
      nodes: [
        makeNode('Conv', ['x', 'w', 'b'], ['a'], { attributes: { pads }, name: 'shared1' }),
        makeNode('Conv', ['a', 'w', 'b'], ['c'], { attributes: { pads }, name: 'shared2' }),
        makeNode('Conv', ['c', 'w3', 'b'], ['d'], { attributes: { pads }, name: 'twice' }),
        makeNode('Conv', ['d', 'w4', 'b'], ['e'], { attributes: { pads }, name: 'scaled' }),
        makeNode('Conv', ['e', 'w5', 'b'], ['g'], { attributes: { pads }, name: 'last' }),
        makeNode('Add', ['d', 'g'], ['y'], { name: 'sum' }),
      ],
      tensors: [
        weight('w', [4, 4, 3, 3], 1),
        weight('b', [4], 2),
        weight('w3', [4, 4, 3, 3], 3),
        weight('w4', [4, 4, 3, 3], 4, 5),
        weight('w5', [4, 4, 3, 3], 5),
      ],
      inputs: { x: DIMS },
      outputs: { y: DIMS },
    });
    const before = await outputOf(model, feeds);
    const { report, skipped } = await equalize(model, context);
    closeTo(await outputOf(model, feeds), before);
    assert.equal(report.links, 1);
    assert.match(skipped.find(({ node }) => node === 'shared1')!.reason, /share its weight/);
    assert.match(skipped.find(({ node }) => node === 'twice')!.reason, /several readers/);
  });

  it('moves a high bias into the next layer where that pads nothing', async () => {
    const high = (pads: number[]): Model =>
      net({
        nodes: [
          makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { name: 'first' }),
          makeNode('Relu', ['c1'], ['r1'], { name: 'relu' }),
          makeNode('Conv', ['r1', 'w2'], ['y'], { attributes: { pads }, name: 'second' }),
        ],
        tensors: [weight('w1', [4, 4, 1, 1], 1), Tensor.float('b1', [5, 6, -1, 7]), weight('w2', [4, 4, 3, 3], 2)],
        inputs: { x: DIMS },
        outputs: { y: [1, 4, null as unknown as number, null as unknown as number] },
      });
    const exact = high([0, 0, 0, 0]);
    const before = await outputOf(exact, { x: { ...feeds.x, data: noise(256, 100) } });
    const { report } = await equalize(exact, context);
    assert.equal(report.channelsAbsorbed, 3);
    closeTo(await outputOf(exact, { x: { ...feeds.x, data: noise(256, 100) } }), before);
    const padded = high([1, 1, 1, 1]);
    const left = await equalize(padded, context);
    assert.equal(left.report.channelsAbsorbed, 0);
    assert.match(left.skipped.find(({ reason }) => reason.startsWith('bias'))!.reason, /second pads its input/);
  });
});

describe('per-tensor int8 of a MobileNet whose channels differ in range', () => {
  const image = [1, 3, 32, 32];
  const classes = 8;
  /** Numbers 0 to 63 fit the head and calibrate, 64 to 127 test. */
  const calibration: FeedSource = {
    samples: 64,
    async *batches() {
      for (let number = 0; number < 64; number += 1) yield await Promise.resolve({ feeds: feedOf(number), count: 1 });
    },
  };
  const imageContext = contextOf(calibration);

  /** A wave whose direction and colour make the class, with a phase, a contrast and noise of its own. */
  function feedOf(number: number): { input: NdArray } {
    const label = number % classes;
    const [phase = 0, contrast = 0, ...rest] = noise(2 + 3 * 32 * 32, 500 + number);
    const angle = (Math.PI * label) / classes;
    const data = Float32Array.from({ length: 3 * 32 * 32 }, (_, i) => {
      const [y, x, channel] = [Math.floor(i / 32) % 32, i % 32, Math.floor(i / 1024)];
      const wave = Math.sin(0.7 * (Math.cos(angle) * x + Math.sin(angle) * y) + phase + label * channel);
      return (2 + 0.2 * contrast) * wave + 0.1 * (rest[i] ?? 0);
    });
    return { input: { type: 'float', dims: image, data } };
  }

  async function outputs(model: Model, from: number): Promise<Float32Array[]> {
    const session = await runtime.createSession(model, { threads: 1 });
    const found: Float32Array[] = [];
    for (let number = from; number < from + 64; number += 1) {
      const [first] = (await session.run(feedOf(number))).values();
      found.push(Float32Array.from(first?.data as Float32Array));
    }
    await session.release();
    return found;
  }

  async function accuracy(model: Model): Promise<number> {
    const found = await outputs(model, 64);
    const right = found.filter((scores, i) => scores.indexOf(scores.reduce((p, q) => Math.max(p, q))) === i % classes);
    return right.length / found.length;
  }

  /** Trains the last layer: the class whose mean feature is nearest wins. The features are those of random filters. */
  async function fitHead(model: Model): Promise<void> {
    const head = model.graph.nodes.find(({ opType }) => opType === 'Gemm')!;
    const features = copyModel(model);
    features.graph.outputs = [tensorValue(head.inputs[0]!, 'float')];
    const found = await outputs(features, 0);
    const size = found[0]!.length;
    const means = Array.from({ length: classes }, () => new Float64Array(size));
    const all = new Float64Array(size);
    found.forEach((values, i) =>
      values.forEach((value, j) => {
        means[i % classes]![j]! += value / (64 / classes);
        all[j]! += value / 64;
      }),
    );
    const bias = means.map((mean) => -mean.reduce((sum, value) => sum + value * value, 0) / 2);
    const weights = means.flatMap((mean) => [...mean].map((value, j) => value - (all[j] ?? 0)));
    const put = (name: string, values: number[], dims: number[]): void => {
      model.graph.initializers.set(name, Tensor.float(name, values, dims));
    };
    put(head.inputs[1]!, weights, [classes, size]);
    put(head.inputs[2]!, bias, [classes]);
    assert.equal(head.int('transB', 0), 1);
  }

  /** Scales each layer's output channels and divides what reads them, so that the function stays. */
  function unbalance(model: Model): void {
    const { graph } = model;
    const convolutions = graph.nodes.filter(({ opType }) => opType === 'Conv');
    for (const [index, node] of convolutions.slice(0, -1).entries()) {
      const next = convolutions[index + 1]!;
      const [made, read] = [graph.initializers.get(node.inputs[1]!)!, graph.initializers.get(next.inputs[1]!)!];
      const bias = graph.initializers.get(node.inputs[2]!)!;
      const [channels = 1] = made.dims;
      const scale = Array.from(
        { length: channels },
        (_, c) => 2 ** Math.round((noise(c + 1, index + 1).at(-1) ?? 0) * 4),
      );
      const per = made.elementCount / channels;
      const depthwise = next.int('group', 1) > 1;
      const kernel = read.dims.slice(2).reduce((p, q) => p * q, 1);
      const set = (tensor: Tensor, of: (i: number) => number): void => {
        graph.initializers.set(
          tensor.name,
          Tensor.float(
            tensor.name,
            tensor.floats().map((value, i) => value * of(i)),
            tensor.dims,
          ),
        );
      };
      set(made, (i) => scale[Math.floor(i / per)] ?? 1);
      set(bias, (i) => scale[i] ?? 1);
      set(read, (i) => 1 / (scale[Math.floor(i / kernel) % channels] ?? 1));
      assert.equal(depthwise ? read.dims[0] : read.dims[1], channels);
    }
  }

  it('collapses, and equalization brings back at least 95 % of what was lost', async () => {
    const model = buildArchitecture({ architecture: 'mobilenet-v1', width: 0.25, depth: 0.5, classes }, 3);
    await runStep(model, { pass: canonicalize, options: canonicalize.options.parse({}) }, imageContext);
    await fitHead(model);
    const before = await outputs(model, 64);
    unbalance(model);
    (await outputs(model, 64)).forEach((scores, i) => closeTo(scores, before[i]!));
    const quantized = async (options: object): Promise<number> => {
      const candidate = copyModel(model);
      await apply(quantizeStatic, candidate, { perChannel: false, ...options }, imageContext);
      return accuracy(candidate);
    };
    const [float, naive, equalized] = [await accuracy(model), await quantized({}), await quantized({ equalize: true })];
    assert.ok(float > 0.95, `float ${float}`);
    assert.ok(naive < 0.5, `naive ${naive}`);
    assert.ok(equalized - naive >= 0.95 * (float - naive), `float ${float}, naive ${naive}, equalized ${equalized}`);
  });
});
