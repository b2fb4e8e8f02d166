import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { AttributeProto_AttributeType as Kind, ModelProtoSchema } from 'onnx-buf';
import { CompressionError, type ErrorCode } from '../../../src/errors.ts';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { everything, modelBytes } from './protos.ts';

const example = new Uint8Array(readFileSync('test/fixtures/onnx/pytorch-resnet8.onnx'));
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function refuses(bytes: Uint8Array, code: ErrorCode, message: RegExp, limits = {}): void {
  assert.throws(
    () => decodeModel(bytes, { limits }),
    (error) => {
      assert.ok(error instanceof CompressionError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      return true;
    },
  );
}

describe('files that are no ONNX model', () => {
  const cases: [string, Uint8Array, RegExp][] = [
    ['0 bytes', new Uint8Array(), /0 bytes/],
    ['a truncated model', example.subarray(0, 100_000), /cut off.*field \w+ says it has \d+ bytes, \d+ are left/],
    ['a model without its last byte', example.subarray(0, -1), /cut off/],
    ['a ZIP archive', Uint8Array.of(0x50, 0x4b, 3, 4, 20, 0, 0, 0), /ZIP archive/],
    ['an HTML page', text('\n<!DOCTYPE html><html><body>Sign in</body></html>'), /HTML page/],
    ['a Git LFS pointer', text('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n'), /git lfs pull/],
    ['JSON', text('{"error": "not found"}'), /JSON/],
    ['a model in ORT format', Uint8Array.of(24, 0, 0, 0, ...text('ORTM'), 0, 0), /ORT format/],
    ['a message without a graph', Uint8Array.of(8, 10), /no graph/],
    [
      'a name that is not UTF-8',
      modelBytes({ node: [] }).map((byte) => (byte === 'g'.charCodeAt(0) ? 0xff : byte)),
      /UTF-8/,
    ],
  ];
  for (const [name, bytes, message] of cases) it(`${name}: MODEL_PARSE`, () => refuses(bytes, 'MODEL_PARSE', message));

  it('4 KiB of random bytes: MODEL_PARSE', () => {
    for (let round = 0; round < 200; round += 1) refuses(randomBytes(4096), 'MODEL_PARSE', /not an ONNX model/);
  });
});

describe('tensors that cannot be', () => {
  const cases: [string, object, RegExp][] = [
    ['a negative size', { dims: [2n, -1n], dataType: 1 }, /dims \[2, -1\] has a negative size/],
    ['2^62 x 8 elements', { dims: [2n ** 62n, 8n], dataType: 1 }, /too large/],
    ['2^62 x 0 elements', { dims: [2n ** 62n, 0n], dataType: 1 }, /too large/],
    [
      'raw_data that is too short',
      { dims: [4n], dataType: 1, rawData: new Uint8Array(12) },
      /needs 16 bytes of raw_data, got 12/,
    ],
    [
      'raw_data that is too long',
      { dims: [4n], dataType: 1, rawData: new Uint8Array(20) },
      /needs 16 bytes of raw_data, got 20/,
    ],
    ['no data', { dims: [4n], dataType: 1 }, /needs 4 items of data, got 0/],
    ['too few items', { dims: [4n], dataType: 7, int64Data: [1n] }, /needs 4 items of data, got 1/],
    ['too few strings', { dims: [2n], dataType: 8, stringData: [text('a')] }, /needs 2 strings, got 1/],
    ['type 99', { dims: [], dataType: 99, rawData: new Uint8Array(4) }, /element type 99/],
    ['type 0', { dims: [], dataType: 0, rawData: new Uint8Array(4) }, /element type 0/],
  ];
  for (const [name, tensor, message] of cases) {
    it(`${name}: MODEL_INVALID, with the tensor's name`, () => {
      const bytes = modelBytes({ initializer: [{ name: 'layer.weight', ...tensor }] });
      refuses(bytes, 'MODEL_INVALID', message);
      refuses(bytes, 'MODEL_INVALID', /layer\.weight/);
    });
  }

  it('a value of element type 99: MODEL_INVALID', () => {
    const type = { value: { case: 'tensorType' as const, value: { elemType: 99 } } };
    refuses(modelBytes({ input: [{ name: 'x', type }] }), 'MODEL_INVALID', /input "x": element type 99/);
  });

  it('a sparse tensor of negative or impossible dense size: MODEL_INVALID', () => {
    const values = { name: 's', dims: [1n], dataType: 1, rawData: new Uint8Array(4) };
    const indices = { dims: [1n], dataType: 7, rawData: new Uint8Array(8) };
    refuses(modelBytes({ sparseInitializer: [{ values, indices, dims: [-5n] }] }), 'MODEL_INVALID', /"s".*negative/);
    refuses(modelBytes({ sparseInitializer: [{ values, indices, dims: [2n ** 61n] }] }), 'MODEL_INVALID', /too large/);
  });

  it('two initializers of one name: MODEL_INVALID', () => {
    const tensor = { name: 'w', dims: [0n], dataType: 1 };
    refuses(modelBytes({ initializer: [tensor, tensor] }), 'MODEL_INVALID', /"w" occurs twice/);
  });

  it('an attribute whose type names a value that is missing: MODEL_INVALID', () => {
    const attribute = [{ name: 'value', type: Kind.TENSOR }];
    refuses(
      modelBytes({ node: [{ opType: 'Constant', name: 'c', attribute }] }),
      'MODEL_INVALID',
      /"c" attribute "value"/,
    );
  });
});

describe('limits', () => {
  const nested = (levels: number): Uint8Array => {
    // Built from the inside by hand: the schema's encoder would recurse.
    const message = (number: number, body: Uint8Array): Uint8Array =>
      new BinaryWriter().tag(number, WireType.LengthDelimited).bytes(body).finish();
    let graph: Uint8Array = new Uint8Array();
    for (let level = 0; level < levels; level += 1) {
      const attribute = Buffer.concat([message(1, text('body')), message(6, graph), Uint8Array.of(0xa0, 1, 5)]);
      graph = message(1, message(5, attribute));
    }
    return message(7, graph);
  };

  it('32 subgraphs in one another are fine, 33 are MODEL_LIMIT, 2,000 too', () => {
    assert.ok(decodeModel(nested(32)));
    refuses(nested(33), 'MODEL_LIMIT', /deeper than 32/);
    refuses(nested(2000), 'MODEL_LIMIT', /deeper than 32/);
  });

  it('types nested without end: MODEL_LIMIT', () => {
    let type: Uint8Array = new Uint8Array();
    for (let level = 0; level < 5000; level += 1) {
      const inner = new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(type).finish();
      type = new BinaryWriter().tag(4, WireType.LengthDelimited).bytes(inner).finish();
    }
    const info = new BinaryWriter().tag(2, WireType.LengthDelimited).bytes(type).finish();
    const graph = new BinaryWriter().tag(11, WireType.LengthDelimited).bytes(info).finish();
    refuses(new BinaryWriter().tag(7, WireType.LengthDelimited).bytes(graph).finish(), 'MODEL_LIMIT', /nests/);
  });

  it('groups nested without end are refused', () => {
    const bytes = new Uint8Array(100_000).fill((100 << 3) | 3);
    for (let index = 1; index < bytes.length; index += 2) bytes[index] = 6;
    for (let index = 0; index < bytes.length; index += 2) bytes[index] = 0xa3;
    refuses(bytes, 'MODEL_PARSE', /recursion/);
  });

  it('counts and sizes have limits of their own', () => {
    const node = Array.from({ length: 11 }, () => ({ opType: 'Relu' }));
    refuses(modelBytes({ node }), 'MODEL_LIMIT', /more than 10 nodes/, { nodes: 10 });
    const initializer = Array.from({ length: 11 }, (_, index) => ({ name: `w${index}`, dims: [0n], dataType: 1 }));
    refuses(modelBytes({ initializer }), 'MODEL_LIMIT', /more than 10 tensors/, { tensors: 10 });
    const attribute = Array.from({ length: 11 }, (_, index) => ({ name: `a${index}`, type: Kind.INTS }));
    refuses(modelBytes({ node: [{ attribute }] }), 'MODEL_LIMIT', /more than 10 attributes/, { attributes: 10 });
    refuses(example, 'LIMIT_SIZE', /319466 bytes, the limit is 1000/, { bytes: 1000 });
  });

  it('a few bytes that would decode to gigabytes are MODEL_LIMIT', () => {
    // 64 Mi one-byte numbers in int64_data: 64 MiB that become 2.5 GiB of bigints.
    const int64Data = new BinaryWriter()
      .tag(7, WireType.LengthDelimited)
      .bytes(new Uint8Array(2 ** 26))
      .finish();
    const graph = new BinaryWriter().tag(5, WireType.LengthDelimited).bytes(int64Data).finish();
    const model = new BinaryWriter().tag(7, WireType.LengthDelimited).bytes(graph).finish();
    refuses(model, 'MODEL_LIMIT', /would take more than/);
  });

  it('200,000 nodes decode', () => {
    const node = Array.from({ length: 200_000 }, (_, index) => ({
      opType: 'Relu',
      input: [`v${index}`],
      output: [`v${index + 1}`],
    }));
    assert.equal(decodeModel(modelBytes({ node })).graph.nodes.length, 200_000);
  });
});

describe('changed bytes', () => {
  const bases = [
    toBinary(ModelProtoSchema, everything()),
    example.subarray(0, 4000),
    modelBytes({ node: [{ opType: 'Relu' }] }),
  ];
  const edit = fc.record({
    at: fc.nat(),
    kind: fc.constantFrom('set', 'cut', 'insert', 'repeat'),
    value: fc.uint8Array({ maxLength: 9 }),
  });

  it('decode, or throw CompressionError: nothing else, and soon', () => {
    fc.assert(
      fc.property(fc.constantFrom(...bases), fc.array(edit, { minLength: 1, maxLength: 6 }), (base, edits) => {
        let bytes = Buffer.from(base);
        for (const { at, kind, value } of edits) {
          const position = at % bytes.length;
          if (kind === 'set') bytes.set(value.subarray(0, bytes.length - position), position);
          else if (kind === 'cut')
            bytes = Buffer.concat([bytes.subarray(0, position), bytes.subarray(position + value.length)]);
          else if (kind === 'insert')
            bytes = Buffer.concat([bytes.subarray(0, position), value, bytes.subarray(position)]);
          else bytes = Buffer.concat([bytes, bytes.subarray(position, position + 1000)]);
          if (bytes.length === 0) return;
        }
        try {
          // What decodes must also encode, and decode again.
          decodeModel(encodeModel(decodeModel(bytes)));
        } catch (error) {
          if (!(error instanceof CompressionError)) throw error;
        }
      }),
      { numRuns: 3000, interruptAfterTimeLimit: 15_000, markInterruptAsFailure: true },
    );
  });
});
