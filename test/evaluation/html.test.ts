import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { buildReport } from '../../src/evaluation/build-report.ts';
import type { Evaluation } from '../../src/evaluation/evaluate.ts';
import { renderHtml } from '../../src/evaluation/html/render-html.ts';
import { tensorValue } from '../../src/onnx/value-type.ts';
import type { Report } from '../../src/schemas/report.ts';
import type { TrainingRunReport } from '../../src/schemas/training-report.ts';
import { makeNode, model } from './helpers.ts';
import { change, evaluation, facts } from './report-fixture.ts';

const HOSTILE = `<script>globalThis.pwned=1</script>"'><img src=x onerror=pwned()>\n\u001b[31mred\u202egnp`;
const hostileReport = (): Report =>
  buildReport(
    facts({
      job: HOSTILE,
      model: model({
        nodes: [makeNode('Relu', [HOSTILE], ['y'])],
        inputs: [tensorValue(HOSTILE, 'float', [HOSTILE, 4])],
        outputs: [tensorValue('y'.repeat(1_000_000), 'float', [])],
      }),
      evaluation: evaluation({
        layers: [{ name: HOSTILE, opType: HOSTILE, output: HOSTILE, sqnrDb: 12, cosine: 0.9, note: HOSTILE }],
        comparison: {
          outputs: [
            {
              name: HOSTILE,
              type: 'float',
              samples: 1,
              cosine: 1,
              sqnrDb: 20,
              maxAbsDifference: 1,
              equalShare: 1,
              nonFiniteElements: { baseline: 0, result: 0 },
              note: HOSTILE,
            },
          ],
        },
      }),
      steps: [
        {
          index: 0,
          pass: HOSTILE,
          options: { [HOSTILE]: HOSTILE },
          seconds: 1,
          changed: 1,
          skipped: [{ node: HOSTILE, reason: HOSTILE }],
          warnings: [HOSTILE],
          details: { [HOSTILE]: [HOSTILE] },
        },
      ],
      artifacts: [{ name: HOSTILE, kind: 'model', bytes: 1, sha256: 'a'.repeat(64), contentType: 'x' }],
    }),
  );

/** Accuracies by epoch, the best one kept. */
const trainingRun = (name: TrainingRunReport['name'], values: (number | null)[]): TrainingRunReport => ({
  name,
  plannedEpochs: 9,
  epochs: values.map((value, epoch) => ({
    epoch,
    loss: 2 / (epoch + 1),
    learningRate: 0.05,
    imagesPerSecond: 1000,
    seconds: 3,
    validation: { metric: 'top1', value, samples: 100 },
    ...(name === 'student' ? { parts: { ce: 1, [HOSTILE]: 0.0002 / (epoch + 1) } } : {}),
  })),
  keptEpoch: values.indexOf(Math.max(...values.map((value) => value ?? 0))),
  keptBy: 'validation',
  stoppedEarly: values.length < 9,
  learningRate: 0.1,
  updates: 42,
  divergences: [{ learningRate: 1, epoch: 2, step: 6, reason: HOSTILE }],
  resumedAt: [{ epoch: 1, step: 5 }],
});

const trainingReport = (training: TrainingRunReport[]): Report =>
  buildReport(
    facts({
      steps: [
        {
          index: 1,
          pass: 'distill',
          options: {},
          seconds: 1,
          changed: 1,
          skipped: [],
          warnings: [],
          training,
          details: { accuracy: { teacher: { metric: 'top1', value: 0.93, samples: 100 } } },
        },
      ],
    }),
  );

describe('renderHtml', () => {
  it('escapes every string and cuts long ones', () => {
    const page = renderHtml(hostileReport(), () => HOSTILE);
    assert.ok(!/<script|<img|onerror=pwned\(\)>/.test(page.replaceAll(/&lt;[^<]*/g, '')));
    assert.ok(!page.includes('\u001b') && !page.includes('\u202e'));
    assert.ok(page.includes('&lt;script&gt;'));
    assert.ok(page.length < 200_000, `${page.length} characters`);
  });

  it('asks for nothing from anywhere and allows no script', () => {
    const page = renderHtml(buildReport(facts()));
    assert.match(
      page,
      /Content-Security-Policy" content="default-src 'none'; style-src 'sha256-[^']+'; base-uri 'none'; form-action 'none'"/,
    );
    assert.ok(!/<script|<link|<iframe|<img|@import|url\(|\bsrc=|style="/i.test(page));
    for (const [, target] of page.matchAll(/href="([^"]*)"/g)) assert.match(target ?? '', /^#\w+$/);
    for (const [, id] of page.matchAll(/href="#(\w+)"/g)) assert.ok(page.includes(`id="${id}"`), id);
  });

  it('says the headline, each limit and each recommendation', () => {
    const report = buildReport(facts({ constraints: { maxBytes: 100, maxAccuracyDrop: 0.05 } }));
    const page = renderHtml(report);
    assert.ok(page.includes(report.headline) && page.includes('maxBytes') && page.includes('missed'));
    assert.ok(page.includes('class &lt;0&gt;'));
    for (const { message } of report.recommendations)
      assert.ok(page.includes(message.replaceAll('"', '&quot;')), message);
  });

  it('draws a report in which nothing could be measured', () => {
    const bare: Evaluation = {
      baseline: { bytes: 10, operators: {} },
      result: { bytes: 10, operators: {} },
      comparison: { bytes: change(10, 10) },
      layers: [],
      notMeasured: [{ name: 'latency', reason: 'no inputs' }],
    };
    const page = renderHtml(buildReport(facts({ evaluation: bare, steps: [], job: null })));
    assert.ok(page.includes('no inputs') && !page.includes('undefined') && !page.includes('NaN'));
  });

  it('draws how training went: both students in one chart, each part of the loss, what went wrong, all epochs', () => {
    const runs = [trainingRun('student-alone', [0.2, 0.5, 0.4]), trainingRun('student', [0.3, 0.6, null])];
    const page = renderHtml(trainingReport(runs));
    const section = page.slice(page.indexOf('id="training"'), page.indexOf('id="layers"'));
    assert.equal(section.match(/<svg/g)?.length, 5, 'loss, validation, learning rate, two parts');
    const [validation] = /<svg[^>]*aria-label="Validation[^]*?<\/svg>/.exec(section) ?? [''];
    assert.match(validation, /taught by the teacher from 30.00 % right to not finite; the same student alone from 20/);
    assert.match(validation, /class="after-line curve"/);
    assert.match(validation, /class="before-line curve"/);
    assert.match(validation, />teacher</);
    assert.match(section, /stopped after 3 of 9 epochs/);
    assert.match(section, /weights of epoch 2 are the result, the best by validation \(60.00 % right\)/);
    assert.match(section, /at learning rate 1 diverged in epoch 3, step 7:\s+&lt;script&gt;/);
    assert.match(section, /in epoch 2, after step 5/);
    assert.equal(section.match(/<td class="n">50.00 %<\/td>/g)?.length, 1);
    assert.ok(!/NaN|undefined|<script/.test(section));
    assert.ok(page.includes('href="#training"'));
  });

  it('draws no curve through a single epoch, and no more points than a screen has', () => {
    const one = renderHtml(trainingReport([trainingRun('model', [0.5])]));
    assert.ok(one.includes('id="training"') && !one.includes('curve" d=') && one.includes('50.00 %'));
    const long = renderHtml(trainingReport([trainingRun('model', new Array<number>(20_000).fill(0.5))]));
    assert.ok(long.length < 400_000, `${long.length} characters`);
    assert.ok(!renderHtml(buildReport(facts())).includes('id="training"'), 'a recipe that trains nothing');
  });

  const chromium = '/usr/bin/chromium';
  it(
    'runs no script and shows its styles in a browser',
    { skip: existsSync(chromium) ? false : 'no /usr/bin/chromium here' },
    () => {
      const folder = mkdtempSync(join(tmpdir(), 'tersor-report-'));
      try {
        const path = join(folder, 'report.html');
        writeFileSync(path, renderHtml(hostileReport()));
        const flags = [
          '--headless',
          '--no-sandbox',
          '--disable-gpu',
          '--no-first-run',
          '--disable-background-networking',
          `--user-data-dir=${folder}/profile`,
        ];
        const { stdout, stderr } = spawnSync(
          chromium,
          [...flags, '--enable-logging=stderr', '--dump-dom', pathToFileURL(path).href],
          { encoding: 'utf8', timeout: 60_000 },
        );
        assert.ok(stdout.includes('Compression report'));
        assert.ok(!stdout.includes('<img') && !stdout.includes('<script'));
        // a style sheet that its hash does not cover, or a blocked request, would be logged
        assert.ok(!stderr.includes('Content Security Policy'), stderr.slice(0, 2000));
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
  );
});
