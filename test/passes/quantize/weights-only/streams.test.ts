import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import { loadModel } from '../../../../src/onnx/codec/load.ts';
import { TensorSpool } from '../../../../src/onnx/codec/tensor-spool.ts';
import { writeModel } from '../../../../src/onnx/codec/write.ts';
import { makeNode } from '../../../../src/onnx/node.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { quantizeFloat } from '../../../../src/passes/quantize/float/quantize-float.ts';
import { blocksAlong } from '../../../../src/passes/quantize/weights-only/block-view.ts';
import { packedStripes } from '../../../../src/passes/quantize/weights-only/packed-stripes.ts';
import { quantizeWeights } from '../../../../src/passes/quantize/weights-only/quantize-weights.ts';
import { addError } from '../../../../src/passes/quantize/weights-only/quantized-rows.ts';
import { rowsOf } from '../../../../src/passes/quantize/weights-only/read-rows.ts';
import { rtnRows } from '../../../../src/passes/quantize/weights-only/rtn.ts';
import { NBitsStore } from '../../../../src/passes/quantize/weights-only/stored-codes.ts';
import { apply, contextOf, net, noise, weight } from '../helpers.ts';

const folder = mkdtempSync(join(tmpdir(), 'weight-streams-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('rounding straight into packed words', () => {
  for (const bits of [8, 4, 2] as const) {
    for (const symmetric of [false, true]) {
      for (const [dims, axis] of [
        [[96, 300], 0],
        [[300, 96], 1],
        [[70, 41], 0],
      ] as const) {
        it(`gives what rounding by rows gives: ${bits} bits, symmetric ${symmetric}, [${dims.join(', ')}] along axis ${axis}`, () => {
          const scheme = { bits, symmetric };
          const view = blocksAlong(dims, axis, 32);
          const options = { view, scheme, floatZeros: false, spool: undefined };
          const tensor = Tensor.float('w', noise(dims[0] * dims[1], 4), dims);
          const rows = rowsOf(tensor.floats(), view);
          const quantized = rtnRows(rows, view, scheme);
          const plain = new NBitsStore(options);
          plain.add(quantized);
          const expectedLoss = { error: 0, energy: 0 };
          addError(expectedLoss, rows, quantized, view);

          const packed = new NBitsStore(options);
          const lost = { error: 0, energy: 0 };
          // Small enough for several stripes, and several stretches in each.
          const limits = { packedBytes: 4000, floatBytes: 8000 };
          let stripes = 0;
          for (const stripe of packedStripes(tensor, view, { scheme, lost, reuse: false }, limits)) {
            packed.addPacked(stripe);
            stripes += 1;
          }
          assert.ok(stripes > 1 || dims[1] === 41);
          const [a, b] = [plain.finish('w'), packed.finish('w')];
          assert.deepEqual(b.codes.bytes(), a.codes.bytes());
          assert.deepEqual(b.scales.bytes(), a.scales.bytes());
          assert.deepEqual(b.zeroPoints?.bytes(), a.zeroPoints?.bytes());
          assert.ok(Math.abs(lost.error / expectedLoss.error - 1) < 1e-6);
          assert.ok(Math.abs(lost.energy / expectedLoss.energy - 1) < 1e-12);
        });
      }
    }
  }
});

describe('from external data to a spool', () => {
  const model = () =>
    net({
      nodes: [
        makeNode('MatMul', ['x', 'w1'], ['a'], { name: 'columns' }),
        makeNode('Gemm', ['a', 'w2'], ['b'], { attributes: { transB: 1 }, name: 'rows' }),
        makeNode('MatMul', ['b', 'w3'], ['y'], { name: 'odd' }),
      ],
      tensors: [weight('w1', [64, 96], 1), weight('w2', [80, 96], 2), weight('w3', [80, 41], 3)],
      inputs: { x: [2, 64] },
      outputs: { y: [2, 41] },
    });

  for (const [pass, options] of [
    [quantizeWeights, {}],
    [quantizeWeights, { format: 'qdq' }],
    [quantizeWeights, { algorithm: 'k-quant' }],
    [quantizeWeights, { algorithm: 'hqq' }],
    [quantizeFloat, {}],
    [quantizeFloat, { type: 'float8e4m3fn' }],
  ] as const) {
    it(`${pass.name} ${JSON.stringify(options)} gives the bytes that it gives in memory`, async () => {
      const inMemory = model();
      await apply(pass, inMemory, options, contextOf());
      const path = join(folder, 'model.onnx');
      await writeModel(model(), path, { externalData: { location: 'model.data', thresholdBytes: 16 } });
      const external = await loadModel(path);
      const spool = new TensorSpool(join(folder, 'spool.bin'));
      await apply(pass, external, options, contextOf(undefined, { spool }));
      assert.deepEqual(encodeModel(external), encodeModel(inMemory));
      const stored = [...external.graph.initializers.values()].filter(({ storage }) => storage.kind === 'external');
      assert.ok(stored.length >= 3);
      spool.remove();
    });
  }
});
