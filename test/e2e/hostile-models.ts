import { create, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import {
  AttributeProto_AttributeType as Kind,
  ModelProtoSchema,
  TensorProto_DataLocation,
  type ModelProto,
  type GraphProtoSchema,
  type NodeProtoSchema,
  type ValueInfoProtoSchema,
} from 'onnx-buf';
import type { ErrorCode } from '../../src/errors.ts';

type Graph = MessageInitShape<typeof GraphProtoSchema>;
type Node = MessageInitShape<typeof NodeProtoSchema>;
type ModelFields = Omit<Exclude<MessageInitShape<typeof ModelProtoSchema>, ModelProto>, '$typeName' | '$unknown'>;
type Value = MessageInitShape<typeof ValueInfoProtoSchema>;

// The O list of the threat model, made with the schema of ONNX itself and not with our encoder.

export function value(name: string, elemType: number, dims: readonly (number | string)[]): Value {
  const dim = dims.map((size) =>
    typeof size === 'number'
      ? { value: { case: 'dimValue' as const, value: BigInt(size) } }
      : { value: { case: 'dimParam' as const, value: size } },
  );
  return { name, type: { value: { case: 'tensorType', value: { elemType, shape: { dim } } } } };
}

const FLOAT = 1;
const INT64 = 7;
const BOOL = 9;
const x = value('x', FLOAT, [4]);
const y = value('y', FLOAT, [4]);
const add: Node = { opType: 'Add', name: 'add', input: ['x', 'w'], output: ['y'] };
const relu = (input: string, output: string): Node => ({ opType: 'Relu', input: [input], output: [output] });
const floats = (name: string, values: readonly number[], dims = [values.length]) => ({
  name,
  dims: dims.map(BigInt),
  dataType: FLOAT,
  rawData: new Uint8Array(new Float32Array(values).buffer),
});
const ints = (name: string, values: readonly bigint[], scalar = false) => ({
  name,
  dims: scalar ? [] : [BigInt(values.length)],
  dataType: INT64,
  int64Data: [...values],
});

export function model(graph: Graph, more: ModelFields = {}): Uint8Array {
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 8n,
      opsetImport: [{ version: 17n }],
      graph: { name: 'g', input: [x], output: [y], ...graph },
      ...more,
    }),
  );
}

/** y = x + w for n samples of four numbers, as small as a job can be. */
export const goodModel = (weights: readonly number[] = [1, 2, 3, 4]): Uint8Array =>
  model({
    node: [add],
    initializer: [floats('w', weights)],
    input: [value('x', FLOAT, ['n', 4])],
    output: [value('y', FLOAT, ['n', 4])],
  });

function external(entries: Readonly<Record<string, string>>): Uint8Array {
  const externalData = Object.entries(entries).map(([key, text]) => ({ key, value: text }));
  return model({
    node: [add],
    initializer: [
      { name: 'w', dims: [4n], dataType: FLOAT, dataLocation: TensorProto_DataLocation.EXTERNAL, externalData },
    ],
  });
}

const weight = (tensor: object): Uint8Array => model({ node: [add], initializer: [{ name: 'w', ...tensor }] });

function nestedIf(depth: number): Uint8Array {
  const branch = (level: number): Graph => ({
    name: `b${level}`,
    node: [level === 0 ? relu('x', `o${level}`) : choose(level)],
    output: [value(`o${level}`, FLOAT, [4])],
  });
  const choose = (level: number): Node => ({
    opType: 'If',
    input: ['c'],
    output: [`o${level}`],
    attribute: [
      { name: 'then_branch', type: Kind.GRAPH, g: branch(level - 1) },
      { name: 'else_branch', type: Kind.GRAPH, g: branch(0) },
    ],
  });
  return model({ node: [choose(depth)], input: [x, value('c', BOOL, [])], output: [value(`o${depth}`, FLOAT, [4])] });
}

function functionBomb(levels: number, calls: number): Uint8Array {
  const functions = Array.from({ length: levels }, (_, level) => ({
    name: `F${level}`,
    domain: 'f',
    input: ['a0'],
    output: [`a${calls}`],
    opsetImport: [{ version: 17n }, { domain: 'f', version: 1n }],
    node: Array.from({ length: calls }, (_unused, at) => ({
      opType: level === levels - 1 ? 'Relu' : `F${level + 1}`,
      domain: level === levels - 1 ? '' : 'f',
      input: [`a${at}`],
      output: [`a${at + 1}`],
    })),
  }));
  return model(
    { node: [{ opType: 'F0', domain: 'f', input: ['x'], output: ['y'] }] },
    { functions, opsetImport: [{ version: 17n }, { domain: 'f', version: 1n }] },
  );
}

const foreign = (domain: string, opType: string): Uint8Array =>
  model(
    { node: [{ opType, domain, input: ['x'], output: ['y'] }] },
    {
      opsetImport: [{ version: 17n }, { domain, version: 1n }],
    },
  );

/** A loop of 2^62 rounds over y = relu(y). */
export function endlessLoop(): Uint8Array {
  const body: Graph = {
    name: 'body',
    input: [value('i', INT64, []), value('go', BOOL, []), value('v', FLOAT, [4])],
    output: [value('go_on', BOOL, []), value('v_next', FLOAT, [4])],
    node: [
      { opType: 'Identity', input: ['go'], output: ['go_on'] },
      { opType: 'Add', input: ['v', 'x'], output: ['v_next'] },
    ],
  };
  return model({
    node: [
      {
        opType: 'Loop',
        name: 'loop',
        input: ['rounds', '', 'x'],
        output: ['y'],
        attribute: [{ name: 'body', type: Kind.GRAPH, g: body }],
      },
    ],
    initializer: [ints('rounds', [2n ** 62n], true)],
  });
}

/** Asks for 16 GiB at run time, by a shape that only the input decides. */
export function memoryBomb(): Uint8Array {
  return model({
    input: [x],
    node: [
      { opType: 'Shape', input: ['x'], output: ['four'] },
      { opType: 'Mul', input: ['four', 'billion'], output: ['size'] },
      { opType: 'ConstantOfShape', name: 'bomb', input: ['size'], output: ['big'] },
      {
        opType: 'ReduceMax',
        input: ['big'],
        output: ['top'],
        attribute: [{ name: 'keepdims', type: Kind.INT, i: 0n }],
      },
      { opType: 'Add', input: ['x', 'top'], output: ['y'] },
    ],
    initializer: [ints('billion', [2n ** 30n])],
  });
}

export function manyNodes(count: number): Uint8Array {
  const node = Array.from({ length: count }, (_, at) =>
    relu(at === 0 ? 'x' : `v${at}`, at === count - 1 ? 'y' : `v${at + 1}`),
  );
  return model({ node });
}

export interface HostileUpload {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly files?: Readonly<Record<string, Uint8Array>>;
  readonly status?: number;
  readonly code: ErrorCode;
  readonly message: RegExp;
}

const text = (words: string): Uint8Array => new TextEncoder().encode(words);
const noise = Uint8Array.from({ length: 4096 }, (_, at) => (at * 7919 + (at >> 3) * 31) % 251);
const file = { 'w.bin': new Uint8Array(64) };

/** Refused when they come in. */
export const HOSTILE_UPLOADS: readonly HostileUpload[] = [
  { name: 'O1 0 bytes', bytes: new Uint8Array(), code: 'MODEL_PARSE', message: /0 bytes/ },
  { name: 'O2 truncated', bytes: goodModel().subarray(0, 60), code: 'MODEL_PARSE', message: /cut off/ },
  { name: 'O3 noise', bytes: noise, code: 'MODEL_PARSE', message: /not an ONNX model/ },
  { name: 'O4 ZIP', bytes: Uint8Array.of(80, 75, 3, 4, 20, 0, 0, 0), code: 'MODEL_PARSE', message: /ZIP/ },
  { name: 'O4 HTML', bytes: text('<!doctype html><html></html>'), code: 'MODEL_PARSE', message: /HTML/ },
  {
    name: 'O4 Git LFS pointer',
    bytes: text('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n'),
    code: 'MODEL_PARSE',
    message: /git lfs pull/,
  },
  {
    name: 'O6 over the limit',
    bytes: new Uint8Array(8_000_001),
    status: 413,
    code: 'PAYLOAD_TOO_LARGE',
    message: /8000000/,
  },
  ...['../x', 'sub/../../x', '/etc/passwd', '/dev/zero', 'model.onnx', '*/_ORT_MEM_ADDR_/*'].map((location, at) => ({
    name: `${['O7', 'O8', 'O9', 'O10', 'O13', 'O14'][at] ?? ''} external data at ${location}`,
    bytes: external({ location }),
    code: 'MODEL_EXTERNAL_DATA' as const,
    message: location === 'model.onnx' ? /was not uploaded/ : /"w"/,
  })),
  {
    name: 'O11 and O12 a link cannot be sent: the location is not among the files',
    bytes: external({ location: 'link.bin' }),
    files: file,
    code: 'MODEL_EXTERNAL_DATA',
    message: /link\.bin/,
  },
  ...(
    [
      ['O15 offset -64', { offset: '-64' }, /offset.*-64/],
      ['O16 length 2^50', { length: String(2 ** 50) }, /1125899906842624/],
      ['O17 offset 2^40', { offset: String(2 ** 40) }, /1099511627776/],
      ['O18 key __class__', { __class__: 'x' }, /__class__/],
    ] as const
  ).map(([name, entries, message]) => ({
    name,
    bytes: external({ location: 'w.bin', ...entries }),
    files: file,
    code: 'MODEL_EXTERNAL_DATA' as const,
    message,
  })),
  {
    name: 'O19 negative size',
    bytes: weight({ dims: [4n, -1n], dataType: FLOAT }),
    code: 'MODEL_INVALID',
    message: /negative/,
  },
  {
    name: 'O20 2^62 x 8',
    bytes: weight({ dims: [2n ** 62n, 8n], dataType: FLOAT }),
    code: 'MODEL_INVALID',
    message: /too large/,
  },
  {
    name: 'O21 raw_data too short',
    bytes: weight({ dims: [4n], dataType: FLOAT, rawData: new Uint8Array(12) }),
    code: 'MODEL_INVALID',
    message: /needs 16 bytes.*got 12/,
  },
  {
    name: 'O22 element type 99',
    bytes: weight({ dims: [], dataType: 99, rawData: new Uint8Array(4) }),
    code: 'MODEL_INVALID',
    message: /type 99/,
  },
  {
    name: 'O23 cycle',
    bytes: model({ node: [relu('b', 'a'), relu('a', 'b'), relu('b', 'y')] }),
    code: 'MODEL_INVALID',
    message: /Relu/,
  },
  {
    name: 'O23 dangling input',
    bytes: model({ node: [relu('nowhere', 'y')] }),
    code: 'MODEL_INVALID',
    message: /nowhere/,
  },
  {
    name: 'O23 output twice',
    bytes: model({ node: [relu('x', 'y'), relu('x', 'y')] }),
    code: 'MODEL_INVALID',
    message: /"y"/,
  },
  {
    name: 'O24 opset 99',
    bytes: model({ node: [relu('x', 'y')] }, { opsetImport: [{ version: 99n }] }),
    code: 'MODEL_UNSUPPORTED',
    message: /99.*26/,
  },
  {
    name: 'O24 IR 99',
    bytes: model({ node: [relu('x', 'y')] }, { irVersion: 99n }),
    code: 'MODEL_UNSUPPORTED',
    message: /99/,
  },
  {
    name: 'O25 custom domain',
    bytes: foreign('my.ops', 'Conv3000'),
    code: 'MODEL_UNSUPPORTED_OP',
    message: /my\.ops:Conv3000/,
  },
  {
    name: 'O26 EPContext',
    bytes: foreign('com.microsoft', 'EPContext'),
    code: 'MODEL_UNSUPPORTED_OP',
    message: /EPContext/,
  },
  { name: 'O27 PyOp', bytes: foreign('com.microsoft', 'PyOp'), code: 'MODEL_UNSUPPORTED_OP', message: /PyOp/ },
  { name: 'O29 function bomb', bytes: functionBomb(28, 2), code: 'MODEL_LIMIT', message: /expand/ },
  {
    name: 'O30 a function that calls itself',
    bytes: model(
      { node: [{ opType: 'F', domain: 'f', input: ['x'], output: ['y'] }] },
      {
        opsetImport: [{ version: 17n }, { domain: 'f', version: 1n }],
        functions: [
          {
            name: 'F',
            domain: 'f',
            input: ['a'],
            output: ['b'],
            opsetImport: [{ domain: 'f', version: 1n }],
            node: [{ opType: 'F', domain: 'f', input: ['a'], output: ['b'] }],
          },
        ],
      },
    ),
    code: 'MODEL_INVALID',
    message: /calls itself/,
  },
  { name: 'O32 If nested 60 deep', bytes: nestedIf(60), code: 'MODEL_LIMIT', message: /32/ },
  {
    name: 'O36 no outputs',
    bytes: model({ node: [relu('x', 'y')], output: [] }),
    code: 'MODEL_INVALID',
    message: /no outputs/,
  },
];

export interface StrangeModel {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** The code the job must fail with; without one it must succeed. */
  readonly code?: ErrorCode;
}

const half = { name: 'w', dims: [4n], dataType: 10, rawData: new Uint8Array(8) };

/** Sound on paper: only running them shows. */
export const STRANGE_MODELS: readonly StrangeModel[] = [
  {
    name: 'O35 names with line ends, escapes, HTML and 100,000 letters',
    bytes: model({
      node: [{ ...add, name: `\n\u001b[31m<script>alert(1)</script>${'a'.repeat(100_000)}` }],
      initializer: [floats('w', [1, 2, 3, 4])],
    }),
  },
  {
    name: 'O36 dynamic dims',
    bytes: model({
      node: [add],
      initializer: [floats('w', [1])],
      input: [value('x', FLOAT, ['n', 'm'])],
      output: [value('y', FLOAT, ['n', 'm'])],
    }),
  },
  {
    name: 'O36 half floats',
    bytes: model({ node: [add], initializer: [half], input: [value('x', 10, [4])], output: [value('y', 10, [4])] }),
  },
  {
    name: 'O36 no inputs',
    bytes: model({ node: [relu('w', 'y')], initializer: [floats('w', [1, 2, 3, 4])], input: [] }),
  },
  {
    name: 'O36 strings',
    bytes: model({
      node: [{ opType: 'Identity', input: ['x'], output: ['y'] }],
      input: [value('x', 8, [4])],
      output: [value('y', 8, [4])],
    }),
  },
  { name: 'O36 weights that are NaN and infinite', bytes: goodModel([Number.NaN, Number.POSITIVE_INFINITY, 1, 2]) },
];
