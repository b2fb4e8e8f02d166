import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SeededRandom } from '../../../src/data/seeded-random.ts';
import { defined } from '../../../src/errors.ts';
import { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { differentiate } from '../../../src/training/differentiate.ts';
import {
  inputFormulations,
  weightFormulations,
  type ConvShape,
} from '../../../src/training/gradients/convolution-cost.ts';
import { INPUT_FORMULATIONS, WEIGHT_FORMULATIONS } from '../../../src/training/gradients/convolution.ts';
import { GradientBuilder } from '../../../src/training/gradients/gradient-builder.ts';
import { StaticTypes } from '../../../src/training/static-types.ts';
import { dot, randomArray, runtime } from './check-gradient.ts';

interface Case {
  readonly name: string;
  readonly input: readonly number[];
  readonly kernel: readonly number[];
  readonly channels: number;
  readonly maps: number;
  readonly group: number;
  readonly stride: number;
  readonly dilation: number;
  readonly pads: readonly number[];
  readonly outputPadding: number;
}

const SPATIAL = [[11], [8, 9], [7, 6, 7]];
const GROUPS = [
  { group: 1, channels: 3, maps: 4 },
  { group: 2, channels: 4, maps: 6 },
  { group: 3, channels: 3, maps: 6 },
];
const PADS = { none: [0, 0], symmetric: [1, 1], asymmetric: [1, 0] } as const;

/** 3 ranks x 3 kernels x 3 strides x 2 dilations x 3 groups x 3 paddings = 486. */
function matrix(outputPaddings: (stride: number) => readonly number[]): Case[] {
  return SPATIAL.flatMap((input) =>
    [1, 2, 3].flatMap((size) =>
      [1, 2, 3].flatMap((stride) =>
        [1, 2].flatMap((dilation) =>
          GROUPS.flatMap((groups) =>
            (['none', 'symmetric', 'asymmetric'] as const).flatMap((padding) =>
              outputPaddings(stride).map((outputPadding): Case => {
                const [before, behind] = PADS[padding];
                const pads = [...input.map(() => before), ...input.map(() => behind)];
                const name = `${input.length}-D k${size} s${stride} d${dilation} g${groups.group} ${padding} o${outputPadding}`;
                return { name, input, kernel: input.map(() => size), stride, dilation, pads, outputPadding, ...groups };
              }),
            ),
          ),
        ),
      ),
    ),
  );
}

const CONV_CASES = matrix(() => [0]);
const TRANSPOSED_CASES = matrix((stride) => (stride === 1 ? [0] : [0, stride - 1]));

function attributesOf(c: Case): Record<string, number | readonly number[]> {
  return {
    strides: c.input.map(() => c.stride),
    dilations: c.input.map(() => c.dilation),
    pads: c.pads,
    group: c.group,
  };
}

/** What one case gives: Y and dY, and each gradient with the value it belongs to. */
interface Written {
  readonly name: string;
  readonly y: string;
  readonly dY: string;
  readonly gradients: readonly { readonly label: string; readonly of: string; readonly gradient: string }[];
}

/**
 * Runs many cases as one graph and checks the adjoint identity: Y is linear in X and in W, so <dY, Y> = <dX, X> = <dW, W>.
 * Both sides are sums of products of normals; float32 rounding is about 1e-6 of |dY| |Y|, a wrong gradient is off by the
 * order of |dX| |X|, so 1e-4 of the larger norm product tells them apart.
 */
async function assertAdjoint(
  cases: readonly Case[],
  write: (b: GraphBuilder, types: StaticTypes, c: Case) => Omit<Written, 'name'>,
): Promise<number> {
  const random = new SeededRandom(11);
  const b = new GraphBuilder('matrix');
  const model = b.model(21, { 'com.microsoft': 1 });
  const types = new StaticTypes(model);
  let checks = 0;
  const written = cases.map((c): Written => ({ name: c.name, ...write(b, types, c) }));
  for (const { y, gradients } of written) {
    for (const value of [y, ...gradients.map(({ gradient }) => gradient)]) {
      b.graph.outputs.push({ name: value, type: { kind: 'tensor', elementType: 'float' } });
    }
  }
  const feeds: Record<string, NdArray> = {};
  for (const { name, type } of b.graph.inputs) {
    const shape = type?.kind === 'tensor' ? defined(type.shape, name) : [];
    feeds[name] = randomArray(random, shape.map(Number));
  }
  const session = await runtime.createSession(model, { threads: 1, optimization: 'basic' });
  const results = await session.run(feeds);
  await session.release();
  const norm = (array: NdArray | undefined): number => Math.sqrt(dot(array, array));
  for (const { name, y, dY, gradients } of written) {
    const expected = dot(results.get(y), feeds[dY]);
    for (const { label, of, gradient } of gradients) {
      const [got, value] = [results.get(gradient), feeds[of]];
      assert.deepEqual(got?.dims, value?.dims, `${name} ${label}: shape`);
      const scale = Math.max(norm(results.get(y)) * norm(feeds[dY]), norm(got) * norm(value));
      const error = Math.abs(dot(got, value) - expected) / scale;
      assert.ok(error < 1e-4, `${name} ${label}: <dY,Y> and <gradient,value> differ by ${error} of their size`);
      checks += 1;
    }
  }
  return checks;
}

function inputsOf(b: GraphBuilder, c: Case, weight: readonly number[]): { X: string; W: string } {
  return { X: b.input('X', 'float', [2, c.channels, ...c.input]), W: b.input('W', 'float', [...weight, ...c.kernel]) };
}

function convShape(c: Case, output: readonly number[]): ConvShape {
  const rank = c.input.length;
  return {
    batch: 2,
    channels: c.channels,
    maps: c.maps,
    group: c.group,
    input: c.input,
    output,
    kernel: c.kernel,
    strides: c.input.map(() => c.stride),
    dilations: c.input.map(() => c.dilation),
    padsBefore: c.pads.slice(0, rank),
    padsBehind: c.pads.slice(rank),
  };
}

function chunks<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, index) =>
    list.slice(index * size, (index + 1) * size),
  );
}

describe('convolution gradients by the adjoint identity', () => {
  it(`Conv: every formulation of dX and dW in ${CONV_CASES.length} cases`, async () => {
    assert.equal(CONV_CASES.length, 486);
    let checks = 0;
    for (const part of chunks(CONV_CASES, 81)) {
      checks += await assertAdjoint(part, (graph, types, c) => {
        const { X, W } = inputsOf(graph, c, [c.maps, c.channels / c.group]);
        const y = graph.op('Conv', [X, W], { attributes: attributesOf(c) });
        const dY = graph.input('dY', 'float', types.shape(y));
        const b = new GradientBuilder(graph, types);
        const conv = convShape(c, types.shape(y).slice(2));
        const gradients = [
          ...inputFormulations(conv).map((label) => ({
            label,
            of: X,
            gradient: INPUT_FORMULATIONS[label](b, conv, W, dY),
          })),
          ...weightFormulations(conv).map((label) => ({
            label,
            of: W,
            gradient: WEIGHT_FORMULATIONS[label](b, conv, X, dY),
          })),
        ];
        return { y, dY, gradients };
      });
    }
    assert.ok(checks > 486 * 3, `${checks} gradients checked`);
  });

  it(`ConvTranspose: dX and dW in ${TRANSPOSED_CASES.length} cases, output_padding included`, async () => {
    assert.ok(TRANSPOSED_CASES.length >= 804);
    let checks = 0;
    for (const part of chunks(TRANSPOSED_CASES, 81)) {
      checks += await assertAdjoint(part, (graph, types, c) => {
        const { X, W } = inputsOf(graph, c, [c.channels, c.maps / c.group]);
        const attributes = { ...attributesOf(c), output_padding: c.input.map(() => c.outputPadding) };
        const y = graph.op('ConvTranspose', [X, W], { attributes });
        const dY = graph.input('dY', 'float', types.shape(y));
        const found = differentiate(graph, { loss: [{ of: y, gradient: dY }], wrt: [X, W], types });
        const gradients = [...found].map(([of, gradient]) => ({ label: of, of, gradient }));
        return { y, dY, gradients };
      });
    }
    assert.equal(checks, 2 * TRANSPOSED_CASES.length);
  });
});
