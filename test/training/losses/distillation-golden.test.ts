import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { defined } from '../../../src/errors.ts';
import { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import { elementCount, type NdArray } from '../../../src/onnx/nd-array.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { differentiate } from '../../../src/training/differentiate.ts';
import {
  attentionTransfer,
  probabilisticTransfer,
  similarityPreserving,
} from '../../../src/training/losses/feature-maps.ts';
import {
  contrastiveDistillation,
  correlationCongruence,
  hints,
  variationalDistillation,
} from '../../../src/training/losses/hints.ts';
import { totalLoss, type LossFragment, type StaticTensor } from '../../../src/training/losses/loss.ts';
import { relationalDistillation } from '../../../src/training/losses/relational.ts';
import { decoupledDistillation, knowledgeDistillation } from '../../../src/training/losses/soft-targets.ts';
import { StaticTypes } from '../../../src/training/static-types.ts';
import { floats, labels, runtime } from './helpers.ts';

/** PyTorch in float64, written from the papers: golden/training/make_loss_golden.py. */
interface GoldenLoss {
  readonly student: readonly [number[], number];
  readonly teacher: readonly [number[], number];
  readonly value: number;
  readonly gradient: number[];
  readonly weights: Readonly<Record<string, { shape: number[]; offset: number; gradientNorm: number }>>;
}
const golden = JSON.parse(readFileSync('test/golden/training/losses.json', 'utf8')) as {
  readonly labels: number[];
  readonly scale: number;
  readonly losses: Readonly<Record<string, GoldenLoss>>;
};

type Build = (b: GraphBuilder, student: StaticTensor, teacher: StaticTensor) => LossFragment;
const LOSSES: Readonly<Record<string, Build>> = {
  kd: (b, s, t) => knowledgeDistillation(b, s, t, 4),
  dkd: (b, student, teacher) =>
    decoupledDistillation(b, { student, teacher, labels: 'labels' }, { temperature: 4, alpha: 1, beta: 8 }),
  at: attentionTransfer,
  sp: similarityPreserving,
  rkd: (b, s, t) => relationalDistillation(b, s, t, { distanceWeight: 25, angleWeight: 50 }),
  pkt: probabilisticTransfer,
  cc: (b, s, t) => correlationCongruence(b, s, t, 1),
  crd: (b, student, teacher) => contrastiveDistillation(b, { student, teacher, labels: 'labels' }, 1),
  fitnet: (b, s, t) => hints(b, s, t, 1),
  vid: (b, s, t) => variationalDistillation(b, s, t, 1),
};

/** Float32 against float64. The worst seen is 2e-6, of the value of pkt, whose terms nearly cancel; of gradients 7e-7. */
const TOLERANCE = 5e-6;

describe('distillation losses against PyTorch in float64', () => {
  it('covers every golden loss', () => {
    assert.deepEqual(Object.keys(LOSSES).toSorted(), Object.keys(golden.losses).toSorted());
  });

  for (const [name, build] of Object.entries(LOSSES)) {
    it(`${name}: value, gradient at the student, gradients of its own weights`, async () => {
      const expected = defined(golden.losses[name], name);
      const { value, student, weights } = await evaluate(build, expected);
      assert.ok(
        Math.abs(value - expected.value) <= TOLERANCE * Math.abs(expected.value),
        `${value} is not ${expected.value}`,
      );
      const error = norm(student.map((x, i) => x - (expected.gradient[i] ?? NaN))) / norm(expected.gradient);
      assert.ok(error < TOLERANCE, `gradient at the student: relative error ${error}`);
      for (const [weight, { gradientNorm }] of Object.entries(expected.weights)) {
        const found = norm(defined(weights.get(weight), weight));
        assert.ok(
          Math.abs(found - gradientNorm) <= TOLERANCE * gradientNorm,
          `${weight}: ${found} is not ${gradientNorm}`,
        );
      }
    });
  }
});

/** The loss on the golden inputs and weights, differentiated as a training graph does it. */
async function evaluate(
  build: Build,
  expected: GoldenLoss,
): Promise<{ value: number; student: Float32Array; weights: ReadonlyMap<string, Float32Array> }> {
  const b = new GraphBuilder('loss');
  const tensorOf = (name: string, [shape]: readonly [number[], number]): StaticTensor => ({
    value: b.input(name, 'float', shape),
    shape,
  });
  const student = tensorOf('student', expected.student);
  const teacher = tensorOf('teacher', expected.teacher);
  b.input('labels', 'int64', [golden.labels.length]);
  // As the features of a network, the student's come out of a node.
  const features = b.op('Identity', [student.value]);
  const fragment = build(b, { ...student, value: features }, teacher);
  const parameters = fragment.parameters ?? [];
  assert.deepEqual([...parameters].toSorted(), Object.keys(expected.weights).toSorted());
  for (const parameter of parameters) {
    const { shape, offset } = defined(expected.weights[parameter], parameter);
    assert.deepEqual(b.graph.initializers.get(parameter)?.dims, shape);
    b.graph.initializers.set(parameter, Tensor.float(parameter, numbers(shape, offset), shape));
  }
  const model = b.model(21, { 'com.microsoft': 1 });
  const types = new StaticTypes(model);
  const total = totalLoss(b, [{ fragment, weight: 1 }]);
  const gradients = differentiate(b, { loss: total.seeds, wrt: [student.value, ...parameters], types });
  b.output(total.value, 'loss', 'float', []);
  for (const [value, gradient] of gradients) b.output(gradient, `gradient_${value}`, 'float', types.shape(value));
  const session = await runtime.createSession(model, { threads: 1 });
  try {
    const array = ([shape, offset]: readonly [number[], number]): NdArray => floats(numbers(shape, offset), shape);
    const feeds: Record<string, NdArray> = { student: array(expected.student), labels: labels(golden.labels) };
    const results = await session.run({ ...feeds, teacher: array(expected.teacher) });
    const read = (name: string): Float32Array => Float32Array.from(results.get(name)?.data as Float32Array);
    return {
      value: read('loss')[0] ?? NaN,
      student: read('gradient_student'),
      weights: new Map(parameters.map((parameter) => [parameter, read(`gradient_${parameter}`)])),
    };
  } finally {
    await session.release();
  }
}

/** As the script that made the golden values. */
function numbers(shape: readonly number[], offset: number): number[] {
  return Array.from({ length: elementCount(shape) }, (_, i) => (((37 * i + offset) % 101) - 50) / golden.scale);
}

function norm(values: ArrayLike<number>): number {
  return Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0));
}
