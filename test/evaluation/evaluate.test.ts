import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { baselineFromJson, baselineToJson, evaluate, evaluateBaseline } from '../../src/evaluation/evaluate.ts';
import { CompressionError } from '../../src/errors.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { tensorValue } from '../../src/onnx/value-type.ts';
import type { Model } from '../../src/onnx/model.ts';
import { makeNode, model, rows, withContext } from './helpers.ts';

const WEIGHTS = [1, 0.2, -0.4, 0.1, 0.9, -1, 0.3, 0.05, 0.6];

/** Scores = relu(x W): [n, 3] to [n, 3]. */
function floatNet(): Model {
  return model({
    nodes: [makeNode('MatMul', ['x', 'w'], ['h'], { name: 'fc' }), makeNode('Relu', ['h'], ['y'])],
    inputs: [tensorValue('x', 'float', ['n', 3])],
    outputs: [tensorValue('y', 'float', ['n', 3])],
    initializers: [Tensor.float('w', WEIGHTS, [3, 3])],
  });
}

/** The same with int8 weights (scale 1/127) and the product through uint8, clipped at 0.5. */
function int8Net(): Model {
  return model({
    nodes: [
      makeNode('DequantizeLinear', ['wq', 'ws'], ['w']),
      makeNode('MatMul', ['x', 'w'], ['h'], { name: 'fc' }),
      makeNode('QuantizeLinear', ['h', 'hs', 'hz'], ['hq']),
      makeNode('DequantizeLinear', ['hq', 'hs', 'hz'], ['hd']),
      makeNode('Relu', ['hd'], ['y']),
    ],
    inputs: [tensorValue('x', 'float', ['n', 3])],
    outputs: [tensorValue('y', 'float', ['n', 3])],
    initializers: [
      Tensor.fromArray('wq', { type: 'int8', dims: [3, 3], data: Int8Array.from(WEIGHTS, (w) => Math.round(127 * w)) }),
      Tensor.float('ws', [1 / 127], []),
      Tensor.float('hs', [1 / 255], []),
      Tensor.fromArray('hz', { type: 'uint8', dims: [], data: Uint8Array.of(128) }),
    ],
  });
}

const samples = Array.from({ length: 40 }, (_, i) => [Math.sin(i), Math.cos(2 * i), Math.sin(3 * i + 1)]);
const labelled = rows(samples, { type: 'int64', values: samples.map((row) => row.indexOf(Math.max(...row))) });

describe('evaluate', () => {
  it('measures both models, compares them, and looks at each layer', async () => {
    await withContext(async (context, write) => {
      const [before, after] = [await write('a.onnx', floatNet()), await write('b.onnx', int8Net())];
      const progress: number[] = [];
      const found = await evaluate(
        { ...context, data: labelled, progress: (done) => void progress.push(done) },
        before,
        after,
      );
      assert.deepEqual(found.notMeasured, []);
      assert.equal(found.baseline.parameters, 9);
      assert.equal(found.baseline.macs, 9);
      assert.equal(found.baseline.bops, 9 * 32 * 32);
      assert.equal(found.baseline.integerNodesShare, 0);
      assert.equal(found.comparison.accuracy?.samples, 40);
      assert.ok(found.baseline.latency !== undefined && found.result.latency !== undefined);
      assert.ok((found.comparison.latency?.blocks ?? 0) >= 8);
      const output = found.comparison.outputs?.[0];
      assert.ok(output?.name === 'y' && (output.cosine ?? 0) > 0.9 && (output.sqnrDb ?? 99) < 40);
      assert.ok(progress.every((done, i) => i === 0 || done >= (progress[i - 1] ?? 0)) && progress.at(-1) === 1);

      const [layer] = found.layers;
      assert.ok(found.layers.length === 1 && layer !== undefined);
      assert.equal(layer.name, 'fc');
      assert.equal(layer.weights?.type, 'int8');
      // rounding to 1/127: error uniform within half a step, so about 20 log10(rms / (step / sqrt(12)))
      const rms = Math.sqrt(WEIGHTS.reduce((sum, w) => sum + w * w, 0) / 9);
      const expected = 20 * Math.log10(rms / (1 / 127 / Math.sqrt(12)));
      assert.ok(
        Math.abs((layer.weights.sqnrDb ?? 0) - expected) < 6,
        `${layer.weights.sqnrDb} dB, expected about ${expected}`,
      );
      assert.equal(layer.activations?.type, 'uint8');
      assert.ok(Math.abs((layer.activations.quantizedRange?.max ?? 0) - 127 / 255) < 1e-6);
      // by hand: share of |x W| beyond the range of the uint8
      let clipped = 0;
      for (const row of samples.slice(0, 16)) {
        for (let column = 0; column < 3; column += 1) {
          let h = 0;
          for (let k = 0; k < 3; k += 1) h += (row[k] ?? 0) * (WEIGHTS[3 * k + column] ?? 0);
          if (h < -128.5 / 255 || h > 127.5 / 255) clipped += 1;
        }
      }
      assert.ok(Math.abs((layer.activations.saturatedShare ?? 0) - clipped / 48) < 1e-9);
      assert.ok(typeof layer.sqnrDb === 'number' && layer.sqnrDb < 20);
    });
  });

  it('takes the baseline from a checkpoint, and finds the same', async () => {
    await withContext(async (context, write) => {
      const [before, after] = [await write('a.onnx', floatNet()), await write('b.onnx', int8Net())];
      const withData = { ...context, data: labelled };
      const stored = JSON.stringify(baselineToJson(await evaluateBaseline(withData, before)));
      const resumed = await evaluate(withData, { ...before, earlier: baselineFromJson(JSON.parse(stored)) }, after);
      const fresh = await evaluate(withData, before, after);
      assert.deepEqual(resumed.baseline.accuracy, fresh.baseline.accuracy);
      assert.deepEqual(resumed.comparison.accuracy, fresh.comparison.accuracy);
      assert.throws(
        () => baselineFromJson({ version: 1 }),
        (error: unknown) => error instanceof CompressionError && error.code === 'INTERNAL',
      );
    });
  });

  it('says that equal models are equal', async () => {
    await withContext(async (context, write) => {
      const [a, b] = [await write('a.onnx', floatNet()), await write('b.onnx', floatNet())];
      const found = await evaluate({ ...context, data: labelled }, a, b);
      assert.equal(found.comparison.bytes.difference, 0);
      assert.equal(found.comparison.accuracy?.pairedTest.pValue, 1);
      assert.equal(found.comparison.accuracy.agreement?.value, 1);
      const output = found.comparison.outputs?.[0];
      assert.deepEqual(
        [output?.sqnrDb, output?.note, output?.equalShare, output?.maxAbsDifference],
        [null, 'identical', 1, 0],
      );
      assert.deepEqual([found.layers[0]?.sqnrDb, found.layers[0]?.note], [null, 'identical']);
    });
  });

  it('measures fidelity and speed without labels, and says why there is no accuracy', async () => {
    await withContext(async (context, write) => {
      const [a, b] = [await write('a.onnx', floatNet()), await write('b.onnx', int8Net())];
      const found = await evaluate({ ...context, generated: rows(samples) }, a, b);
      assert.ok(found.comparison.outputs !== undefined && found.comparison.latency !== undefined);
      assert.equal(found.baseline.accuracy, undefined);
      const reasons = new Map(found.notMeasured.map(({ name, reason }) => [name, reason]));
      assert.match(reasons.get('baseline.accuracy') ?? '', /names no evaluation data/);
      assert.ok(reasons.has('result.accuracy') && reasons.has('comparison.accuracy'));
    });
  });

  it('times further batch sizes as asked, and says which the data cannot fill', async () => {
    await withContext(async (context, write) => {
      const [a, b] = [await write('a.onnx', floatNet()), await write('b.onnx', int8Net())];
      const found = await evaluate({ ...context, data: labelled, latencyBatches: [16, 64] }, a, b);
      assert.deepEqual(
        found.latencyAtBatches?.map(({ batch, baseline, result }) => [batch, baseline.batch, result.batch]),
        [[16, 16, 16]],
      );
      assert.ok((found.latencyAtBatches[0]?.comparison.blocks ?? 0) >= 8);
      assert.equal(found.baseline.latency?.batch, 1);
      assert.deepEqual(
        found.notMeasured.map(({ name }) => name),
        ['latencyAtBatches.64'],
      );
      assert.match(found.notMeasured[0]?.reason ?? '', /batches of 40/);
    });
  });

  it('leaves out, with reasons, all that needs inputs when there are none', async () => {
    await withContext(async (context, write) => {
      const [a, b] = [await write('a.onnx', floatNet()), await write('b.onnx', int8Net())];
      const found = await evaluate(context, a, b);
      assert.equal(found.comparison.latency, undefined);
      const names = found.notMeasured.map(({ name }) => name);
      for (const name of ['latency', 'comparison.outputs', 'comparison.accuracy'])
        assert.ok(names.includes(name), name);
      assert.equal(found.layers[0]?.weights?.type, 'int8'); // what needs no run is there all the same
    });
  });

  it('never calls NaN a perfect copy', async () => {
    const poisoned = (): Model => {
      const net = floatNet();
      net.graph.initializers.set(
        'w',
        Tensor.float(
          'w',
          WEIGHTS.map((w, i) => (i === 4 ? NaN : w)),
          [3, 3],
        ),
      );
      return net;
    };
    await withContext(async (context, write) => {
      const [a, b] = [await write('a.onnx', poisoned()), await write('b.onnx', poisoned())];
      const found = await evaluate({ ...context, data: labelled }, a, b);
      const output = found.comparison.outputs?.[0];
      assert.ok((output?.nonFiniteElements.result ?? 0) > 0);
      assert.deepEqual([output?.sqnrDb, output?.cosine], [null, null]);
      assert.equal(found.comparison.accuracy?.agreement?.value, 0);
      assert.equal(found.result.accuracy?.nonFiniteSamples, 40);
    });
  });

  it('takes a model without inputs or with text outputs', async () => {
    const constant = model({
      nodes: [makeNode('Identity', ['c'], ['y'])],
      inputs: [],
      outputs: [tensorValue('y', 'string', [2])],
      initializers: [Tensor.fromArray('c', { type: 'string', dims: [2], data: ['a', 'b'] })],
    });
    const empty = {
      samples: 1,
      async *batches() {
        yield await Promise.resolve({ feeds: {}, count: 1 });
      },
    };
    await withContext(async (context, write) => {
      const [a, b] = [await write('a.onnx', constant), await write('b.onnx', constant)];
      const found = await evaluate({ ...context, generated: empty }, a, b);
      assert.equal(found.comparison.outputs?.[0]?.equalShare, 1);
      assert.match(found.comparison.outputs[0].note ?? '', /text/);
      assert.equal(found.baseline.effectiveBitsPerWeight, undefined);
    });
  });

  it('refuses a result that does not load', async () => {
    await withContext(async (context, write) => {
      const broken = floatNet();
      broken.graph.nodes = [makeNode('NoSuchOperator', ['x'], ['y'])];
      const [a, b] = [await write('a.onnx', floatNet()), await write('b.onnx', broken)];
      await assert.rejects(
        evaluate({ ...context, data: labelled }, a, b),
        (error: unknown) => error instanceof CompressionError && error.code === 'MODEL_LOAD',
      );
    });
  });

  it('stops when it is canceled', async () => {
    await withContext(async (context, write) => {
      const a = await write('a.onnx', floatNet());
      await assert.rejects(
        evaluate({ ...context, data: labelled, signal: AbortSignal.abort() }, a, a),
        (error: unknown) => error instanceof CompressionError && error.code === 'CANCELED',
      );
    });
  });
});
