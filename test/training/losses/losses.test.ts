import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crossEntropy } from '../../../src/training/losses/cross-entropy.ts';
import { attentionTransfer, similarityPreserving } from '../../../src/training/losses/feature-maps.ts';
import { binaryCrossEntropy, meanSquaredError } from '../../../src/training/losses/regression.ts';
import { decoupledDistillation, knowledgeDistillation } from '../../../src/training/losses/soft-targets.ts';
import { evaluateLoss, floats, labels, numericGradient } from './helpers.ts';

/** float32 results against values given to seven digits. */
const TOLERANCE = 2e-6;

function assertClose(actual: ArrayLike<number>, expected: readonly number[], tolerance = TOLERANCE): void {
  assert.equal(actual.length, expected.length);
  expected.forEach((value, i) => {
    assert.ok(
      Math.abs(actual[i]! - value) <= tolerance * Math.max(1, Math.abs(value)),
      `${i}: ${actual[i]} is not ${value}`,
    );
  });
}

const STUDENT = floats([1, 2, 3, 0.5, -1, 2], [2, 3]);
const TEACHER = floats([3, 2, 1, 1, 0, 4], [2, 3]);

describe('knowledge distillation', () => {
  it('has the value and gradient of RepDistiller', async () => {
    const { value, gradients } = await evaluateLoss({ s: STUDENT, t: TEACHER }, (b, of) =>
      knowledgeDistillation(b, of('s'), of('t'), 4),
    );
    assertClose([value], [0.7703365]);
    assertClose(gradients.get('s')!, [-0.3299075, 0, 0.3299075, 0.1231071, 0.0376306, -0.1607377]);
  });

  it('stays finite where a softmax underflows', async () => {
    const { value, gradients } = await evaluateLoss(
      { s: floats([1000, 0], [1, 2]), t: floats([0, 1000], [1, 2]) },
      (b, of) => knowledgeDistillation(b, of('s'), of('t'), 1),
    );
    assertClose([value], [1000]);
    assertClose(gradients.get('s')!, [1, -1]);
  });
});

describe('decoupled distillation', () => {
  const build =
    (alpha: number, beta: number): Parameters<typeof evaluateLoss>[1] =>
    (b, of) =>
      decoupledDistillation(b, { student: of('s'), teacher: of('t'), labels: 'y' }, { temperature: 4, alpha, beta });
  const inputs = { s: STUDENT, t: TEACHER, y: labels([0, 2]) };

  it('has the values of mdistiller', async () => {
    assertClose([(await evaluateLoss(inputs, build(1, 0))).value], [0.618912]);
    assertClose([(await evaluateLoss(inputs, build(0, 1))).value], [0.2640003]);
    assertClose([(await evaluateLoss(inputs, build(1, 8))).value], [2.730914]);
  });

  it('has the gradient that central differences give', async () => {
    const { gradients } = await evaluateLoss(inputs, build(1, 8));
    // Rounding 1e-7 * 2.7 over a step of 1e-2, truncation below 1e-4.
    assertClose(gradients.get('s')!, [...(await numericGradient(inputs, 's', build(1, 8)))], 1e-3);
  });
});

describe('similarity preserving', () => {
  const inputs = { s: floats([1, 2, 3, -1, 0, 1], [3, 2]), t: floats([1, 0, 1, 0, 2, 1, 1, 1, 1], [3, 3]) };

  it('has the value of RepDistiller, and the gradient that central differences give', async () => {
    const { value, gradients } = await evaluateLoss(inputs, (b, of) => similarityPreserving(b, of('s'), of('t')));
    assertClose([value], [0.2079154]);
    const numeric = await numericGradient(inputs, 's', (b, of) => similarityPreserving(b, of('s'), of('t')));
    assertClose(gradients.get('s')!, [...numeric], 1e-3);
  });
});

describe('attention transfer', () => {
  const inputs = {
    s: floats([1, 2, 5, 6, 9, 10, 13, 14], [1, 2, 2, 2]),
    t: floats([1, 0, 0, 1, 2, 1, 1, 0, 0, 3, 1, 1], [1, 3, 2, 2]),
  };

  it('has the value of RepDistiller, and the gradient that central differences give', async () => {
    const { value, gradients } = await evaluateLoss(inputs, (b, of) => attentionTransfer(b, of('s'), of('t')));
    assertClose([value], [0.1977013]);
    const numeric = await numericGradient(inputs, 's', (b, of) => attentionTransfer(b, of('s'), of('t')));
    assertClose(gradients.get('s')!, [...numeric], 1e-3);
  });

  it('refuses maps whose sizes have no common measure', async () => {
    await assert.rejects(
      evaluateLoss(
        { s: floats(new Array<number>(9).fill(1), [1, 1, 3, 3]), t: floats([1, 2, 3, 4], [1, 1, 2, 2]) },
        (b, of) => attentionTransfer(b, of('s'), of('t')),
      ),
      { code: 'PASS_PRECONDITION' },
    );
  });
});

describe('cross-entropy', () => {
  const inputs = { z: STUDENT, y: labels([2, 0]) };

  it('is the mean of -log p, its gradient (p - onehot) / batch', async () => {
    const { value, gradients } = await evaluateLoss(inputs, (b, of) => crossEntropy(b, of('z'), 'y'));
    // By hand: rows of softmax([1,2,3]) and softmax([.5,-1,2]).
    const rows = [
      [1, 2, 3],
      [0.5, -1, 2],
    ].map((row) => {
      const sum = row.reduce((total, x) => total + Math.exp(x), 0);
      return row.map((x) => Math.exp(x) / sum);
    });
    assertClose([value], [-(Math.log(rows[0]![2]!) + Math.log(rows[1]![0]!)) / 2]);
    const expected = [...rows[0]!, ...rows[1]!];
    expected[2]! -= 1;
    expected[3]! -= 1;
    assertClose(
      gradients.get('z')!,
      expected.map((x) => x / 2),
    );
  });

  for (const options of [
    { labelSmoothing: 0.1 },
    { classWeights: [1, 2, 0.5] },
    { labelSmoothing: 0.2, classWeights: [1, 2, 0.5] },
  ]) {
    it(`with ${JSON.stringify(options)} has PyTorch's value and the gradient of central differences`, async () => {
      const build: Parameters<typeof evaluateLoss>[1] = (b, of) => crossEntropy(b, of('z'), 'y', options);
      const { value, gradients } = await evaluateLoss(inputs, build);
      assertClose(
        [value],
        [
          torchCrossEntropy(
            [
              [1, 2, 3],
              [0.5, -1, 2],
            ],
            [2, 0],
            options,
          ),
        ],
      );
      assertClose(gradients.get('z')!, [...(await numericGradient(inputs, 'z', build))], 1e-3);
    });
  }

  it('refuses weights that are not one a class', async () => {
    await assert.rejects(
      evaluateLoss(inputs, (b, of) => crossEntropy(b, of('z'), 'y', { classWeights: [1, 2] })),
      {
        code: 'RECIPE_INVALID',
      },
    );
  });
});

/** The formula in torch.nn.CrossEntropyLoss's documentation, term by term. */
function torchCrossEntropy(
  logits: readonly number[][],
  targets: readonly number[],
  options: { labelSmoothing?: number; classWeights?: number[] },
): number {
  const { labelSmoothing: e = 0, classWeights = [1, 1, 1] } = options;
  let hard = 0;
  let smooth = 0;
  let weightSum = 0;
  logits.forEach((row, i) => {
    const lse = Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
    const target = targets[i]!;
    hard += classWeights[target]! * (lse - row[target]!);
    row.forEach((x, c) => (smooth += classWeights[c]! * (lse - x)));
    weightSum += classWeights[target]!;
  });
  return ((1 - e) * hard + (e / 3) * smooth) / weightSum;
}

describe('regression losses', () => {
  it('mean squared error: value and gradient by hand', async () => {
    const { value, gradients } = await evaluateLoss(
      { x: floats([1, 2, 4], [3, 1]), t: floats([0, 2, 1], [3, 1]) },
      (b, of) => meanSquaredError(b, of('x'), 't'),
    );
    assertClose([value], [10 / 3]);
    assertClose(gradients.get('x')!, [2 / 3, 0, 2]);
  });

  it('binary cross-entropy of logits: finite for large logits', async () => {
    const { value, gradients } = await evaluateLoss(
      { x: floats([0, 100, -100, 2], [2, 2]), t: floats([1, 0, 0, 1], [2, 2]) },
      (b, of) => binaryCrossEntropy(b, of('x'), 't'),
    );
    assertClose([value], [(Math.log(2) + 100 + 0 + Math.log(1 + Math.exp(-2))) / 4]);
    const sigmoid = 1 / (1 + Math.exp(-2));
    assertClose(gradients.get('x')!, [-0.125, 0.25, 0, (sigmoid - 1) / 4]);
  });
});
