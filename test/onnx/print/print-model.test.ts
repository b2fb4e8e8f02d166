import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Graph } from '../../../src/onnx/graph.ts';
import { Model } from '../../../src/onnx/model.ts';
import { makeNode, type Attribute } from '../../../src/onnx/node.ts';
import { printModel } from '../../../src/onnx/print/print-model.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';

const raw = (name: string, dataType: 'int4' | 'uint2' | 'bool', dims: number[], bytes: number[]): Tensor =>
  new Tensor({ name, dataType, dims, storage: { kind: 'bytes', bytes: Uint8Array.from(bytes) } });

const model = new Model({
  irVersion: 10,
  opsetImports: new Map([
    ['', 21],
    ['com.microsoft', 1],
  ]),
  producerName: 'test "x"',
  metadata: [{ key: 'author', value: 'a\u001b[31m' }],
  graph: new Graph({
    name: 'a graph',
    inputs: [
      tensorValue('X', 'float', ['N', 3, null]),
      tensorValue('cond', 'bool', []),
      { name: 'any', type: { kind: 'sequence', element: { kind: 'tensor', elementType: 'int64' } } },
    ],
    outputs: [tensorValue('out.put', 'float')],
    initializers: new Map([
      ['w', Tensor.float('w', [0.1, -0, 1e-7, Infinity, NaN], [5])],
      ['big', Tensor.float('big', new Float32Array(17), [17])],
      ['q', raw('q', 'int4', [3], [0x8f, 0x07])],
      ['u', raw('u', 'uint2', [4], [0b11100100])],
      ['axes', Tensor.int64('axes', [-1], [])],
      ['words', Tensor.fromArray('words', { type: 'string', dims: [2], data: ['a"b', 'line\n'] })],
    ]),
    valueInfos: new Map([['t', tensorValue('t', 'float', [1])]]),
    nodes: [
      makeNode('Conv', ['X', 'w', ''], ['t'], {
        attributes: { pads: [1, 1], auto_pad: 'NOTSET', alpha: 0.5 },
        name: 'c',
      }),
      makeNode('FusedConv', ['t'], ['f'], { domain: 'com.microsoft' }),
      makeNode('If', ['cond'], ['out.put'], {
        attributes: {
          then_branch: branch('then'),
          else_branch: branch('else'),
        },
      }),
    ],
  }),
  functions: [
    {
      name: 'Twice',
      domain: 'local',
      overload: '',
      inputs: ['x'],
      outputs: ['y'],
      attributeNames: ['alpha'],
      attributes: new Map(),
      nodes: [
        makeNode('Elu', ['x'], ['y'], { attributes: { alpha: { kind: 'reference', refAttrName: 'alpha', type: 1 } } }),
      ],
      opsetImports: new Map([['', 21]]),
      valueInfos: new Map(),
      docString: '',
      metadata: [],
      unknownFields: [],
    },
  ],
});

function branch(name: string): Attribute {
  const nodes = [makeNode('Identity', ['f'], [`${name}_out`])];
  return { kind: 'graph', value: new Graph({ name, nodes, outputs: [tensorValue(`${name}_out`, 'float')] }) };
}

describe('printModel', () => {
  it('writes ONNX text', () => {
    // Digest of 68 zero bytes: `head -c 68 /dev/zero | sha256sum`.
    assert.equal(
      printModel(model),
      String.raw`<
  ir_version: 10,
  opset_import: ["" : 21, "com.microsoft" : 1],
  producer_name: "test \"x\"",
  metadata_props: ["author": "a\x1b[31m"]
>
"a graph" (float[N,3,?] X, bool cond, seq(int64[]) any) => (float[] "out.put")
<
  float[5] w = {0.1, -0, 1e-7, inf, nan},
  float[17] big = {...17 elements, sha256 1751ac12e70e},
  int4[3] q = {-1, -8, 7},
  uint2[4] u = {0, 1, 2, 3},
  int64 axes = {-1},
  string[2] words = {"a\"b", "line\n"},
  float[1] t
>
{
  [c] t = Conv <pads: ints = [1, 1], auto_pad: string = "NOTSET", alpha: float = 0.5> (X, w, "")
  f = com.microsoft.FusedConv (t)
  "out.put" = If <then_branch: graph = then () => (float[] then_out) {
    then_out = Identity (f)
  }, else_branch: graph = else () => (float[] else_out) {
    else_out = Identity (f)
  }> (cond)
}
<
  domain: "local",
  opset_import: ["" : 21]
>
Twice <alpha> (x) => (y) {
  y = Elu <alpha: float = @alpha> (x)
}
`,
    );
  });

  it('ends at its limit and says so', () => {
    const text = printModel(model, { limitCharacters: 200 });
    assert.ok(text.length < 300);
    assert.match(text, /cut off: the text is longer than 200 characters\n$/);
  });

  it('shortens long strings and names, and keeps terminal codes out', () => {
    const name = `${'x'.repeat(1e6)}\u001b[2J`;
    const text = printModel(
      new Model({
        opsetImports: new Map([['', 21]]),
        graph: new Graph({ name: 'g', inputs: [tensorValue(name, 'float')] }),
      }),
    );
    assert.ok(text.length < 1000);
    assert.ok(!text.includes('\u001b'));
    assert.match(text, /x… 1000004 characters"/);
  });
});
