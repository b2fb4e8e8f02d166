import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { makeNode } from '../../../../src/onnx/node.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import type { FeedSource } from '../../../../src/passes/pass.ts';
import { moveScales } from '../../../../src/passes/quantize/smooth/move-scales.ts';
import { weightTargets } from '../../../../src/passes/layer-inputs/weight-targets.ts';
import { quantizeWeights } from '../../../../src/passes/quantize/weights-only/quantize-weights.ts';
import type { LayerReport } from '../../../../src/passes/quantize/weights-only/layer-report.ts';
import { apply, contextOf, cosine, net, noise, operators, outputOf, weight } from '../helpers.ts';

const WIDTH = 64;
const HIDDEN = 96;

/** A block of a transformer without its attention: RMSNorm, two products of one value, a gate, a product behind it. */
function gatedBlock(): Model {
  // A few strong channels, as transformers have them.
  const gain = Float32Array.from({ length: WIDTH }, (_, i) => (i % 16 === 3 ? 12 : 0.5 + (i % 5) / 5));
  return net({
    nodes: [
      makeNode('Mul', ['x', 'x'], ['squares']),
      makeNode('ReduceMean', ['squares', 'last'], ['mean'], { attributes: { keepdims: 1 } }),
      makeNode('Sqrt', ['mean'], ['root']),
      makeNode('Div', ['x', 'root'], ['normal']),
      makeNode('Mul', ['normal', 'gain'], ['h'], { name: 'norm' }),
      makeNode('MatMul', ['h', 'gate_w'], ['gate'], { name: 'gate' }),
      makeNode('MatMul', ['h', 'up_w'], ['up'], { name: 'up' }),
      makeNode('Sigmoid', ['gate'], ['open']),
      makeNode('Mul', ['open', 'up'], ['hidden']),
      makeNode('MatMul', ['hidden', 'down_w'], ['y'], { name: 'down' }),
    ],
    tensors: [
      Tensor.int64('last', [-1]),
      Tensor.float('gain', gain),
      weight('gate_w', [WIDTH, HIDDEN], 1),
      weight('up_w', [WIDTH, HIDDEN], 2),
      weight('down_w', [HIDDEN, WIDTH], 3),
    ],
    inputs: { x: ['rows', WIDTH] },
    outputs: { y: ['rows', WIDTH] },
  });
}

const x = (seed: number, rows: number) => ({
  type: 'float' as const,
  dims: [rows, WIDTH],
  data: noise(rows * WIDTH, seed),
});
const calibration: FeedSource = {
  samples: 128,
  async *batches() {
    for (let batch = 0; batch < 8; batch += 1) yield await Promise.resolve({ feeds: { x: x(batch, 16) }, count: 16 });
  },
};
const context = contextOf(calibration);

async function quantized(options: object) {
  const model = gatedBlock();
  const feeds = { x: x(99, 64) };
  const before = await outputOf(model, feeds);
  const result = await apply(quantizeWeights, model, options, context);
  verifyModel(model);
  const after = await outputOf(model, feeds);
  const error = before.reduce((sum, value, i) => sum + (value - (after[i] ?? 0)) ** 2, 0);
  const energy = before.reduce((sum, value) => sum + value ** 2, 0);
  return { model, error: error / energy, layers: result.details['layers'] as LayerReport[], result };
}

describe('algorithms that look at calibration data', () => {
  for (const format of ['matmulnbits', 'qdq'] as const) {
    for (const bits of [4, 2] as const) {
      for (const algorithm of ['gptq', 'awq'] as const) {
        // 2-bit codes in qdq need another opset; the layout is tested elsewhere.
        if (format === 'qdq' && bits === 2) continue;
        it(`${algorithm} at ${bits} bits in ${format} changes the output less than rounding to nearest, and says so`, async () => {
          const plain = await quantized({ format, bits, blockSize: 32 });
          const better = await quantized({ format, bits, blockSize: 32, algorithm });
          assert.ok(better.error < 0.75 * plain.error, `${better.error} against ${plain.error}`);
          assert.deepEqual(new Set(better.layers.map((layer) => layer.algorithm)), new Set([algorithm]));
          for (const { outputError } of better.layers) {
            assert.ok(outputError !== undefined && outputError.after < outputError.before);
          }
        });
      }
    }
  }

  it('awq divides in the gain of the normalization and in the layer before the gate: nothing is added', async () => {
    const { model, layers } = await quantized({ algorithm: 'awq' });
    assert.equal(operators(model)['Mul'], 3);
    const scaled = layers.filter(({ inputScales }) => inputScales !== undefined);
    assert.ok(scaled.length >= 2 && scaled.every(({ inputScales }) => inputScales?.folded === true));
    assert.deepEqual(layers.map(({ nodes }) => nodes[0]).sort(), ['down', 'gate', 'up']);
  });

  for (const options of [{ bits: 4 }, { bits: 2 }, { bits: 4, symmetric: true, blockSize: 128 }]) {
    it(`awq clips where the outputs change less, and never loses by it (${JSON.stringify(options)})`, async () => {
      const without = await quantized({ ...options, algorithm: 'awq', clipSearch: false });
      const clipped = await quantized({ ...options, algorithm: 'awq' });
      assert.ok(clipped.error < without.error, `${clipped.error} against ${without.error}`);
      assert.ok(without.layers.every(({ clippedBlockShare }) => clippedBlockShare === undefined));
      assert.ok(clipped.layers.some(({ clippedBlockShare = 0 }) => clippedBlockShare > 0));
      // The last layer is the first to be quantized: both times on the same inputs.
      const [a, b] = [without, clipped].map(
        ({ layers }) => layers.find(({ nodes }) => nodes[0] === 'down')?.outputError,
      );
      assert.ok(a !== undefined && b !== undefined && b.after <= a.after && b.before === a.before);
    });
  }

  it('awq adds a Mul where somebody else reads the value', async () => {
    const model = gatedBlock();
    model.graph.nodes.push(makeNode('Identity', ['h'], ['z']));
    model.graph.outputs.push({ name: 'z', type: { kind: 'tensor', elementType: 'float', shape: ['rows', WIDTH] } });
    await apply(quantizeWeights, model, { algorithm: 'awq', include: ['gate', 'up'] }, context);
    verifyModel(model);
    assert.equal(operators(model)['Mul'], 4);
  });

  it('says why a weight had to do without data', async () => {
    const model = gatedBlock();
    model.graph.initializers.set('table', weight('table', [40, WIDTH], 9));
    model.graph.initializers.set('ids', Tensor.int64('ids', [0]));
    model.graph.nodes.splice(0, 0, makeNode('Gather', ['table', 'ids'], ['row'], { name: 'embed' }));
    model.graph.nodes.push(makeNode('Add', ['row', 'y'], ['y2']));
    model.graph.outputs = [{ name: 'y2', type: { kind: 'tensor', elementType: 'float', shape: ['rows', WIDTH] } }];
    const { details } = await apply(quantizeWeights, model, { algorithm: 'gptq' }, context);
    const embedding = (details['layers'] as LayerReport[]).find(({ nodes }) => nodes[0] === 'embed');
    assert.equal(embedding?.algorithm, 'k-quant');
    assert.match(embedding.reason ?? '', /not multiplied as those of a layer/);
  });

  it('the same request gives the same bytes', async () => {
    for (const algorithm of ['gptq', 'awq']) {
      const [a, b] = [await quantized({ algorithm }), await quantized({ algorithm })];
      assert.deepEqual(encodeModel(a.model), encodeModel(b.model));
    }
  });

  it('asks for calibration data, and only then', () => {
    const needs = (algorithm: string) => quantizeWeights.needs(quantizeWeights.options.parse({ algorithm }));
    assert.deepEqual(
      ['rtn', 'k-quant', 'hqq', 'gptq', 'awq'].map((name) => needs(name).length),
      [0, 0, 0, 1, 1],
    );
  });
});

describe('moving scales in front of products', () => {
  it('leaves the outputs as they were: through a gain, and through a factor of a gate', async () => {
    const model = gatedBlock();
    const feeds = { x: x(5, 8) };
    const before = await outputOf(model, feeds);
    const { targets } = weightTargets(model, { exclude: [] });
    const branch = (value: string) => ({
      value,
      targets: targets.filter(({ nodes }) => nodes[0]?.inputs[0] === value),
    });
    const scales = (count: number, seed: number) => Float64Array.from(noise(count, seed), (value) => 2 + value);
    assert.equal(moveScales(model, branch('hidden'), scales(HIDDEN, 7)), undefined);
    assert.equal(moveScales(model, branch('h'), scales(WIDTH, 8)), undefined);
    const after = await outputOf(model, feeds);
    // Each weight is multiplied and divided once in float32.
    assert.ok(cosine(before, after) > 1 - 1e-9);
    before.forEach((value, i) => assert.ok(Math.abs(value - (after[i] ?? 0)) < 1e-4));
  });
});
