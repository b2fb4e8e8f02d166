import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { describe, it } from 'node:test';
import { Graph } from '../../../src/onnx/graph.ts';
import { opsetOf, type Model } from '../../../src/onnx/model.ts';
import { elementCount, type NdArray } from '../../../src/onnx/nd-array.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { halfBits } from '../../../src/onnx/upgrade/adapter.ts';
import { upgradeOpset } from '../../../src/onnx/upgrade/upgrade-opset.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { CASES, modelOf, modelOfCase } from './cases.ts';
import { createRuntime } from '../../../src/runtime/onnxruntime.ts';
import type { Feeds } from '../../../src/runtime/session.ts';

// The reference is ONNX Runtime itself: its kernels of the old opset and of the new one run on the same input.
const runtime = createRuntime(tmpdir());

async function run(model: Model, feeds: Feeds): Promise<Map<string, NdArray>> {
  const session = await runtime.createSession(model, { threads: 1, optimization: 'disabled' });
  try {
    return new Map(await session.run(feeds));
  } finally {
    await session.release();
  }
}

/** Distinct values of both signs, in no order, so that ties and symmetry hide nothing. */
function ramp(dims: readonly number[]): NdArray {
  const count = elementCount(dims);
  return {
    type: 'float',
    dims,
    data: Float32Array.from({ length: count }, (_, i) => ((i * 7919) % count) / 8 - count / 20),
  };
}

function assertClose(actual: NdArray | undefined, expected: NdArray, tolerance: number): void {
  assert.deepEqual(actual?.dims, expected.dims);
  Array.from(expected.data, Number).forEach((value, i) => {
    const difference = Math.abs(value - Number(actual.data[i]));
    assert.ok(difference <= tolerance * Math.max(1, Math.abs(value)), `element ${i}: ${difference}`);
  });
}

describe('upgradeOpset: the same bits out of ONNX Runtime before and after', () => {
  for (const given of CASES) {
    it(`${given.name} (opset ${given.opset})`, async () => {
      const feeds = { x: ramp(given.shape) };
      const model = modelOfCase(given);
      const before = await run(model, feeds);
      const result = upgradeOpset(model, 21);
      assert.deepEqual(result.skipped, []);
      assert.equal(opsetOf(model), 21);
      assert.equal(model.irVersion, 10);
      const after = await run(model, feeds);
      for (const [name, array] of before) {
        const other = after.get(name);
        // From opset 19 on ONNX Runtime sums a pooling window in another order: one rounding of float32 (6e-8) per addend.
        if (given.op === 'AveragePool') assertClose(other, array, 1e-6);
        else assert.deepEqual(other, array);
      }
    });
  }
});

const x = tensorValue('x', 'float', [2, 3]);

describe('upgradeOpset: whole models', () => {
  for (const [name, opset, held, node, inputs] of [
    [
      'BatchNormalization per position',
      8,
      8,
      makeNode('BatchNormalization', ['x', 's', 's', 's', 's'], ['y'], { attributes: { spatial: 0 } }),
      [],
    ],
    ['Scan of opset 8', 8, 8, makeNode('Scan', ['', 'x'], ['y'], { attributes: { num_scan_inputs: 1 } }), []],
    ['an experimental operator', 9, 9, makeNode('ImageScaler', ['x'], ['y'], { attributes: { scale: 2 } }), []],
    [
      'Resize with computed scales',
      10,
      10,
      makeNode('Resize', ['x', 'scales'], ['y']),
      [tensorValue('scales', 'float', [2])],
    ],
    [
      'Resize in TensorFlow 1 coordinates',
      11,
      12,
      makeNode('Resize', ['x', 's', 's'], ['y'], {
        attributes: { coordinate_transformation_mode: 'tf_half_pixel_for_nn' },
      }),
      [],
    ],
    [
      'BatchNormalization in training',
      13,
      13,
      makeNode('BatchNormalization', ['x', 's', 's', 's', 's'], ['y', 'mean', 'var']),
      [],
    ],
    [
      'Clip of a value of unknown type',
      10,
      10,
      makeNode('Clip', ['later'], ['y'], { attributes: { min: { float: 0 } } }),
      [],
    ],
    [
      'GroupNormalization of unknown channels',
      18,
      20,
      makeNode('GroupNormalization', ['free', 's', 's'], ['y'], { attributes: { num_groups: 1 } }),
      [tensorValue('free', 'float')],
    ],
  ] as const) {
    it(`stays at the last exact opset and says why: ${name}`, () => {
      const nodes = [
        makeNode('Squeeze', ['x'], ['q'], { attributes: { axes: [0] } }),
        makeNode('Custom', ['q'], ['later'], { domain: 'my' }),
        node,
      ];
      const model = modelOf(opset, nodes, { inputs: [x, ...inputs], outputs: [{ name: 'y' }] }, [
        Tensor.float('s', [1]),
      ]);
      const result = upgradeOpset(model);
      assert.equal(result.from, opset);
      assert.equal(result.to, held);
      assert.equal(opsetOf(model), held);
      assert.equal(result.skipped.length, 1);
      assert.match(result.skipped[0]?.reason ?? '', new RegExp(`^opset ${held + 1}: `));
      // The step that failed left no trace.
      assert.equal(model.graph.nodes.at(-1), node);
    });
  }

  it('changes nothing at the target, above it and without the default domain', () => {
    for (const model of [
      modelOf(21, [makeNode('Relu', ['x'], ['y'])], { inputs: [x], outputs: [tensorValue('y', 'float')] }),
      modelOf(23, [makeNode('Relu', ['x'], ['y'])], { inputs: [x], outputs: [tensorValue('y', 'float')] }),
    ]) {
      const opset = opsetOf(model);
      assert.deepEqual(upgradeOpset(model, 21), { from: opset, to: opset, changed: 0, skipped: [] });
      assert.equal(model.irVersion, 4);
    }
    assert.throws(() => upgradeOpset(modelOf(21, [], { inputs: [], outputs: [] }), 99), RangeError);
  });

  it('takes initializers off the inputs of an IR 3 model, and keeps the true inputs in order', () => {
    const model = modelOf(
      8,
      [makeNode('Add', ['x', 'w'], ['y'])],
      { inputs: [x], outputs: [tensorValue('y', 'float')] },
      [Tensor.float('w', [1, 2, 3])],
    );
    assert.equal(model.graph.inputs.length, 2);
    upgradeOpset(model, 13);
    assert.deepEqual(
      model.graph.inputs.map((input) => input.name),
      ['x'],
    );
    assert.equal(model.irVersion, 7);
  });

  it('keeps an IR 4 initializer that callers may override among the inputs', () => {
    const model = modelOf(
      9,
      [makeNode('Add', ['x', 'w'], ['y'])],
      { inputs: [x, tensorValue('w', 'float', [3])], outputs: [tensorValue('y', 'float')] },
      [Tensor.float('w', [1, 2, 3])],
    );
    upgradeOpset(model, 13);
    assert.deepEqual(
      model.graph.inputs.map((input) => input.name),
      ['x', 'w'],
    );
  });

  it('leaves no superfluous constant behind', () => {
    const given = CASES.find(({ name }) => name === 'Upsample nearest');
    assert.ok(given);
    const model = modelOfCase(given);
    upgradeOpset(model, 21);
    assert.deepEqual([...model.graph.initializers.keys()], ['y0_scales']);
  });

  it('adapts branches and loop bodies, and never takes a name of another scope', async () => {
    const branch = (name: string, axis: number): Graph =>
      new Graph({
        name,
        nodes: [makeNode('ReduceSum', ['h'], [`${name}_y`], { attributes: { axes: [axis], keepdims: 1 } })],
        outputs: [tensorValue(`${name}_y`, 'float')],
      });
    const nodes = [
      makeNode('Relu', ['x'], ['h']),
      makeNode('Relu', ['h'], ['then_y_axes']), // the name the constant would get
      makeNode('If', ['c'], ['s'], {
        attributes: {
          then_branch: { kind: 'graph', value: branch('then', 0) },
          else_branch: { kind: 'graph', value: branch('else', 1) },
        },
      }),
      makeNode('Add', ['s', 'then_y_axes'], ['y']),
    ];
    const model = modelOf(11, nodes, {
      inputs: [x, tensorValue('c', 'bool', [])],
      outputs: [tensorValue('y', 'float')],
    });
    for (const flag of [0, 1]) {
      const feeds: Feeds = { x: ramp([2, 3]), c: { type: 'bool', dims: [], data: Uint8Array.of(flag) } };
      const before = await run(model, feeds);
      if (opsetOf(model) === 11) assert.equal(upgradeOpset(model, 21).changed, 2);
      assert.deepEqual(await run(model, feeds), before);
    }
  });

  it('raises functions together with the model', async () => {
    const model = modelOf(11, [makeNode('Total', ['x'], ['y'], { domain: 'my' })], {
      inputs: [x],
      outputs: [tensorValue('y', 'float')],
    });
    model.irVersion = 8;
    model.opsetImports.set('my', 1);
    model.functions.push({
      name: 'Total',
      domain: 'my',
      overload: '',
      inputs: ['a'],
      outputs: ['b'],
      attributeNames: [],
      attributes: new Map(),
      nodes: [makeNode('ReduceSum', ['a'], ['b'], { attributes: { axes: [1] } })],
      opsetImports: new Map([['', 11]]),
      valueInfos: new Map(),
      docString: '',
      metadata: [],
      unknownFields: [],
    });
    const feeds = { x: ramp([2, 3]) };
    const before = await run(model, feeds);
    assert.deepEqual(upgradeOpset(model, 18), { from: 11, to: 18, changed: 1, skipped: [] });
    assert.equal(model.functions[0]?.opsetImports.get(''), 18);
    const types = model.functions.flatMap((body) => body.nodes.map((node) => node.opType));
    assert.deepEqual(types, ['Constant', 'ReduceSum']);
    assert.deepEqual(await run(model, feeds), before);
  });
});

describe('halfBits', () => {
  for (const [value, bits] of [
    [0, 0],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [65519.9, 0x7bff],
    [65520, 0x7c00],
    [-Infinity, 0xfc00],
    [2 ** -24, 1],
    [2 ** -25, 0],
    [2 ** -14, 0x0400],
    [1 / 3, 0x3555],
    [2049, 0x6800],
    [2051, 0x6802],
    [0.1, 0x2e66],
    [2 ** -14 - 2 ** -26, 0x0400],
  ] as const) {
    // Values from numpy.float16.
    it(`writes ${value} as 0x${bits.toString(16)}`, () => {
      assert.equal(halfBits(value), bits);
    });
  }
});
