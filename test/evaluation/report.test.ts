import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildReport, summaryOf, type ReportFacts } from '../../src/evaluation/build-report.ts';
import { judgeConstraints } from '../../src/evaluation/constraints.ts';
import { cpuFlags, hasExactInt8 } from '../../src/evaluation/environment.ts';
import type { Evaluation } from '../../src/evaluation/evaluate.ts';
import { CompressionError } from '../../src/errors.ts';
import type { Constraints } from '../../src/schemas/constraints.ts';
import { Report } from '../../src/schemas/report.ts';
import type { TrainingRunReport } from '../../src/schemas/training-report.ts';
import { evaluation, facts } from './report-fixture.ts';

describe('judgeConstraints', () => {
  const judge = (asked: Constraints, of = evaluation(), resultBlockMedians?: number[]) =>
    judgeConstraints(asked, { ...of, seed: 1, ...(resultBlockMedians === undefined ? {} : { resultBlockMedians }) });
  const met = (asked: Constraints, of?: Evaluation, blocks?: number[]) =>
    judge(asked, of, blocks).constraints.map((each) => each.met);

  it('asks for nothing: none', () => {
    assert.deepEqual(judge({}), { constraints: [], verdict: 'none' });
  });

  it('holds at exactly the limit and misses beyond it', () => {
    assert.deepEqual(met({ maxAccuracyDrop: 0.01, maxBytes: 250 }), [true, true]);
    const missed = judge({ maxAccuracyDrop: 0.009, maxBytes: 249 });
    assert.deepEqual(
      missed.constraints.map((each) => [each.name, each.value, each.met]),
      [
        ['maxAccuracyDrop', 0.01, false],
        ['maxBytes', 250, false],
      ],
    );
    assert.equal(missed.verdict, 'missed');
  });

  it('decides a speed-up only outside its interval', () => {
    assert.deepEqual(met({ minSpeedup: 1.5 }), [true]);
    assert.deepEqual(met({ minSpeedup: 2.5 }), [false]);
    const undecided = judge({ minSpeedup: 2 });
    assert.equal(undecided.constraints[0]?.met, null);
    assert.match(undecided.constraints[0].explanation, /Inconclusive/);
    assert.equal(undecided.verdict, 'missed');
  });

  it('decides a latency only outside its noise', () => {
    const blocks = [0.98, 1, 1.01, 0.99, 1.02, 1];
    assert.deepEqual(met({ maxLatencyP50Ms: 1.2 }, undefined, blocks), [true]);
    assert.deepEqual(met({ maxLatencyP50Ms: 0.9 }, undefined, blocks), [false]);
    assert.deepEqual(met({ maxLatencyP50Ms: 1 }, undefined, blocks), [null]);
  });

  it('misses a target without floating point where a node computes in float', () => {
    const judged = judgeConstraints({}, { ...evaluation(), seed: 1, floatNodes: ['softmax', 'gelu'] });
    assert.deepEqual(
      [judged.verdict, ...judged.constraints.map(({ name, value, met: isMet }) => [name, value, isMet])],
      ['missed', ['maxFloatNodes', 2, false]],
    );
    assert.match(judged.constraints[0]?.explanation ?? '', /softmax, gelu/);
    assert.equal(judgeConstraints({}, { ...evaluation(), seed: 1, floatNodes: [] }).verdict, 'met');
    assert.equal(judgeConstraints({}, { ...evaluation(), seed: 1 }).verdict, 'none');
  });

  it('calls nothing met that was not measured', () => {
    const { accuracy: _accuracy, latency: _latency, ...comparison } = evaluation().comparison;
    const { latency: _time, ...result } = evaluation().result;
    const blind: Evaluation = { ...evaluation(), comparison, result };
    const judged = judge({ maxAccuracyDrop: 0.5, maxLatencyP50Ms: 100, minSpeedup: 0.1 }, blind);
    assert.deepEqual(
      judged.constraints.map((each) => [each.value, each.met]),
      [
        [null, null],
        [null, null],
        [null, null],
      ],
    );
    assert.equal(judged.verdict, 'missed');
  });
});

const run: TrainingRunReport = {
  name: 'model',
  plannedEpochs: 1,
  epochs: [{ epoch: 0, loss: 1, learningRate: 0.1, imagesPerSecond: 100, seconds: 1 }],
  keptEpoch: 0,
  keptBy: 'last',
  stoppedEarly: false,
  learningRate: 0.1,
  updates: 1,
  divergences: [],
  resumedAt: [],
};

describe('recommendations', () => {
  const codes = (fields: Partial<ReportFacts>): string[] =>
    buildReport(facts(fields)).recommendations.map(({ code }) => code);

  it('warn of a real loss and say what to try, naming the noisiest layer', () => {
    const layers: Evaluation['layers'] = [30, 12, 25].map((sqnrDb, i) => ({
      name: `conv${i}`,
      opType: 'Conv',
      output: `v${i}`,
      weights: { shape: [1], type: 'int8', bits: 8, sparsity: 0 },
      sqnrDb,
      cosine: 0.9,
    }));
    const found = buildReport(facts({ evaluation: evaluation({ layers }) })).recommendations.find(
      ({ code }) => code === 'accuracy-drop',
    );
    assert.match(found?.message ?? '', /1\.00 points.*percentile.*"exclude": \["conv1"\]/);
  });

  it('say plainly that a result is slower, and that zeros bring no speed', () => {
    const slower = {
      speedup: 0.5,
      confidenceInterval: [0.4, 0.6] as [number, number],
      verdict: 'slower' as const,
      reason: '',
      blocks: 16,
      spinning: false,
    };
    const report = buildReport(
      facts({ evaluation: evaluation({ comparison: { latency: slower }, result: { sparsity: 0.8 } }) }),
    );
    const found = report.recommendations.map(({ code }) => code);
    assert.ok(found.includes('slower-than-input') && found.includes('zeros-bring-no-speed'));
    assert.match(report.headline, /but slower: it takes 2 times as long/);
    assert.equal(report.verdict, 'missed', 'a slower quantized result misses a limit that needs no asking');
    assert.deepEqual(
      report.constraints.map(({ name, limit, met }) => [name, limit, met]),
      [['minSpeedup', 1, false]],
    );
  });

  it('judge what a search chose as its trial was judged: slower and quantized is missed, slower and float is not', () => {
    const latency = {
      speedup: 0.5,
      confidenceInterval: [0.4, 0.6] as [number, number],
      verdict: 'slower' as const,
      reason: '',
      blocks: 16,
      spinning: false,
    };
    const [step] = facts().steps;
    assert.ok(step);
    const verdictOf = (pass: string, effectiveBitsPerWeight: number) =>
      buildReport(
        facts({
          constraints: { maxBytes: 1000 },
          steps: [{ ...step, pass }],
          evaluation: evaluation({ comparison: { latency }, result: { effectiveBitsPerWeight } }),
        }),
      ).verdict;
    assert.equal(verdictOf('search.auto', 8.5), 'missed');
    assert.equal(verdictOf('search.compression', 8.5), 'missed');
    assert.equal(verdictOf('search.compression', 32), 'met');
    assert.equal(verdictOf('prune.channels', 8.5), 'met');
  });

  it('state the saturation risk of a target, and none for portable', () => {
    const steps = facts().steps;
    assert.ok(codes({ target: { cpu: 'x64-vnni' }, steps }).includes('saturation-risk'));
    assert.ok(!codes({ target: { cpu: 'portable' }, steps }).includes('saturation-risk'));
    const counted = (nodes: string[]): string[] =>
      codes({
        target: { cpu: 'this' },
        steps: steps.map((step) => ({ ...step, details: { saturationRisk: { nodes } } })),
      });
    assert.ok(counted(['conv1']).includes('saturation-risk'));
    assert.ok(!counted([]).includes('saturation-risk'));
  });

  it('warn of outputs that are not finite', () => {
    const outputs = [
      {
        name: 'y',
        type: 'float',
        samples: 4,
        cosine: null,
        sqnrDb: null,
        maxAbsDifference: null,
        equalShare: 0,
        nonFiniteElements: { baseline: 0, result: 3 },
      },
    ];
    assert.equal(codes({ evaluation: evaluation({ comparison: { outputs } }) })[0], 'non-finite-outputs');
  });

  it('take a guessing input for wrong data, but not where the recipe trains it', () => {
    const guess = { value: 0.5, confidenceInterval: [0.45, 0.55] as [number, number] };
    const of = (result: Evaluation['result']): Evaluation => {
      const whole = evaluation();
      const { accuracy } = whole.baseline;
      assert.ok(accuracy !== undefined);
      return { ...whole, baseline: { ...whole.baseline, accuracy: { ...accuracy, ...guess } }, result };
    };
    const { result } = evaluation();
    assert.ok(result.accuracy !== undefined);
    const guessing = { ...result, accuracy: { ...result.accuracy, ...guess } };
    const steps = facts().steps.map((step) => ({ ...step, training: [run] }));
    assert.ok(codes({ evaluation: of(result) }).includes('baseline-is-guessing'));
    const learned = codes({ evaluation: of(result), steps });
    assert.ok(learned.includes('started-from-guessing') && !learned.includes('baseline-is-guessing'));
    assert.ok(codes({ evaluation: of(guessing), steps }).includes('result-is-guessing'));
  });

  it('ask for more calibration samples, and notice when nothing changed', () => {
    const calibrated = (samples: number, warnings: string[] = []) => ({
      data: { calibration: { dataset: 'dst_0123456789abcdef', samples, nonFiniteValues: 0, warnings } },
    });
    assert.ok(codes(calibrated(8)).includes('few-calibration-samples'));
    assert.ok(!codes(calibrated(512)).includes('few-calibration-samples'));
    assert.ok(codes(calibrated(512, ['12 values are NaN'])).includes('data'));
    assert.ok(!codes(calibrated(512)).includes('data'));
    assert.ok(codes({ steps: facts().steps.map((step) => ({ ...step, changed: 0 })) }).includes('nothing-changed'));
  });

  it('name a step that changed nothing beside one that tidied up, with the first reason', () => {
    const [step] = facts().steps;
    assert.ok(step !== undefined);
    const skipped = [
      { node: 'If_0', reason: 'values inside If are not calibrated' },
      { node: 'If_1', reason: 'the same' },
    ];
    const steps = [
      { ...step, pass: 'canonicalize', changed: 5 },
      { ...step, pass: 'quantize.mixed', changed: 0, warnings: [], skipped },
    ];
    const found = buildReport(facts({ steps })).recommendations.filter(({ code }) => code === 'nothing-changed');
    assert.deepEqual(
      found.map(({ message }) => message),
      ['quantize.mixed changed nothing. If_0: values inside If are not calibrated (and 1 more)'],
    );
    assert.ok(
      !codes({
        steps: [
          { ...step, pass: 'canonicalize', changed: 0 },
          { ...step, pass: 'quantize.mixed', changed: 3 },
        ],
      }).includes('nothing-changed'),
    );
  });
});

describe('buildReport', () => {
  it('fits its schema, whole', () => {
    const report = buildReport(facts({ constraints: { maxBytes: 300 } }));
    assert.deepEqual(Report.parse(JSON.parse(JSON.stringify(report))), report);
    assert.deepEqual(report.model.inputs, [{ name: 'x', type: 'float', shape: ['n', 4] }]);
    assert.equal(report.verdict, 'met');
    assert.deepEqual(summaryOf(report), {
      bytes: { before: 1000, after: 250 },
      accuracy: { before: 0.92, after: 0.91 },
      latencyP50Ms: { before: 2, after: 1 },
    });
  });

  it('makes JSON of what passes give, and refuses a number that is not finite', () => {
    const step = { ...facts().steps[0]!, details: { big: 2n ** 60n, ranges: Float32Array.of(1, 2) } };
    assert.deepEqual(buildReport(facts({ steps: [step] })).steps[0]?.details, {
      big: '1152921504606846976',
      ranges: [1, 2],
    });
    const bad = evaluation({ comparison: { bytes: { before: 1, after: 1, difference: NaN, ratio: 1 } } });
    assert.throws(
      () => buildReport(facts({ evaluation: bad })),
      (error: unknown) =>
        error instanceof CompressionError &&
        error.code === 'INTERNAL' &&
        error.message.includes('comparison.bytes.difference'),
    );
  });
});

describe('environment', () => {
  it('reads the flags of x64 and arm64, and knows which multiply int8 exactly', () => {
    assert.deepEqual(cpuFlags('processor: 0\nflags\t\t: fpu sse4_1 avx2 avx512_vnni\n'), [
      'sse4_1',
      'avx2',
      'avx512_vnni',
    ]);
    assert.deepEqual(cpuFlags('Features\t: fp asimd asimddp i8mm\n'), ['asimd', 'asimddp', 'i8mm']);
    assert.equal(hasExactInt8({ architecture: 'x64', cpuFlags: ['avx2'] }), false);
    assert.equal(hasExactInt8({ architecture: 'x64', cpuFlags: ['avx2', 'avx_vnni'] }), true);
    assert.equal(hasExactInt8({ architecture: 'arm64', cpuFlags: ['asimd'] }), true);
    assert.equal(hasExactInt8({ architecture: 'x64', cpuFlags: [] }), undefined);
  });
});
