import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { diagnose } from '../../../src/evaluation/diagnosis/diagnose.ts';
import { loadModel } from '../../../src/onnx/codec/load.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { canonicalize } from '../../../src/passes/canonicalize/canonicalize.ts';
import type { FeedSource } from '../../../src/passes/pass.ts';
import { quantizeDynamic } from '../../../src/passes/quantize/dynamic.ts';
import { quantizeStatic } from '../../../src/passes/quantize/static.ts';
import { quantizeWeights } from '../../../src/passes/quantize/weights-only/quantize-weights.ts';
import type { Pass } from '../../../src/passes/pass.ts';
import type { Diagnosis } from '../../../src/schemas/diagnosis.ts';
import { copyModel } from '../../../src/training/copy-model.ts';
import { apply, contextOf, net, noise, runtime, source, weight } from '../../passes/quantize/helpers.ts';

type Found = Omit<Diagnosis, 'rewritten'>;

/** Quantizes and diagnoses on the same eight samples. */
async function diagnosed(
  model: Model,
  pass: Pass,
  options: Record<string, unknown>,
  feeds: FeedSource,
): Promise<Found> {
  const given = copyModel(model);
  const { reference } = await apply(pass, model, options, contextOf(feeds));
  const step = { pass: pass.name, options: pass.options.parse(options) as Record<string, unknown> };
  return diagnose(
    runtime,
    { float: reference ?? given, result: model, step },
    { role: 'calibration', feeds },
    { threads: 1 },
  );
}

function layerOf({ layers }: Found, name: string): Found['layers'][number] {
  const layer = layers.find((candidate) => candidate.name === name);
  assert.ok(layer, `${name} is in ${layers.map((each) => each.name).join(', ')}`);
  return layer;
}

const near = (actual: number | null | undefined, expected: number, tolerance: number): void =>
  assert.ok(Math.abs((actual ?? NaN) - expected) <= tolerance, `${String(actual)} is not near ${expected}`);

describe('diagnose', () => {
  it('tells the error that a layer makes from the one it hands on', async () => {
    // By hand: x is always 1. The first product makes 0.5 * 100.4 = 50.2, stored in steps of 1: 50, and 0 after; the second reads
    // 50 instead of 50.2 and multiplies by 2 without an error of its own.
    const tensors = (first: number): Tensor[] => [
      Tensor.float('w', [first, 0, 0, first], [2, 2]),
      Tensor.float('v', [2, 0, 0, 2], [2, 2]),
    ];
    const nodes = () => [
      makeNode('MatMul', ['x', 'w'], ['h'], { name: 'first' }),
      makeNode('MatMul', ['h', 'v'], ['y'], { name: 'second' }),
    ];
    const shape = { inputs: { x: ['n', 2] }, outputs: { y: ['n', 2] } };
    const float = net({ nodes: nodes(), tensors: tensors(50.2), ...shape });
    const [first, second] = nodes();
    const result = net({
      nodes: [
        Object.assign(first!, { outputs: ['h_f'] }),
        makeNode('QuantizeLinear', ['h_f', 's', 'z'], ['h_q']),
        makeNode('DequantizeLinear', ['h_q', 's', 'z'], ['h']),
        second!,
      ],
      tensors: [
        ...tensors(50.2),
        Tensor.float('s', [1], []),
        Tensor.fromArray('z', { type: 'uint8', dims: [], data: Uint8Array.of(0) }),
      ],
      ...shape,
    });
    const feeds: FeedSource = {
      samples: 1,
      async *batches() {
        const x = { type: 'float' as const, dims: [1, 2], data: Float32Array.of(1, 1) };
        yield await Promise.resolve({ feeds: { x }, count: 1 });
      },
    };
    const step = { pass: 'quantize.static', options: {} };
    const found = await diagnose(runtime, { float, result, step }, { role: 'evaluation', feeds }, { threads: 1 });
    const expected = 20 * Math.log10(50.2 / 0.2);
    // 50.2 and 0.2 are not exact in float32: an error of 1e-5 of 0.2 is 1e-4 dB.
    near(layerOf(found, 'first').ownSqnrDb, expected, 1e-3);
    near(layerOf(found, 'first').accumulatedSqnrDb, expected, 1e-3);
    near(layerOf(found, 'first').parts.outputSqnrDb, expected, 1e-3);
    near(layerOf(found, 'first').modelSqnrDb, expected, 1e-3);
    // The second reads a value that is rounded before it: alone, it makes that error, too.
    near(layerOf(found, 'second').ownSqnrDb, expected, 1e-3);
    near(layerOf(found, 'second').parts.inputSqnrDb, expected, 1e-3);
    near(layerOf(found, 'second').accumulatedSqnrDb, expected, 1e-3);
    near(found.modelSqnrDb, expected, 1e-3);
    // Either layer alone makes all of the noise, so each has half of it, and leaving one does not help.
    near(layerOf(found, 'first').noiseShare, 0.5, 1e-6);
    near(found.inFloat[0]?.modelSqnrDb, expected, 1e-3);
    assert.equal(found.inFloat[1]?.modelSqnrDb, null);
    assert.equal(found.samples, 1);
  });

  const example = async (): Promise<Model> => {
    const model = await loadModel('examples/fashion-mnist/fashion-resnet8.onnx');
    await apply(canonicalize, model, {}, contextOf());
    return model;
  };
  const images = source('input', [1, 1, 28, 28]);
  const ways: readonly (readonly [Pass, Record<string, unknown>])[] = [
    [quantizeStatic, {}],
    [quantizeStatic, { format: 'qoperator' }],
    [quantizeStatic, { weights: 'int4', activations: 'uint16' }],
    [quantizeStatic, { equalize: true, biasCorrection: 'fast' }],
    [quantizeDynamic, {}],
    [quantizeWeights, { format: 'qdq' }],
  ];
  for (const [pass, options] of ways) {
    it(`takes ${pass.name} ${JSON.stringify(options)} apart and together again`, async () => {
      const found = await diagnosed(await example(), pass, options, images);
      assert.deepEqual(found.notMeasured, []);
      const weighted = found.layers.filter(({ weights }) => weights !== undefined);
      assert.equal(weighted.length, 10);
      for (const layer of weighted) {
        assert.equal(layer.note, undefined, layer.name);
        assert.equal(typeof layer.ownSqnrDb, 'number', layer.name);
      }
      // All layers switched on are the result: the noise at its outputs is the error accumulated there.
      near(found.modelSqnrDb, found.layers.at(-1)?.accumulatedSqnrDb ?? NaN, 0.02);
      const shares = found.layers.reduce((sum, { noiseShare = 0 }) => sum + noiseShare, 0);
      near(shares, 1, 1e-9);
      // The first layer has no layer before it.
      near(found.layers[0]?.ownSqnrDb, found.layers[0]?.accumulatedSqnrDb ?? NaN, 0.02);
      if (options['biasCorrection'] === 'fast') {
        for (const { meanShiftShare = 0 } of found.layers) assert.ok(meanShiftShare < 0.05);
      }
    });
  }

  /** Two products with a Relu between, the inner channels scaled apart by `factors`; the function does not depend on them. */
  const chain = (factors: readonly number[]): Model => {
    const size = factors.length;
    const first = noise(size * size, 1).map((value, i) => value * (factors[i % size] ?? 1));
    const second = noise(size * size, 2).map((value, i) => value / (factors[Math.floor(i / size)] ?? 1));
    return net({
      nodes: [
        makeNode('Gemm', ['x', 'w'], ['h'], { name: 'first' }),
        makeNode('Relu', ['h'], ['r'], { name: 'relu' }),
        makeNode('Gemm', ['r', 'v'], ['y'], { name: 'second' }),
      ],
      tensors: [Tensor.float('w', first, [size, size]), Tensor.float('v', second, [size, size])],
      inputs: { x: ['n', size] },
      outputs: { y: ['n', size] },
    });
  };
  const apart = Array.from({ length: 16 }, (_, i) => (i % 4 === 0 ? 100 : 1));

  it('finds output channels of unequal range that share a scale', async () => {
    const found = await diagnosed(chain(apart), quantizeStatic, { perChannel: false }, source('x', [1, 16]));
    const finding = found.findings.find(({ layer }) => layer === 'first');
    assert.equal(finding?.reason, 'unequal-weight-channels');
    assert.deepEqual(finding.changes[0]?.options, { perChannel: true });
    assert.deepEqual(finding.changes[1]?.options, { equalize: true });
    assert.ok((layerOf(found, 'first').weights?.channelRatio ?? 0) > 30);
    // Doing what it says helps.
    const repaired = await diagnosed(
      chain(apart),
      quantizeStatic,
      { perChannel: true, equalize: true },
      source('x', [1, 16]),
    );
    assert.ok(
      (repaired.modelSqnrDb ?? 0) > (found.modelSqnrDb ?? 0) + 15,
      `${repaired.modelSqnrDb} ${found.modelSqnrDb}`,
    );
  });

  it('finds an activation whose outliers leave the rest few codes', async () => {
    const samples = source('x', [1, 4096]);
    const outlying: FeedSource = {
      samples: samples.samples,
      async *batches() {
        for await (const batch of samples.batches()) {
          const { data, dims } = batch.feeds['x'] as { data: Float32Array; dims: readonly number[] };
          const values = Float32Array.from(data, (value, i) => (i === 7 ? 300 : value));
          yield { ...batch, feeds: { x: { type: 'float', dims, data: values } } };
        }
      },
    };
    const model = net({
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'], { name: 'product' })],
      tensors: [weight('w', [4096, 8], 3, 0.1)],
      inputs: { x: ['n', 4096] },
      outputs: { y: ['n', 8] },
    });
    const found = await diagnosed(model, quantizeStatic, {}, outlying);
    const [finding] = found.findings;
    assert.equal(finding?.reason, 'activation-outliers');
    assert.deepEqual(finding.changes[0]?.options, { method: 'mse' });
    assert.ok(finding.changes.some(({ options }) => options['smooth'] === 0.5));
    const input = layerOf(found, 'product').input;
    near(input?.percentile999, 1, 0.05);
    near(input?.outlierRatio, 300, 20);
  });

  it('says that values are clipped where the data goes past the calibrated range', async () => {
    const model = chain(new Array<number>(16).fill(1));
    const given = copyModel(model);
    await apply(quantizeStatic, model, {}, contextOf(source('x', [1, 16], 1)));
    const found = await diagnose(
      runtime,
      {
        float: given,
        result: model,
        step: { pass: 'quantize.static', options: { method: 'percentile', exclude: [] } },
      },
      { role: 'evaluation', feeds: source('x', [1, 16], 5) },
      { threads: 1 },
    );
    assert.equal(found.findings[0]?.reason, 'activation-clipped');
    assert.deepEqual(found.findings[0].changes[0]?.options, { method: 'minmax' });
    assert.deepEqual(found.findings[0].changes.at(-1)?.options, { exclude: [found.findings[0].layer] });
    assert.ok((layerOf(found, 'first').input?.saturatedShare ?? 0) > 0.5);
  });

  it('leaves out what it has no time for, and says of an empty comparison why it is', async () => {
    const model = await example();
    const given = copyModel(model);
    await apply(quantizeStatic, model, {}, contextOf(images));
    const step = { pass: 'quantize.static', options: {} };
    const hurried = await diagnose(
      runtime,
      { float: given, result: model, step },
      { role: 'calibration', feeds: images },
      { threads: 1, budgetMs: 0 },
    );
    assert.equal(hurried.samples, 1);
    assert.equal(hurried.outputSamples, 1);
    assert.ok(hurried.findings.length > 0);
    const relu = net({ nodes: [makeNode('Relu', ['x'], ['y'])], inputs: { x: [2] }, outputs: { y: [2] } });
    const none = await diagnose(
      runtime,
      { float: relu, result: copyModel(relu), step },
      { role: 'calibration', feeds: source('x', [2]) },
      { threads: 1 },
    );
    assert.match(none.notMeasured[0]?.reason ?? '', /no layer that can be compared/);
  });

  it('stops when it is canceled', async () => {
    const model = await example();
    const given = copyModel(model);
    await apply(quantizeStatic, model, {}, contextOf(images));
    await assert.rejects(
      diagnose(
        runtime,
        { float: given, result: model, step: { pass: 'quantize.static', options: {} } },
        { role: 'calibration', feeds: images },
        { threads: 1, signal: AbortSignal.abort() },
      ),
    );
  });
});
