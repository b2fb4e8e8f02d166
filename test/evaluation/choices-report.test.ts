import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildReport } from '../../src/evaluation/build-report.ts';
import { renderHtml } from '../../src/evaluation/html/render-html.ts';
import { facts } from './report-fixture.ts';

const HOSTILE = `</desc><script>pwned()</script>"'><img src=x>\n\u202e`;

type Details = Record<string, unknown>;

/** The section of the page about the choices of quantizing steps; empty when there is none. */
function sectionOf(details: Details, pass = 'quantize.mixed'): string {
  const step = { index: 1, pass, options: {}, seconds: 1, changed: 1, skipped: [], warnings: [], details };
  const page = renderHtml(buildReport(facts({ steps: [step] })));
  assert.equal(page.includes('href="#choices"'), page.includes('id="choices"'));
  const from = page.indexOf('id="choices"');
  return from < 0 ? '' : page.slice(from, page.indexOf('<h2', from)).replaceAll(/\s+/g, ' ');
}

const point = (cost: number, loss: number, int8: number): Details => ({
  cost,
  loss,
  averageBits: cost / 1000,
  layers: { 'int8/uint8': int8, 'int4/uint8': 4 - int8 },
});
const points = [point(4000, 0.3, 0), point(5000, 0.2, 1), point(6000, 0.15, 2), point(8000, 0.1, 4)];
const mixed = (more: Details = {}): Details => ({
  sensitivity: 'kl',
  budget: { option: 'averageBits', unit: 'weightBits', before: 32_000, limit: 5500, after: 5000, gap: 0 },
  pareto: { unit: 'weightBits', isComplete: true, count: 90, chosen: points[1], points },
  ...more,
});
const auto = (more: Details = {}): Details => ({
  accuracy: {
    metric: 'top1',
    samples: 1000,
    float: 0.92,
    maxDrop: 0.01,
    chosen: { biasCorrection: 'fast', method: 'mse' },
    met: true,
    trials: [
      { added: {}, value: 0.9, drop: 0.02, met: false },
      { added: { method: 'mse', biasCorrection: 'fast' }, value: 0.915, drop: 0.005, met: true },
    ],
    ...more,
  },
});
const within = {
  metric: 'top1',
  samples: 60,
  float: 1,
  maxDrop: 0.1,
  value: 0.95,
  drop: 0.05,
  met: true,
  chosen: { givenBack: 2 },
  trials: [
    { givenBack: 0, layers: { 'int2/uint8': 3 }, value: 0.5, drop: 0.5, met: false },
    { givenBack: 2, layers: { 'int8/uint8': 1, 'int2/uint8': 2 }, value: 0.95, drop: 0.05, met: true },
  ],
};

describe('the report of quantize.mixed', () => {
  it('draws loss over cost, the chosen point ringed, what is beyond the budget as triangles, the budget as a line', () => {
    const section = sectionOf(mixed());
    const [chart = ''] =
      /<svg[^>]*aria-label="Estimated loss over bits a weight of 4 choices[^]*?<\/svg>/.exec(section) ?? [];
    assert.match(chart, /role="img"/);
    assert.match(
      chart,
      /<desc>Chosen: Bits a weight 5, loss 0\.20 \(layers: 1 int8\/uint8, 3 int4\/uint8\)\. Choices: 4 with loss 0\.30; 5 with loss 0\.20; 6 with/,
    );
    assert.equal(chart.match(/class="ring"/g)?.length, 1, 'the chosen one');
    assert.equal(chart.match(/class="hollow"/g)?.length, 1, 'cheaper');
    assert.equal(chart.match(/class="over"/g)?.length, 2, 'beyond the budget');
    assert.equal(chart.match(/class="limit"/g)?.length, 1);
    assert.match(
      chart,
      /<title>Bits a weight 8, loss 0\.10 \(layers: 4 int8\/uint8, 0 int4\/uint8\), beyond the budget<\/title>/,
    );
    assert.match(chart, /left and down is better/);
    for (const words of [
      'chosen',
      'other choices',
      'beyond the budget',
      'The dashed line is the budget',
      'Kullback-Leibler',
    ])
      assert.ok(section.includes(words), words);
    assert.match(section, /4 of 90 points are drawn/);
    const places = [...chart.matchAll(/<path class="over" d="M([\d.]+) ([\d.]+)L/g)].map(([, x, y]) => [
      Number(x),
      Number(y),
    ]);
    assert.ok(places[0]![0]! < places[1]![0]! && places[0]![1]! < places[1]![1]!, 'dearer lies right, less loss lower');
  });

  it('names each cost in its unit', () => {
    for (const [unit, name, text] of [
      ['bytes', 'file size', 'File size 5 kB'],
      ['bops', 'bit operations', 'Bit operations 5 k'],
      ['latencyNs', 'estimated time of the layers', 'Estimated time of the layers 5 µs'],
    ] as const) {
      const pareto = { unit, chosen: points[1], points };
      const section = sectionOf({ pareto });
      assert.match(section, new RegExp(`aria-label="Estimated loss over ${name} of 4`));
      assert.ok(section.includes(`Chosen: ${text}, loss 0.20`), section.slice(0, 1500));
      assert.ok(!section.includes('class="limit"'));
    }
  });

  it('draws losses of several orders of magnitude by their logarithm, and zeros not', () => {
    const wide = [point(4000, 1, 0), point(5000, 0.1, 1), point(6000, 0.01, 2), point(8000, 0.001, 4)];
    const pareto = { unit: 'bytes', chosen: wide[0], points: wide };
    const section = sectionOf({ pareto });
    assert.match(section, /Estimated loss, logarithmic/);
    const heights = [
      ...section.slice(section.indexOf('<desc>')).matchAll(/<circle class="hollow" cx="[\d.]+" cy="([\d.]+)"/g),
    ].map(([, y]) => Number(y));
    const [a = 0, b = 0, c = 0] = heights;
    assert.ok(Math.abs(b - a - (c - b)) < 0.2, 'equal factors are equal steps');
    const zero = [...wide, point(9000, 0, 4)];
    assert.ok(!sectionOf({ pareto: { ...pareto, points: zero } }).includes('logarithmic'));
  });

  it('lists the trials of maxAccuracyDrop with the types of the layers', () => {
    const section = sectionOf(mixed({ budget: undefined, accuracy: within }));
    assert.match(section, /In float: 100 %, on 60 samples\. Allowed to be lost: 10\.00 points\./);
    assert.match(section, /the cheapest types<br \/><small>3 int2\/uint8<\/small>/);
    assert.match(
      section,
      /2 given back to wider types <b class="good">chosen<\/b><br \/><small>1 int8\/uint8, 2 int2\/uint8<\/small>/,
    );
  });
});

describe('the report of accuracy "auto"', () => {
  it('lists each trial: what was tried, the accuracy, whether it was met, which was chosen', () => {
    const section = sectionOf(auto(), 'quantize.static');
    const rows = [...section.matchAll(/<tr>(.*?)<\/tr>/g)].map(([row]) => row);
    assert.equal(rows.length, 3);
    assert.match(rows[1]!, /the options as given .*90\.00 %.*2\.00 points.*<span class="bad">✗ no<\/span>/);
    assert.ok(!rows[1]!.includes('chosen'));
    assert.match(
      rows[2]!,
      /<code>method<\/code> mse, <code>biasCorrection<\/code> fast <b class="good">chosen<\/b>.*91\.50 %.*0\.50 points.*✓ yes/,
    );
    assert.ok(!section.includes('No trial stays within'));
  });

  it('says where no trial was good enough, and counts errors as errors', () => {
    const section = sectionOf(
      auto({ met: false, metric: 'rmse', float: 0.5, trials: [{ added: {}, value: 0.6, drop: 0.2, met: false }] }),
      'quantize.static',
    );
    assert.match(section, /No trial stays within; the best of them was taken/);
    assert.match(section, /Error \(RMSE\)/);
    assert.match(section, /0\.60<\/td> <td class="n">20\.00 % of the error/);
  });
});

describe('the choices of any report', () => {
  it('escape hostile names and values', () => {
    const named = { ...points[0], layers: { [HOSTILE]: 3 } };
    const section = sectionOf({
      sensitivity: HOSTILE,
      ...auto({ metric: HOSTILE, trials: [{ added: { [HOSTILE]: HOSTILE }, value: 0.5, drop: 1, met: false }] }),
      pareto: { unit: 'bytes', chosen: named, points: [named, points[1]] },
    });
    assert.ok(section.includes('&lt;script&gt;'));
    assert.ok(!/<script|<img|\u202e/.test(section));
    assert.ok(!sectionOf(mixed({ sensitivity: 'constructor' })).includes('The loss is the sum'));
  });

  it('are bounded where there are many', () => {
    const many = Array.from({ length: 5000 }, (_, at) => point(4000 + at, 1 / (at + 1), 1));
    const trials = Array.from({ length: 5000 }, () => ({ added: {}, value: 0.5, drop: 1, met: false }));
    const section = sectionOf({
      ...auto({ trials }),
      pareto: { unit: 'bytes', chosen: many[0], points: many },
    });
    assert.ok(section.length < 120_000, `${section.length} characters`);
    assert.match(section, /4900 more are in the JSON report/);
  });

  it('show what is left of damaged details, and nothing where nothing is', () => {
    const left = sectionOf(
      mixed({ accuracy: 5, pareto: { unit: 'bytes', chosen: points[1], points: [...points, { cost: 'x' }, null] } }),
    );
    assert.match(left, /of 4 choices of types/);
    for (const details of [
      {},
      { pareto: null, accuracy: { teacher: 1 } },
      { pareto: { unit: 'hours', chosen: points[1], points } },
      { pareto: { unit: 'bytes', chosen: points[1], points: [points[1]] } },
      auto({ trials: [] }),
    ])
      assert.equal(sectionOf(details), '');
    assert.equal(sectionOf(auto(), 'distill'), '', 'other passes have other details');
  });
});
