import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { float16ToNumber, numberToBfloat16, numberToFloat16 } from '../../../src/data/half-float.ts';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import type { DataType } from '../../../src/onnx/data-type.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { runStep } from '../../../src/passes/pass-manager.ts';
import { pruneChannels } from '../../../src/passes/prune/channels/prune-channels.ts';
import { analyzeChannels } from '../../../src/passes/prune/groups/analyze-channels.ts';
import { channelGroups } from '../../../src/passes/prune/groups/channel-groups.ts';
import { teacherNet } from '../distill/helpers.ts';
import { contextOf, net, noise, weight } from '../quantize/helpers.ts';
import { op } from './between.ts';
import { assertRemovable, randomizeVectors } from './helpers.ts';

type Half = 'float16' | 'bfloat16' | 'double' | 'float';

const WRITERS: Readonly<Record<Half, (values: Float32Array) => Uint8Array>> = {
  float16: (values) => bytesOf(Uint16Array.from(values, numberToFloat16)),
  bfloat16: (values) => bytesOf(Uint16Array.from(values, numberToBfloat16)),
  double: (values) => bytesOf(Float64Array.from(values)),
  float: (values) => bytesOf(values),
};

function bytesOf({ buffer, byteOffset, byteLength }: Uint16Array | Float32Array | Float64Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** With weights that float16, and but for their last bits bfloat16, hold exactly. */
function network(): Model {
  const model = teacherNet();
  randomizeVectors(model, 3);
  for (const [name, tensor] of model.graph.initializers) {
    if (tensor.dataType !== 'float') continue;
    const values = Float32Array.from(tensor.floats(), (value) => float16ToNumber(numberToFloat16(value)));
    model.graph.initializers.set(name, Tensor.float(name, values, tensor.dims));
  }
  return model;
}

/** The same network in another type of floats. */
function inType(model: Model, type: Half): Model {
  const { graph } = model;
  for (const [name, tensor] of graph.initializers) {
    if (tensor.dataType !== 'float') continue;
    const storage = { kind: 'bytes', bytes: WRITERS[type](tensor.floats()) } as const;
    graph.initializers.set(name, new Tensor({ name, dims: tensor.dims, dataType: type, storage }));
  }
  const typed = (list: typeof graph.inputs) =>
    list.map(({ name, type: was }) =>
      tensorValue(name, type satisfies DataType, was?.kind === 'tensor' ? was.shape : undefined),
    );
  graph.inputs = typed(graph.inputs);
  graph.outputs = typed(graph.outputs);
  graph.valueInfos.clear();
  return model;
}

async function prune(model: Model, options: object) {
  const step = { pass: pruneChannels, options: pruneChannels.options.parse({ ratio: 0.5, ...options }) };
  return runStep(model, step, contextOf());
}

describe('prune.channels on weights', () => {
  for (const type of ['float16', 'bfloat16', 'double'] as const) {
    for (const importance of ['l2', 'fpgm', 'bn-scale'] as const) {
      it(`of ${type}, by ${importance} in two steps: cuts what it cuts of float`, async () => {
        const [given, reference] = [inType(network(), type), network()];
        // bfloat16 has fewer digits: the reference is what they leave.
        if (type === 'bfloat16') roundTo(reference);
        const result = await prune(given, { importance, steps: 2 });
        const expected = await prune(reference, { importance, steps: 2 });
        assert.ok(result.changes > 0);
        assert.deepEqual(result.details['layers'], expected.details['layers']);
        for (const [name, tensor] of given.graph.initializers) {
          const of = reference.graph.initializers.get(name);
          assert.deepEqual(tensor.dims, of?.dims);
          if (of?.dataType !== 'float') continue;
          assert.equal(tensor.dataType, type);
          assert.deepEqual(Uint8Array.from(tensor.bytes()), WRITERS[type](of.floats()), name);
        }
        verifyModel(decodeModel(encodeModel(given)));
      });
    }
  }

  for (const recover of ['bn-statistics', 'least-squares']) {
    it(`of float16, with recover ${recover}: recovers what it can, and names the rest`, async () => {
      const model = inType(network(), 'float16');
      const bits = Uint16Array.from(noise(64), numberToFloat16);
      const feeds = { input: { type: 'float16' as const, dims: [1, 1, 8, 8], data: bits } };
      const calibration = {
        samples: 2,
        async *batches() {
          for (let sample = 0; sample < 2; sample += 1) yield await Promise.resolve({ feeds, count: 1 });
        },
      };
      const step = { pass: pruneChannels, options: pruneChannels.options.parse({ ratio: 0.5, recover }) };
      const result = await runStep(model, step, contextOf(calibration));
      assert.ok(result.changes > 0);
      const recovered = (result.details['recovery'] as { layers: readonly unknown[] }).layers;
      assert.ok(recovered.length > 0 || result.skipped.some(({ reason }) => reason.startsWith('not recovered')));
      verifyModel(decodeModel(encodeModel(model)));
    });
  }

  it('in external data: reads them where they lie, and leaves what it does not cut there', async () => {
    const [given, reference] = [network(), network()];
    for (const [name, tensor] of given.graph.initializers) {
      const bytes = Uint8Array.from([1, 2, 3, 4, ...tensor.bytes(), 5]);
      const file = {
        location: `${name}.bin`,
        byteLength: bytes.length,
        read: (offset: number, length: number) => bytes.slice(offset, offset + length),
        readInto: (target: Uint8Array, offset: number) => target.set(bytes.subarray(offset, offset + target.length)),
      };
      const storage = { kind: 'external', file, offset: 4, byteLength: bytes.length - 5 } as const;
      const { dataType, dims } = tensor;
      given.graph.initializers.set(name, new Tensor({ name, dataType, dims, storage }));
    }
    const options = { include: ['stage1.block1.conv1'], scope: 'local' };
    await prune(given, options);
    await prune(reference, options);
    let external = 0;
    for (const [name, tensor] of given.graph.initializers) {
      const of = reference.graph.initializers.get(name);
      assert.deepEqual(tensor.dims, of?.dims);
      assert.deepEqual(Uint8Array.from(tensor.bytes()), Uint8Array.from(of?.bytes() ?? []), name);
      if (tensor.storage.kind === 'external') external += 1;
    }
    assert.ok(external > 0 && external < given.graph.initializers.size);
  });

  it('that layers share: they lose the same channels', () =>
    assertRemovable(
      {
        nodes: [
          op('MatMul', ['x', 'w0'], 'a'),
          op('MatMul', ['a', 'w'], 'b'),
          op('MatMul', ['b', 'w'], 'c'),
          op('MatMul', ['c', 'w_out'], 'y'),
        ],
        tensors: [weight('w0', [5, 8], 1), weight('w', [8, 8], 2), weight('w_out', [8, 3], 3)],
        inputs: { x: [2, 5] },
        outputs: { y: [2, 3] },
      },
      [8],
    ));

  it('that a layer shares with one that has to stay: both stay', () => {
    const model = net({
      nodes: [op('MatMul', ['x', 'w'], 'a'), op('MatMul', ['a', 'w'], 'y')],
      tensors: [weight('w', [6, 6], 1)],
      inputs: { x: [2, 6] },
      outputs: { y: [2, 6] },
    });
    const { groups, frozen } = channelGroups(analyzeChannels(model));
    assert.deepEqual(groups, []);
    assert.deepEqual(
      frozen.map(({ channels }) => channels),
      [6],
    );
  });
});

function roundTo(model: Model): void {
  for (const [name, tensor] of model.graph.initializers) {
    if (tensor.dataType !== 'float') continue;
    const rounded = Uint32Array.from(tensor.floats(), (value) => numberToBfloat16(value) * 2 ** 16);
    model.graph.initializers.set(name, Tensor.float(name, new Float32Array(rounded.buffer), tensor.dims));
  }
}
