import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compareAccuracy, summarizeAccuracy } from '../../src/evaluation/accuracy-report.ts';
import { measureAccuracy, type Metric } from '../../src/evaluation/accuracy.ts';
import { outcomeFromJson, outcomeToJson, type Outcome } from '../../src/evaluation/outcome.ts';
import { CompressionError } from '../../src/errors.ts';
import type { NdArray } from '../../src/onnx/nd-array.ts';
import type { FeedSource } from '../../src/passes/pass.ts';
import type { SessionValue } from '../../src/runtime/session.ts';
import { fakeSession, float, rows } from './helpers.ts';

const scores: SessionValue = { name: 'scores', type: 'float', shape: [null, 3] };
/** The input is the output. */
const echo = (outputs: readonly SessionValue[] = [scores]) =>
  fakeSession(outputs, ({ x }) => ({ [outputs[0]?.name ?? 'scores']: x ?? float([]) }));

const six: readonly (readonly number[])[] = [
  [0.7, 0.2, 0.1],
  [0.1, 0.8, 0.1],
  [0.1, 0.2, 0.7],
  [0.5, 0.4, 0.1],
  [0.3, 0.3, 0.1],
  [0.1, 0.1, 0.8],
];
const labels = { type: 'int64', values: [0, 1, 2, 1, 0, 0] } as const;

async function outcome(feeds: FeedSource, metric?: Metric, session = echo()): Promise<Outcome> {
  return measureAccuracy(session, feeds, metric);
}

describe('measureAccuracy', () => {
  it('counts the best class, ties to the lower index', async () => {
    const measured = await outcome(rows(six, labels));
    assert.ok(measured.kind === 'classification');
    assert.deepEqual([...measured.predictions], [0, 1, 2, 0, 0, 2]);
    const summary = summarizeAccuracy(measured, undefined, ['a', 'b', 'c']);
    assert.ok(summary.ok);
    assert.equal(summary.value.value, 4 / 6);
    // scikit-learn 1.5, precision_recall_fscore_support on the same labels and predictions
    assert.deepEqual(summary.value.perClass, [
      { class: 0, name: 'a', support: 3, predicted: 3, precision: 2 / 3, recall: 2 / 3 },
      { class: 1, name: 'b', support: 2, predicted: 1, precision: 1, recall: 0.5 },
      { class: 2, name: 'c', support: 1, predicted: 2, precision: 0.5, recall: 1 },
    ]);
    assert.ok(Math.abs((summary.value.macroF1 ?? 0) - 2 / 3) < 1e-12);
    assert.deepEqual(summary.value.confusions, [
      { label: 0, predicted: 2, samples: 1 },
      { label: 1, predicted: 0, samples: 1 },
    ]);
  });

  it('counts a label among the five best for top5, and says why three classes have none', async () => {
    const seven = [
      [7, 6, 5, 4, 3, 2, 1],
      [7, 6, 5, 4, 3, 2, 1],
      [1, 1, 1, 1, 1, 1, 1],
    ];
    const measured = await outcome(rows(seven, { type: 'int64', values: [4, 5, 4] }), 'top5');
    const summary = summarizeAccuracy(measured, 'top5');
    assert.ok(summary.ok);
    assert.equal(summary.value.value, 2 / 3); // ties count by index: class 4 of seven equal scores is the fifth
    const few = summarizeAccuracy(await outcome(rows(six, labels), 'top5'), 'top5');
    assert.ok(!few.ok && few.reason.includes('top5 says nothing'));
  });

  it('counts NaN scores as wrong and never as agreement', async () => {
    const broken = await outcome(
      rows(
        six.map(() => [NaN, 0, 1]),
        labels,
      ),
    );
    assert.ok(broken.kind === 'classification');
    assert.equal(broken.nonFiniteSamples, 6);
    const summary = summarizeAccuracy(broken, 'top1');
    assert.ok(summary.ok);
    assert.equal(summary.value.value, 0);
    const compared = compareAccuracy(broken, broken, 'top1');
    assert.ok(compared.ok);
    assert.equal(compared.value.agreement?.value, 0);
  });

  it('refuses labels outside the classes', async () => {
    await assert.rejects(outcome(rows(six, { type: 'int64', values: [0, 1, 2, 3, 0, 0] })), (error: unknown) => {
      assert.ok(error instanceof CompressionError && error.code === 'DATASET_LABELS');
      assert.match(error.message, /sample 3 is 3.*classes 0\.\.2/);
      return true;
    });
  });

  it('takes a single score for two classes', async () => {
    const session = echo([{ name: 'p', type: 'float', shape: [null, 1] }]);
    const measured = await measureAccuracy(
      session,
      rows([[0.9], [0.2], [0.6]], { type: 'int64', values: [1, 0, 0] }),
      'top1',
      {
        binaryThreshold: 0.5,
      },
    );
    assert.ok(measured.kind === 'classification');
    assert.deepEqual([...measured.predictions], [1, 0, 1]);
  });

  it('prefers scores to other outputs, and takes class indices where there are no scores', async () => {
    const outputs: SessionValue[] = [
      { name: 'label', type: 'int64', shape: [null] },
      { name: 'scores', type: 'float', shape: [null, 3] },
    ];
    const index = (count: number): NdArray => ({
      type: 'int64',
      dims: [count],
      data: new BigInt64Array(count).fill(2n),
    });
    const both = fakeSession(outputs, ({ x }) => ({ label: index(x?.dims[0] ?? 0), scores: x ?? float([]) }));
    const measured = await outcome(rows(six, labels), undefined, both);
    assert.ok(measured.kind === 'classification' && measured.output === 'scores');
    const only = fakeSession(outputs.slice(0, 1), ({ x }) => ({ label: index(x?.dims[0] ?? 0) }));
    const indices = await outcome(rows(six, labels), undefined, only);
    assert.ok(indices.kind === 'classification' && indices.predictions.every((guess) => guess === 2));
  });

  it('measures the error of a regressor, and nothing when it is not finite', async () => {
    const session = echo([{ name: 'y', type: 'float', shape: [null, 2] }]);
    const data = [
      [1, 2],
      [3, 4],
      [5, 6],
    ];
    const targets = { type: 'float', values: [1, 2, 3, 6, 8, 6] } as const;
    const measured = await outcome(rows(data, targets), undefined, session);
    const summary = summarizeAccuracy(measured, undefined);
    assert.ok(summary.ok);
    // squared errors a sample: 0, (0 + 4)/2, (9 + 0)/2
    assert.equal(summary.value.metric, 'rmse');
    assert.ok(Math.abs(summary.value.value - Math.sqrt(6.5 / 3)) < 1e-6);
    assert.ok(Math.abs((summary.value.meanAbsoluteError ?? 0) - 2.5 / 3) < 1e-6);
    const broken = await outcome(
      rows(
        [
          [Infinity, 1],
          [0, 0],
        ],
        { type: 'float', values: [0, 0, 0, 0] },
      ),
      'rmse',
      session,
    );
    const none = summarizeAccuracy(broken, 'rmse');
    assert.ok(!none.ok && none.reason.includes('1 of 2 samples'));
  });

  const nothing: readonly (readonly [string, Promise<Outcome>, RegExp])[] = [
    ['no labels', outcome(rows(six)), /no labels/],
    ['metric none', outcome(rows(six, labels), 'none'), /asked for no accuracy/],
    ['no output', outcome(rows(six, labels), undefined, echo([])), /no tensor output/],
    ['no samples', outcome(rows([], { type: 'int64', values: [] })), /no samples/],
    [
      'text outputs',
      outcome(
        rows(six, labels),
        undefined,
        fakeSession([{ name: 't', type: 'string', shape: [null] }], ({ x }) => ({
          t: { type: 'string', dims: [x?.dims[0] ?? 0], data: new Array<string>(x?.dims[0] ?? 0).fill('cat') },
        })),
      ),
      /no output gives class scores/,
    ],
    [
      'targets of another width',
      outcome(rows(six, { type: 'float', values: [0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2] })),
      /no output has 1 values a sample|no output has/,
    ],
  ];
  for (const [name, measured, reason] of nothing) {
    it(`says why there is nothing to measure: ${name}`, async () => {
      const found = await measured;
      assert.ok(found.kind === 'none');
      assert.match(found.reason, reason);
    });
  }

  it('stops when it is canceled', async () => {
    const stop = AbortSignal.abort();
    await assert.rejects(
      measureAccuracy(echo(), rows(six, labels), undefined, { signal: stop }),
      (error: unknown) => error instanceof CompressionError && error.code === 'CANCELED',
    );
  });
});

describe('outcomes in a checkpoint', () => {
  it('come back as they were', async () => {
    const session = echo([{ name: 'y', type: 'float', shape: [null, 1] }]);
    for (const measured of [
      await outcome(rows(six, labels)),
      await outcome(rows([[1.5], [2]], { type: 'float', values: [1, 2.5] }), 'rmse', session),
      await outcome(rows(six)),
    ]) {
      const text = JSON.stringify(outcomeToJson(measured));
      assert.deepEqual(outcomeFromJson(JSON.parse(text) as ReturnType<typeof outcomeToJson>), measured);
    }
  });
});

describe('compareAccuracy', () => {
  it('pairs sample by sample', async () => {
    const before = await outcome(rows(six, labels));
    const after = await outcome(
      rows(
        six.map((row, i) => (i < 2 ? [0, 0, 1] : row)),
        labels,
      ),
    );
    const compared = compareAccuracy(before, after, undefined);
    assert.ok(compared.ok);
    const { value } = compared;
    assert.deepEqual([value.pairedTest.onlyBaselineCorrect, value.pairedTest.onlyResultCorrect], [2, 0]);
    assert.equal(value.pairedTest.pValue, 0.5); // two of two discordant samples: 2 * 0.5^2
    assert.ok(Math.abs(value.difference + 2 / 6) < 1e-12 && !value.significant);
    assert.equal(value.agreement?.value, 4 / 6);
  });

  it('pairs the errors of regressors', async () => {
    const session = echo([{ name: 'y', type: 'float', shape: [null, 1] }]);
    const targets = { type: 'float', values: Array.from({ length: 50 }, (_, i) => i) } as const;
    const off = (by: number): FeedSource =>
      rows(
        targets.values.map((value, i) => [value + by + (i % 2) / 10]),
        targets,
      );
    const before = await outcome(off(0.1), 'rmse', session);
    const worse = compareAccuracy(before, await outcome(off(0.5), 'rmse', session), 'rmse');
    assert.ok(worse.ok && worse.value.significant && worse.value.difference > 0.3);
    const same = compareAccuracy(before, before, 'rmse');
    assert.ok(same.ok && !same.value.significant && same.value.difference === 0);
  });

  it('does not compare what was measured on different samples', async () => {
    const compared = compareAccuracy(
      await outcome(rows(six, labels)),
      await outcome(rows(six.slice(0, 3), { type: 'int64', values: [0, 1, 2] })),
      'top1',
    );
    assert.ok(!compared.ok && compared.reason.includes('cannot be paired'));
  });
});
