import { it } from 'node:test';
import fc from 'fast-check';
import type { Graph } from '../../../src/onnx/graph.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode, type Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { checked, feed, graphOf, modelOf, weight } from './helpers.ts';

/** One node that maps [2, 3] to [2, 3]: `a` and `b` are values of that shape, `id` makes its names unique. */
type Maker = (a: string, b: string, y: string) => Node[];

const MAKERS: readonly Maker[] = [
  (a, _b, y) => [makeNode('Relu', [a], [y])],
  (a, b, y) => [makeNode('Add', [a, b], [y])],
  (a, b, y) => [makeNode('Mul', [a, b], [y])],
  (a, _b, y) => [makeNode('Identity', [a], [y])],
  (a, _b, y) => [makeNode('Dropout', [a], [y])],
  (a, _b, y) => [makeNode('Mul', [a, 'one'], [y])],
  (a, _b, y) => [makeNode('Sub', [a, 'zero'], [y])],
  (a, _b, y) => [makeNode('Cast', [a], [y], { attributes: { to: 1 } })],
  (a, _b, y) => [makeNode('Reshape', [a, 'same'], [y])],
  (a, _b, y) => [makeNode('Transpose', [a], [`${y}_t`]), makeNode('Transpose', [`${y}_t`], [y])],
  (_a, _b, y) => [makeNode('Neg', ['w'], [y])],
  (_a, _b, y) => [
    makeNode('Constant', [], [y], { attributes: { value: { kind: 'tensor', value: weight('', [2, 3], 5) } } }),
  ],
  (a, _b, y) => [makeNode('Shape', [a], [`${y}_s`]), makeNode('Reshape', [a, `${y}_s`], [y])],
  (a, _b, y) => [makeNode('Slice', [a, 'begin', 'end'], [y])],
  (a, b, y) => {
    const branch = (name: string, nodes: Node[]): Graph =>
      graphOf({ name, nodes, inputs: [], outputs: [tensorValue(`${y}_${name}`, 'float')] });
    const nodesOf = (name: string, x: string): Node[] => [
      makeNode('Identity', [x], [`${y}_${name}_i`]),
      makeNode('Neg', ['w'], [`${y}_${name}_n`]),
      makeNode('Add', [`${y}_${name}_i`, `${y}_${name}_n`], [`${y}_${name}`]),
    ];
    return [
      makeNode('If', ['c'], [y], {
        attributes: {
          then_branch: { kind: 'graph', value: branch('then', nodesOf('then', a)) },
          else_branch: { kind: 'graph', value: branch('else', nodesOf('else', b)) },
        },
      }),
    ];
  },
];

const SHAPE = [2, 3];
const step = fc.record({ maker: fc.nat(MAKERS.length - 1), a: fc.nat(), b: fc.nat(), output: fc.boolean() });

function modelFrom(
  steps: readonly { maker: number; a: number; b: number; output: boolean }[],
  shuffle: boolean,
): Model {
  const values = ['x', 'w'];
  const nodes: Node[] = [];
  const outputs: string[] = [];
  steps.forEach(({ maker, a, b, output }, index) => {
    const y = `v${index}`;
    const of = (choice: number): string => values[choice % values.length] ?? 'x';
    nodes.push(...(MAKERS[maker]?.(of(a), of(b), y) ?? []));
    values.push(y);
    if (output || index === steps.length - 1) outputs.push(y);
  });
  return modelOf({
    nodes: shuffle ? nodes.reverse() : nodes,
    inputs: [tensorValue('x', 'float', SHAPE), tensorValue('c', 'bool', [])],
    outputs: outputs.map((name) => tensorValue(name, 'float', SHAPE)),
    initializers: [
      weight('w', SHAPE),
      Tensor.float('one', [1], []),
      Tensor.float('zero', [0], []),
      Tensor.int64('same', [0, -1]),
      Tensor.int64('begin', [0, 0]),
      Tensor.int64('end', [2, 3]),
    ],
  });
}

it('canonicalize keeps every output of a random graph to the bit, in any order of nodes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 12 }),
      fc.boolean(),
      fc.boolean(),
      async (steps, shuffle, flag) => {
        await checked(modelFrom(steps, shuffle), {
          x: feed(SHAPE),
          c: { type: 'bool', dims: [], data: Uint8Array.of(flag ? 1 : 0) },
        });
      },
    ),
    { numRuns: 150, seed: 20 },
  );
});
