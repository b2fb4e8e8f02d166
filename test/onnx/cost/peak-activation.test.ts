import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import { largestValue } from '../../../src/onnx/cost/largest-value.ts';
import { peakActivationBytes } from '../../../src/onnx/cost/peak-activation.ts';
import { makeNode, type Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { modelOf } from '../inference/models.ts';

const KIB = 1024;

/** Values of 1 KiB each: x is float [256]. */
function peak(nodes: Node[], outputs: string[], initializers: Tensor[] = []): number {
  const model = modelOf({
    nodes,
    inputs: [tensorValue('x', 'float', ['N', 256])],
    outputs: outputs.map((name) => ({ name })),
    initializers,
  });
  const result = peakActivationBytes(model);
  assert.deepEqual(result.unknown, []);
  return result.bytes;
}

const softmax = (from: string, to: string): Node => makeNode('Softmax', [from], [to]);
const add = (a: string, b: string, to: string): Node => makeNode('Add', [a, b], [to]);

describe('peakActivationBytes', () => {
  it('of a chain is its two neighbours', () => {
    assert.equal(peak([softmax('x', 'a'), softmax('a', 'b'), softmax('b', 'y')], ['y']), 2 * KIB);
  });

  it('keeps a shortcut alive until it is added', () => {
    assert.equal(peak([softmax('x', 'a'), softmax('a', 'b'), softmax('b', 'c'), add('c', 'a', 'y')], ['y']), 3 * KIB);
  });

  it('keeps graph outputs to the end', () => {
    assert.equal(peak([softmax('x', 'a'), softmax('a', 'b'), softmax('b', 'c')], ['a', 'b', 'c']), 3 * KIB);
  });

  it('does not count weights and what is computed from them', () => {
    const weight = Tensor.float('w', new Float32Array(256));
    assert.equal(peak([softmax('w', 'v'), add('x', 'v', 'y')], ['y'], [weight]), 2 * KIB);
  });

  it('lets reshapes share memory and activations work in place', () => {
    const target = Tensor.int64('t', [0, 16, 16]);
    const nodes = [softmax('x', 'a'), makeNode('Relu', ['a'], ['b']), makeNode('Reshape', ['b', 't'], ['y'])];
    assert.equal(peak(nodes, ['y'], [target]), 2 * KIB);
    // Here a second reader needs the value before Relu: three values at once.
    const kept = [softmax('x', 'a'), makeNode('Relu', ['a'], ['b']), add('a', 'b', 'y')];
    assert.equal(peak(kept, ['y']), 3 * KIB);
  });

  it('counts the int8 side of QuantizeLinear and DequantizeLinear pairs', () => {
    const scale = [
      Tensor.float('s', [1], []),
      Tensor.fromArray('z', { type: 'uint8', dims: [], data: new Uint8Array(1) }),
    ];
    const pair = (from: string, name: string): Node[] => [
      makeNode('QuantizeLinear', [from, 's', 'z'], [`${name}q`]),
      makeNode('DequantizeLinear', [`${name}q`, 's', 'z'], [name]),
    ];
    const nodes = [
      ...pair('x', 'a'),
      softmax('a', 'b'),
      makeNode('Relu', ['b'], ['c']),
      ...pair('c', 'd'),
      softmax('d', 'e'),
      ...pair('e', 'y'),
    ];
    // At either end one float value and its int8 copy; between them only pairs of int8 values.
    assert.equal(peak(nodes, ['y'], scale), KIB + KIB / 4);
  });

  it('counts the float value where the operator does not run on integers', () => {
    const scale = [
      Tensor.float('s', [1], []),
      Tensor.fromArray('z', { type: 'uint8', dims: [], data: new Uint8Array(1) }),
    ];
    const nodes = [
      makeNode('QuantizeLinear', ['x', 's', 'z'], ['q']),
      makeNode('DequantizeLinear', ['q', 's', 'z'], ['d']),
      makeNode('Erf', ['d'], ['e']),
      makeNode('Softmax', ['e'], ['y']),
    ];
    assert.equal(peak(nodes, ['y'], scale), 2 * KIB);
  });

  it('names values of unknown size and gives the lower bound', () => {
    const model = modelOf({
      nodes: [makeNode('NonZero', ['x'], ['n'])],
      inputs: [tensorValue('x', 'float', ['N', 256])],
      outputs: [{ name: 'n' }],
    });
    const result = peakActivationBytes(model);
    assert.deepEqual([result.bytes, result.unknown], [KIB, ['n']]);
  });
});

describe('largestValue', () => {
  it('sees what a few bytes can ask for (O31)', () => {
    const model = modelOf({
      nodes: [makeNode('ConstantOfShape', ['s'], ['big']), makeNode('ReduceSum', ['big'], ['y'])],
      outputs: [tensorValue('y', 'float')],
      initializers: [Tensor.int64('s', [1 << 15, 1 << 15])],
    });
    assert.deepEqual([largestValue(model)?.name, largestValue(model)?.bytes], ['big', 2 ** 32]);
  });
});
