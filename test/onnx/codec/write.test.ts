import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import { AttributeProto_AttributeType as Kind, ModelProtoSchema } from 'onnx-buf';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { loadModel } from '../../../src/onnx/codec/load.ts';
import { writeModel } from '../../../src/onnx/codec/write.ts';
import { Graph } from '../../../src/onnx/graph.ts';
import { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { createRuntime } from '../../../src/runtime/onnxruntime.ts';
import { everything } from './protos.ts';

const folder = mkdtempSync(join(tmpdir(), 'write-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const fresh = (): string => mkdtempSync(join(folder, 'case-'));

const weights = Float32Array.from({ length: 5000 }, (_, index) => index / 7);
/** y = x[1,2] + first two numbers of w[5000], by way of Slice. */
function sliceModel(): Model {
  return new Model({
    irVersion: 10,
    opsetImports: new Map([['', 21]]),
    graph: new Graph({
      name: 'g',
      inputs: [tensorValue('x', 'float', [2])],
      outputs: [tensorValue('y', 'float', [2])],
      initializers: new Map([
        ['w', Tensor.float('w', weights)],
        [
          'v',
          Tensor.float(
            'v',
            weights.map((value) => -value),
          ),
        ],
        ['start', Tensor.int64('start', [4998])],
        ['end', Tensor.int64('end', [5000])],
      ]),
      nodes: [
        makeNode('Slice', ['w', 'start', 'end'], ['wt']),
        makeNode('Slice', ['v', 'start', 'end'], ['vt']),
        makeNode('Add', ['x', 'wt'], ['a']),
        makeNode('Sub', ['a', 'vt'], ['y']),
      ],
    }),
  });
}

describe('writeModel', () => {
  it('writes the bytes encodeModel gives, and their hash', async () => {
    const path = join(fresh(), 'm.onnx');
    const model = decodeModel(toBinary(ModelProtoSchema, everything()));
    const { files } = await writeModel(model, path);
    const bytes = readFileSync(path);
    assert.deepEqual(new Uint8Array(bytes), encodeModel(model));
    assert.deepEqual(files, [{ path, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }]);
  });

  for (const alignment of [4096, 65536] as const) {
    it(`puts large initializers into a data file at multiples of ${alignment}, as ONNX Runtime reads them`, async () => {
      const directory = fresh();
      const path = join(directory, 'm.onnx');
      const { files } = await writeModel(sliceModel(), path, {
        externalData: { location: 'm.data', thresholdBytes: 1000, alignment },
      });
      const data = readFileSync(join(directory, 'm.data'));
      assert.deepEqual(
        files.map((file) => [file.path, file.bytes]),
        [
          [path, readFileSync(path).length],
          [join(directory, 'm.data'), alignment * Math.ceil(20000 / alignment) + 20000],
        ],
      );
      assert.equal(files[1]?.sha256, createHash('sha256').update(data).digest('hex'));
      const tensors = fromBinary(ModelProtoSchema, readFileSync(path)).graph?.initializer ?? [];
      assert.deepEqual(
        tensors.map((tensor) => tensor.externalData.map(({ value }) => value)),
        [['m.data', '0', '20000'], ['m.data', String(alignment * Math.ceil(20000 / alignment)), '20000'], [], []],
      );
      const session = await createRuntime(directory).createSession({ path }, { threads: 1 });
      const results = await session.run({ x: { type: 'float', dims: [2], data: Float32Array.of(1, 2) } });
      await session.release();
      const expected = [1, 2].map((x, index) => Math.fround(x + 2 * (weights[4998 + index] ?? 0)));
      assert.deepEqual(Array.from((results.get('y')?.data ?? []) as Float32Array), expected);
      assert.deepEqual(readdirSync(directory).sort(), ['m.data', 'm.onnx']);
    });
  }

  it('writes a model over the files it came from', async () => {
    const directory = fresh();
    const path = join(directory, 'm.onnx');
    const externalData = { location: 'm.data', thresholdBytes: 1000 };
    await writeModel(sliceModel(), path, { externalData });
    const model = await loadModel(path);
    model.graph.initializers.delete('v');
    await writeModel(model, path, { externalData });
    const again = await loadModel(path);
    assert.deepEqual(again.graph.initializers.get('w')?.floats(), weights);
    assert.equal(readFileSync(join(directory, 'm.data')).length, 20000);
  });

  it('brings external tensors back into one file, and gives the same bytes each time', async () => {
    const directory = fresh();
    const path = join(directory, 'm.onnx');
    await writeModel(sliceModel(), path, { externalData: { location: 'm.data', thresholdBytes: 1000 } });
    const loaded = await loadModel(path);
    const one = join(directory, 'one.onnx');
    const first = await writeModel(loaded, one);
    assert.deepEqual(new Uint8Array(readFileSync(one)), encodeModel(sliceModel()));
    assert.deepEqual(await writeModel(loaded, one), first);
  });

  it('leaves nothing behind when it fails', async () => {
    const directory = fresh();
    const path = join(directory, 'm.onnx');
    await writeModel(sliceModel(), path, { externalData: { location: 'm.data', thresholdBytes: 1000 } });
    const model = await loadModel(path);
    writeFileSync(join(directory, 'm.data'), 'gone');
    await assert.rejects(writeModel(model, join(directory, 'n.onnx')), { code: 'MODEL_EXTERNAL_DATA' });
    assert.deepEqual(readdirSync(directory).sort(), ['m.data', 'm.onnx']);
  });

  it('refuses a data file outside the folder', async () => {
    for (const location of ['../x', 'a/b', '/x', '', 'm.onnx']) {
      const externalData = { location, thresholdBytes: 0 };
      await assert.rejects(writeModel(sliceModel(), join(fresh(), 'm.onnx'), { externalData }), {
        code: 'MODEL_EXTERNAL_DATA',
      });
    }
  });
});

describe('a model with function, subgraph, sparse initializer and unknown field', () => {
  it('gives the same result in ONNX Runtime after a round trip', async () => {
    const float = {
      case: 'tensorType' as const,
      value: { elemType: 1, shape: { dim: [{ value: { case: 'dimValue' as const, value: 3n } }] } },
    };
    const flag = { case: 'tensorType' as const, value: { elemType: 9, shape: {} } };
    const raw = (values: Float32Array | BigInt64Array) => new Uint8Array(values.slice().buffer);
    const branch = (name: string, opType: string) => ({
      name,
      node: [{ opType, input: ['x', 'sparse'], output: [`${name}_y`] }],
      output: [{ name: `${name}_y`, type: { value: float } }],
    });
    const proto = create(ModelProtoSchema, {
      irVersion: 10n,
      opsetImport: [{ version: 21n }, { domain: 'local', version: 1n }],
      functions: [
        {
          name: 'Scaled',
          domain: 'local',
          input: ['a'],
          output: ['b'],
          attribute: ['alpha'],
          node: [
            {
              opType: 'LeakyRelu',
              input: ['a'],
              output: ['b'],
              attribute: [{ name: 'alpha', type: Kind.FLOAT, refAttrName: 'alpha' }],
            },
          ],
          opsetImport: [{ version: 21n }],
        },
      ],
      graph: {
        name: 'g',
        input: [
          { name: 'x', type: { value: float } },
          { name: 'cond', type: { value: flag } },
        ],
        output: [{ name: 'y', type: { value: float } }],
        sparseInitializer: [
          {
            values: { name: 'sparse', dims: [1n], dataType: 1, rawData: raw(Float32Array.of(5)) },
            indices: { dims: [1n], dataType: 7, rawData: raw(BigInt64Array.of(1n)) },
            dims: [3n],
          },
        ],
        node: [
          {
            opType: 'If',
            input: ['cond'],
            output: ['c'],
            attribute: [
              { name: 'then_branch', type: Kind.GRAPH, g: branch('then', 'Add') },
              { name: 'else_branch', type: Kind.GRAPH, g: branch('else', 'Sub') },
            ],
          },
          {
            opType: 'Scaled',
            domain: 'local',
            input: ['c'],
            output: ['y'],
            attribute: [{ name: 'alpha', type: Kind.FLOAT, f: 0.5 }],
          },
        ],
      },
    });
    proto.$unknown = [{ no: 500, wireType: WireType.Varint, data: Uint8Array.of(7) }];
    const path = join(fresh(), 'm.onnx');
    await writeModel(decodeModel(toBinary(ModelProtoSchema, proto)), path);
    const session = await createRuntime(folder).createSession({ path }, { threads: 1 });
    const x = { type: 'float' as const, dims: [3], data: Float32Array.of(-2, 1, 4) };
    const run = async (value: number): Promise<unknown> => {
      const results = await session.run({ x, cond: { type: 'bool', dims: [], data: Uint8Array.of(value) } });
      return Array.from((results.get('y')?.data ?? []) as Float32Array);
    };
    // By hand: x + [0, 5, 0] and x - [0, 5, 0], negative numbers halved.
    assert.deepEqual(await run(1), [-1, 6, 4]);
    assert.deepEqual(await run(0), [-1, -2, 4]);
    await session.release();
  });
});
