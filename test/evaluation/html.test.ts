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
