import assert from 'node:assert/strict';
import { gunzipSync, gzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { loadModel } from '../../src/onnx/codec/load.ts';
import { Graph } from '../../src/onnx/graph.ts';
import { summarizeModel } from '../../src/onnx/print/summarize-model.ts';
import { Model } from '../../src/onnx/model.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { codesTensor } from '../../src/passes/quantize/quant-type.ts';
import { outputOf } from '../passes/quantize/helpers.ts';
import { tensorValue } from '../../src/onnx/value-type.ts';
import { countParameters, measureFile } from '../../src/evaluation/sizes.ts';
import { constantRoles, countWeight, dequantized, storedValues } from '../../src/evaluation/stored-weights.ts';
import { makeNode, model, withContext } from './helpers.ts';

const example = 'test/fixtures/onnx/pytorch-resnet8.onnx';

const int8 = (name: string, values: readonly number[], dims: readonly number[]): Tensor =>
  Tensor.fromArray(name, { type: 'int8', dims, data: Int8Array.from(values) });

/** x * dequantized W [2, 3], scale per column, zero points 1, 0, 0. */
function quantized() {
  return model({
    nodes: [
      makeNode('DequantizeLinear', ['wq', 'ws', 'wz'], ['w'], { attributes: { axis: 1 } }),
      makeNode('MatMul', ['x', 'w'], ['y']),
    ],
    inputs: [tensorValue('x', 'float', ['n', 2])],
    outputs: [tensorValue('y', 'float', ['n', 3])],
    initializers: [
      int8('wq', [1, 0, -128, 3, 4, 127], [2, 3]),
      Tensor.float('ws', [0.5, 2, 1]),
      int8('wz', [1, 0, 0], [3]),
      Tensor.int64('shape', [1, -1]),
    ],
  });
}

describe('stored weights', () => {
  it('dequantizes per axis as ONNX defines it: (q - zeroPoint) * scale', () => {
    const weight = constantRoles(quantized().graph).weights.get('wq');
    assert.ok(weight !== undefined);
    assert.deepEqual(Array.from(dequantized(weight) ?? []), [0, 0, -128, 1, 8, 127]);
    assert.deepEqual(countWeight(weight), { elements: 6, zeros: 2, saturated: 2 });
  });

  it('reads 2-bit weights whose scale is in a Mul behind them, with balanced levels as ONNX Runtime computes them', async () => {
    for (const offset of [undefined, 0.5]) {
      const shifted = offset === undefined ? [] : [makeNode('Add', ['steps', 'half'], ['beside'])];
      const graph = new Graph({
        name: 'g',
        nodes: [
          makeNode('DequantizeLinear', ['wq', 'one', 'zp'], ['steps'], { attributes: { axis: 0 } }),
          ...shifted,
          makeNode('Mul', [offset === undefined ? 'steps' : 'beside', 'ws'], ['w']),
          makeNode('Mul', ['x', 'w'], ['y']),
        ],
        inputs: [tensorValue('x', 'float', [])],
        outputs: [tensorValue('y', 'float', [2, 4])],
        initializers: new Map(
          [
            codesTensor('wq', 'int2', [2, 4], Int8Array.of(-2, -1, 0, 1, 0, 0, 1, -2)),
            codesTensor('zp', 'int2', [2], Int8Array.of(0, 0)),
            Tensor.float('one', [1, 1]),
            Tensor.float('ws', [0.25, 3], [2, 1]),
            ...(offset === undefined ? [] : [Tensor.float('half', [offset], [])]),
          ].map((tensor) => [tensor.name, tensor]),
        ),
      });
      const { weights, quantizationTensors } = constantRoles(graph);
      assert.deepEqual([...weights.keys()], ['wq']);
      assert.ok(quantizationTensors.has('ws'));
      const weight = weights.get('wq');
      assert.ok(weight !== undefined);
      const run = new Model({ graph, opsetImports: new Map([['', 25]]), irVersion: 11 });
      const expected = await outputOf(run, { x: { type: 'float', dims: [], data: Float32Array.of(1) } });
      assert.deepEqual(Float32Array.from(dequantized(weight) ?? []), expected);
      assert.equal(countWeight(weight).zeros, offset === undefined ? 3 : 0);
    }
  });

  it('dequantizes blocks along an axis', () => {
    const graph = new Graph({
      name: 'g',
      nodes: [makeNode('DequantizeLinear', ['wq', 'ws'], ['w'], { attributes: { axis: 0, block_size: 2 } })],
      initializers: new Map([
        ['wq', int8('wq', [1, 1, 1, 1, 1, 1, 1, 1], [4, 2])],
        ['ws', Tensor.float('ws', [1, 2, 3, 4], [2, 2])],
      ]),
    });
    const weight = constantRoles(graph).weights.get('wq');
    assert.ok(weight !== undefined);
    assert.deepEqual(Array.from(dequantized(weight) ?? []), [1, 2, 1, 2, 3, 4, 3, 4]);
  });

  it('unpacks four-bit integers, low half first, with sign', () => {
    const bytes = Uint8Array.from([0xf1, 0x87]);
    const tensor = (dataType: 'int4' | 'uint4'): Tensor =>
      new Tensor({ name: 't', dataType, dims: [4], storage: { kind: 'bytes', bytes } });
    assert.deepEqual(Array.from(storedValues(tensor('int4')) ?? []), [1, -1, 7, -8]);
    assert.deepEqual(
      Array.from(storedValues(tensor('uint4')) ?? []).map((value) => value & 15),
      [1, 15, 7, 8],
    );
  });
});

describe('countParameters', () => {
  it('counts a bitmap and the nonzero values where that is smaller than the dense weights', () => {
    const model = quantized();
    const graph = new Graph({ name: 'sparse' });
    // 40 of 100 are not zero: 13 bytes of bitmap and 160 of values. The other weight is dense: 8 bytes as it is.
    graph.initializers.set(
      'w',
      Tensor.float(
        'w',
        Float32Array.from({ length: 100 }, (_, i) => (i % 5 < 2 ? 1 : 0)),
      ),
    );
    graph.initializers.set('v', Tensor.float('v', [1, 2]));
    assert.equal(countParameters(Object.assign(model, { graph })).bytesSparse, 13 + 160 + 8);
    graph.initializers.delete('w');
    assert.equal(countParameters(Object.assign(model, { graph })).bytesSparse, undefined);
  });

  it('counts weights, not shapes or scales, and the bits they take with their scales', () => {
    const counts = countParameters(quantized());
    assert.equal(counts.parameters, 6);
    assert.equal(counts.nonzeroParameters, 4);
    // 6 bytes of weights, 12 of scales, 3 of zero points
    assert.equal(counts.effectiveBitsPerWeight, (8 * (6 + 12 + 3)) / 6);
  });

  it('agrees with the summary that the API answers', async () => {
    const float = await loadModel(example);
    const counts = countParameters(float);
    assert.equal(counts.parameters, summarizeModel(float).parameters);
    assert.equal(counts.effectiveBitsPerWeight, 32);
  });
});

describe('measureFile', () => {
  it('gives the size of the file and of what gzip makes of it', async () => {
    const sizes = await measureFile(example, await loadModel(example));
    const bytes = readFileSync(example);
    assert.equal(sizes.bytes, bytes.byteLength);
    if (sizes.compression === 'gzip') {
      assert.equal(gunzipSync(gzipSync(bytes)).byteLength, sizes.bytes);
      assert.ok(Math.abs((sizes.bytesCompressed ?? 0) - gzipSync(bytes).byteLength) < 64);
    }
    assert.ok((sizes.bytesCompressed ?? 0) < sizes.bytes);
  });

  it('follows the file, not the model in memory', async () => {
    await withContext(async (_context, write) => {
      const { path, model: written } = await write('m.onnx', quantized());
      assert.equal((await measureFile(path, written)).bytes, readFileSync(path).byteLength);
    });
  });
});
