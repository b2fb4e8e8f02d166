import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fromBinary, toBinary, toJson } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { ModelProtoSchema } from 'onnx-buf';
import { DATA_TYPES, byteLengthOf, type DataType } from '../../../src/onnx/data-type.ts';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { Graph } from '../../../src/onnx/graph.ts';
import { Model } from '../../../src/onnx/model.ts';
import { Node, type Attribute } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import type { Dimension, ValueInfo } from '../../../src/onnx/value-type.ts';
import { everything, modelBytes } from './protos.ts';

const bytes = new Uint8Array(readFileSync('test/fixtures/onnx/pytorch-resnet8.onnx'));

describe('decodeModel and encodeModel', () => {
  it('keep the example model: same message by the ONNX schema, every byte of every tensor', () => {
    const encoded = encodeModel(decodeModel(bytes));
    // The reference is the generated schema, which knows nothing of our IR.
    const before = toBinary(ModelProtoSchema, fromBinary(ModelProtoSchema, bytes));
    const after = toBinary(ModelProtoSchema, fromBinary(ModelProtoSchema, encoded));
    assert.ok(Buffer.from(before).equals(after));
  });

  it('keep functions, subgraphs, sparse tensors, annotations, all attribute kinds and unknown fields', () => {
    const before = everything();
    const after = fromBinary(ModelProtoSchema, encodeModel(decodeModel(toBinary(ModelProtoSchema, before))));
    // Device configurations come back from unknown fields; compared as JSON first, for a readable difference.
    assert.deepEqual(toJson(ModelProtoSchema, after), toJson(ModelProtoSchema, before));
    assert.ok(Buffer.from(toBinary(ModelProtoSchema, after)).equals(toBinary(ModelProtoSchema, before)));
  });

  it('view tensors instead of copying them, also from a Buffer', () => {
    const model = decodeModel(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    for (const tensor of model.graph.initializers.values()) {
      assert.equal(tensor.bytes().buffer, bytes.buffer);
      assert.ok(!Buffer.isBuffer(tensor.bytes()));
      assert.equal(tensor.floats().length, tensor.elementCount);
    }
  });

  it('give the same bytes each time', () => {
    const once = encodeModel(decodeModel(toBinary(ModelProtoSchema, everything())));
    assert.deepEqual(encodeModel(decodeModel(once)), once);
  });

  it('read the long name of the default domain as the short one', () => {
    const model = decodeModel(
      modelBytes({ node: [{ opType: 'Relu', domain: 'ai.onnx', input: ['x'], output: ['y'] }] }),
    );
    assert.equal(model.graph.nodes[0]?.domain, '');
  });

  it('read a negative dimension of a value as unknown, as ONNX Runtime does', () => {
    const dim = [{ value: { case: 'dimValue' as const, value: -1n } }];
    const model = decodeModel(
      modelBytes({
        input: [{ name: 'x', type: { value: { case: 'tensorType', value: { elemType: 1, shape: { dim } } } } }],
      }),
    );
    assert.deepEqual(model.graph.inputs[0]?.type, { kind: 'tensor', elementType: 'float', shape: [null] });
  });

  it('take the kind of an attribute without a type (IR 1) from what is set', () => {
    const attribute = [
      { name: 'zero', i: 0n },
      { name: 'f', f: 2 },
      { name: 'axes', ints: [1n] },
    ];
    const model = decodeModel(modelBytes({ node: [{ opType: 'X', attribute }] }));
    assert.deepEqual(
      Array.from(model.graph.nodes[0]?.attributes.values() ?? [], ({ kind }) => kind),
      ['int', 'float', 'ints'],
    );
  });
});

describe('random models', () => {
  it('survive encoding and decoding', () => {
    fc.assert(
      fc.property(anyModel(2), (model) => {
        const encoded = encodeModel(model);
        const decoded = decodeModel(encoded);
        assert.deepEqual(plain(decoded), plain(model));
        assert.deepEqual(encodeModel(decoded), encoded);
      }),
      { numRuns: 150 },
    );
  });
});

/** Views compare by their bytes, so that a view into the file equals an array of its own. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (value instanceof Map) return Array.from(value as Map<string, unknown>, ([key, item]) => [key, plain(item)]);
  if (Array.isArray(value)) return value.map((item: unknown) => plain(item));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

function anyTensor(): fc.Arbitrary<Tensor> {
  const types = Object.keys(DATA_TYPES) as DataType[];
  return fc
    .record({
      name: fc.string({ unit: 'grapheme' }),
      dataType: fc.constantFrom(...types),
      dims: fc.array(fc.nat(4), { maxLength: 3 }),
    })
    .chain(({ name, dataType, dims }) => {
      const count = dims.reduce((product, dim) => product * dim, 1);
      const storage =
        dataType === 'string'
          ? fc
              .array(fc.uint8Array(), { minLength: count, maxLength: count })
              .map((values) => ({ kind: 'strings' as const, values }))
          : fc
              .uint8Array({ minLength: byteLengthOf(dataType, count), maxLength: byteLengthOf(dataType, count) })
              .map((data) => ({ kind: 'bytes' as const, bytes: data }));
      return storage.map((data) => new Tensor({ name, dataType, dims, storage: data }));
    });
}

function anyValueInfo(): fc.Arbitrary<ValueInfo> {
  const dimension: fc.Arbitrary<Dimension> = fc.oneof(fc.nat(), fc.string({ minLength: 1 }), fc.constant(null));
  const elementType = fc.constantFrom('float' as const, 'int64' as const, 'string' as const);
  const tensor = fc.oneof(
    elementType.map((type) => ({ kind: 'tensor' as const, elementType: type })),
    fc
      .tuple(elementType, fc.array(dimension, { maxLength: 4 }))
      .map(([type, shape]) => ({ kind: 'tensor' as const, elementType: type, shape })),
  );
  const type = fc.oneof(
    tensor,
    tensor.map((element) => ({ kind: 'sequence' as const, element })),
  );
  return fc.tuple(fc.string(), type).map(([name, valueType]) => ({ name, type: valueType }));
}

function anyAttribute(depth: number): fc.Arbitrary<Attribute> {
  const int = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  const float = fc.float();
  const simple: fc.Arbitrary<Attribute>[] = [
    int.map((value) => ({ kind: 'int', value })),
    float.map((value) => ({ kind: 'float', value })),
    fc.uint8Array().map((value) => ({ kind: 'string', value })),
    fc.array(int).map((value) => ({ kind: 'ints', value })),
    fc.array(float).map((value) => ({ kind: 'floats', value })),
    fc.array(fc.uint8Array()).map((value) => ({ kind: 'strings', value })),
    anyTensor().map((value) => ({ kind: 'tensor', value })),
  ];
  if (depth > 0) simple.push(anyGraph(depth - 1).map((value) => ({ kind: 'graph', value })));
  return fc.oneof(...simple);
}

function anyGraph(depth: number): fc.Arbitrary<Graph> {
  const names = fc.array(fc.string(), { maxLength: 3 });
  const node = fc
    .record({
      opType: fc.string(),
      inputs: names,
      outputs: names,
      name: fc.string({ unit: 'grapheme' }),
      docString: fc.string(),
      attributes: fc.uniqueArray(fc.tuple(fc.string(), anyAttribute(depth)), {
        selector: ([name]) => name,
        maxLength: 4,
      }),
    })
    .map((fields) => new Node({ ...fields, attributes: new Map(fields.attributes) }));
  return fc
    .record({
      name: fc.string(),
      nodes: fc.array(node, { maxLength: 4 }),
      inputs: fc.array(anyValueInfo(), { maxLength: 3 }),
      outputs: fc.array(anyValueInfo(), { maxLength: 3 }),
      tensors: fc.uniqueArray(anyTensor(), { selector: ({ name }) => name, maxLength: 3 }),
    })
    .map(
      ({ tensors, ...fields }) =>
        new Graph({ ...fields, initializers: new Map(tensors.map((tensor) => [tensor.name, tensor])) }),
    );
}

function anyModel(depth: number): fc.Arbitrary<Model> {
  return fc
    .record({ graph: anyGraph(depth), opset: fc.nat(30), irVersion: fc.nat(20), producerName: fc.string() })
    .map(({ opset, ...fields }) => new Model({ ...fields, opsetImports: new Map([['', opset]]) }));
}
