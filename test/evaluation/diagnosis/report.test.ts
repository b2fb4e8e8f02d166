import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildReport, type ReportFacts } from '../../../src/evaluation/build-report.ts';
import { renderHtml } from '../../../src/evaluation/html/render-html.ts';
import type { Comparison, Recommendation } from '../../../src/schemas/report.ts';
import { evaluation, facts } from '../report-fixture.ts';
import { diagnosis, step } from './fixture.ts';

/** Advice that comes of the diagnosis; the fixture's accuracy has dropped significantly. */
const advice = (fields: Partial<ReportFacts>): Recommendation[] =>
  buildReport(facts(fields)).recommendations.filter(({ change }) => change !== undefined);
const kept: Partial<Comparison> = { accuracy: { ...evaluation().comparison.accuracy!, significant: false } };
const data: ReportFacts['data'] = { evaluation: { dataset: 'd', samples: 10, nonFiniteValues: 0, warnings: [] } };

describe('recommendations from a diagnosis', () => {
  it('name the layers, the reason, the option to set, and what leaving layers in float was measured to bring', () => {
    const found = advice({ steps: [step(diagnosis())], data });
    assert.deepEqual(
      found.map(({ code, change }) => [code, change]),
      [
        ['layers-unequal-weight-channels', { pass: 'quantize.static', options: { perChannel: true } }],
        ['exclude-worst-layers', { pass: 'quantize.static', options: { exclude: ['first', 'worst'] } }],
        ['try-int8-accurate', { pass: 'quantize.static', options: { accuracy: 'auto' } }],
      ],
    );
    assert.match(found[0]?.message ?? '', /Layer "worst" and 1 other make 50\.00 % of the noise\..*"perChannel": true/);
    assert.match(found[1]?.message ?? '', /keep 18\.0 dB instead of 12\.0 dB, measured on 16 samples/);
    const drop = buildReport(facts({ steps: [step(diagnosis())] })).recommendations.find(
      ({ code }) => code === 'accuracy-drop',
    );
    assert.match(drop?.message ?? '', /listed next/);
  });

  it('say nothing where nothing was lost, or where no data tells and the outputs are clean', () => {
    const clean = diagnosis({ modelSqnrDb: 35 });
    assert.deepEqual(advice({ steps: [step(diagnosis())], evaluation: evaluation({ comparison: kept }) }), []);
    const { accuracy: _, ...unlabelled } = evaluation().comparison;
    const without = { ...evaluation(), comparison: unlabelled };
    assert.deepEqual(advice({ steps: [step(clean)], evaluation: without }), []);
    assert.ok(advice({ steps: [step(diagnosis())], evaluation: without }).length > 0);
  });

  it('do not tell to do what was done, and point to training below 8 bits', () => {
    const low = diagnosis();
    low.layers[0]!.weights!.bits = 4;
    low.inFloat = [{ layers: ['worst'], modelSqnrDb: 12.5 }];
    const found = advice({ steps: [step(low, { accuracy: 'auto', weights: 'int4' })], data });
    assert.deepEqual(
      found.map(({ code }) => code),
      ['layers-unequal-weight-channels', 'train-quantized'],
    );
    assert.deepEqual(found.at(-1)?.change, { pass: 'quantize.aware', options: { weights: 4 } });
  });
});

describe('the report of a diagnosed step', () => {
  it('holds layers against the rewritten model where channels were scaled', () => {
    const layers = [
      {
        name: 'worst',
        opType: 'Conv',
        output: 'worst_out',
        weights: { shape: [1], type: 'int8', bits: 8, sparsity: 0, sqnrDb: -4 },
        sqnrDb: -4,
        cosine: 0.1,
      },
    ];
    const of = (rewritten: boolean) =>
      buildReport(facts({ steps: [step(diagnosis({ rewritten }))], evaluation: evaluation({ layers }) })).layers[0];
    assert.equal(of(false)?.sqnrDb, -4);
    assert.deepEqual(
      [of(true)?.sqnrDb, of(true)?.cosine, of(true)?.weights?.sqnrDb, of(true)?.weights?.bits],
      [12, undefined, undefined, 8],
    );
    assert.match(of(true)?.note ?? '', /rewritten/);
  });

  it('draws the errors along the depth, the worst layers with what to set, and the layers in float', () => {
    const page = renderHtml(buildReport(facts({ steps: [step(diagnosis())] })));
    assert.ok(page.includes('id="diagnosis"') && page.includes('href="#diagnosis"'));
    assert.match(page, /Own and accumulated signal-to-noise ratio of 3 layers/);
    assert.match(page, /One layer stands out: worst makes 30\.00 %/);
    assert.ok(page.includes('perChannel: true') && page.includes('exclude: [&quot;worst&quot;]'));
    assert.match(page, /every layer quantized/);
    assert.ok(!page.includes('undefined') && !page.includes('NaN') && !page.includes('[object'));
  });

  it('escapes the names of layers and survives one without numbers', () => {
    const hostile = `<script>"'><img src=x onerror=pwned()>\u001b\u202e`;
    const long = 'x'.repeat(100_000);
    const page = renderHtml(buildReport(facts({ steps: [step(diagnosis({}, [hostile, long]))] })));
    assert.ok(!/<script|<img/.test(page) && !page.includes('\u001b') && !page.includes('\u202e'));
    assert.ok(page.length < 200_000, `${page.length} characters`);
    const empty = diagnosis({ layers: [], findings: [], inFloat: [], notMeasured: [{ name: 'd', reason: 'no data' }] });
    const { modelSqnrDb: _, ...unmeasured } = empty;
    assert.match(renderHtml(buildReport(facts({ steps: [step(unmeasured)] }))), /Nothing to show of.*no data/s);
  });
});
