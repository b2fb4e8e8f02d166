import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildReport } from '../../src/evaluation/build-report.ts';
import { renderHtml } from '../../src/evaluation/html/render-html.ts';
import type { Recommendation } from '../../src/schemas/report.ts';
import { facts } from './report-fixture.ts';

const HOSTILE = `</desc><script>pwned()</script>"'><img src=x>\n\u202e`;

type Details = Record<string, unknown>;
const reportOf = (details: Details, pass = 'search.compression'): ReturnType<typeof buildReport> =>
  buildReport(
    facts({ steps: [{ index: 1, pass, options: {}, seconds: 1, changed: 1, skipped: [], warnings: [], details }] }),
  );

/** The section of the page about searches; empty when there is none. */
function sectionOf(details: Details, pass?: string): string {
  const page = renderHtml(reportOf(details, pass));
  assert.equal(page.includes('href="#search"'), page.includes('id="search"'));
  const from = page.indexOf('id="search"');
  return from < 0 ? '' : page.slice(from, page.indexOf('id="layers"'));
}
const recommended = (details: Details, code: string): Recommendation | undefined =>
  reportOf(details).recommendations.find((entry) => entry.code === code);

const dimensions = [
  { name: 'steps.0.macsRatio', type: 'choice', values: [0.9, 0.5, 0.3] },
  { name: 'steps.1', type: 'choice', values: [null, { pass: 'quantize.static' }] },
  { name: 'rate', type: 'real', min: 0.001, max: 0.1, log: true },
  { name: 'depth', type: 'integer', min: 1, max: 9 },
];
const point = { 'steps.0.macsRatio': 0.5, 'steps.1': { pass: 'quantize.static' }, rate: 0.01, depth: 3 };
const trial = (index: number, accuracy: number, macs: number, more: Details = {}): Details => ({
  index,
  point,
  status: 'succeeded',
  accuracy,
  macs,
  metric: 'top1',
  violation: macs > 8e6 ? macs / 8e6 - 1 : 0,
  ...more,
});
const search = (more: Details = {}): Details => ({
  strategy: 'evolution',
  seed: 7,
  space: { size: 54, dimensions },
  objectives: ['accuracy', 'macs'],
  constraints: { maxMacs: 8e6 },
  cutShort: false,
  best: 2,
  front: [0, 2],
  trials: [
    trial(0, 0.8, 2e6),
    trial(1, 0.79, 3e6),
    trial(2, 0.9, 6e6),
    trial(3, 0.95, 9e6),
    { index: 4, point, status: 'failed', violation: 1, reason: 'TIMEOUT: too slow' },
    { index: 5, point, status: 'rejected', macs: 7e6, violation: 0.5, reason: 'beyond the limits' },
  ],
  hypervolume: [0.2, 0.2, 0.7, 0.7],
  ...more,
});
const many = (count: number): Details[] =>
  Array.from({ length: count }, (_, index) => trial(index, 0.5 + (0.4 * index) / count, 1e6 + index));

describe('the report of a search', () => {
  it('draws the candidates, the front, the limit and the best, each with a shape of its own', () => {
    const section = sectionOf(search());
    const [scatter = ''] =
      /<svg[^>]*aria-label="Top-1 accuracy over Multiply-accumulates[^]*?<\/svg>/.exec(section) ?? [];
    assert.match(scatter, /of 4 candidates/);
    assert.match(
      scatter,
      /<desc>\s*The best is Candidate 2: Top-1 accuracy 90.00 %, Multiply-accumulates 6 M\. On the front: Candidate 0/,
    );
    assert.match(scatter, />Top-1 accuracy \(%\)</);
    assert.match(scatter, />Multiply-accumulates \(M\)</);
    assert.match(scatter, /left and up is better/);
    assert.equal(scatter.match(/class="ring"/g)?.length, 1, 'the best');
    assert.equal(scatter.match(/class="hollow"/g)?.length, 1, 'dominated');
    assert.equal(scatter.match(/class="over"/g)?.length, 2, 'one beyond a limit, one not run');
    assert.equal(scatter.match(/class="limit"/g)?.length, 1);
    // from (2 M, 80 %) across to 6 M, then up to 90 %
    assert.match(scatter, /class="after-line front"\s+d="M[\d.]+ [\d.]+H[\d.]+V[\d.]+"/);
    assert.match(section, /1 candidate has no place here/);
    for (const words of ['beyond a limit', 'not run, known by one figure only']) assert.ok(section.includes(words));
  });

  it('says in words what was run and found, with strategy, seed, space and limits', () => {
    const section = sectionOf(search()).replaceAll(/\s+/g, ' ').replaceAll(' >', '>');
    assert.match(section, /5 candidates were run, 1 of them failed, 1 more were ruled out/);
    assert.match(section, /The best, candidate 2: top-1 accuracy 90.00 %, multiply-accumulates 6 M\./);
    for (const words of ['evolution', '54 points, 4 dimensions', 'multiply-accumulates at most 8 M', 'quantize.static'])
      assert.ok(section.includes(words), words);
    assert.match(section, /<th>Seed<\/th> <td>7<\/td>/);
  });

  it('draws hypervolume over trials; with one objective the best so far', () => {
    assert.match(sectionOf(search()), /aria-label="Hypervolume over trials, from 0.20 to 0.70"/);
    const one = sectionOf(search({ objectives: ['macs'], hypervolume: undefined }));
    assert.match(one, /Multiply-accumulates of the best so far \(M\)/);
    assert.match(one, /best candidate so far over trials, from 2 M to 2 M"/);
    assert.ok(!one.includes('front between'), 'no scatter of one objective');
    const worsening = sectionOf(search({ objectives: ['accuracy'] }));
    assert.match(worsening, /so far over trials, from 80.00 % to 90.00 %"/, 'what is beyond the limits does not count');
  });

  it('draws a line a candidate through its choices, the most important first', () => {
    const section = sectionOf(search({ importance: { depth: 0.1, rate: 0.6, 'steps.1': 0 } }));
    const [chart = ''] = /<svg[^>]*aria-label="Choices of 4 candidates[^]*?<\/svg>/.exec(section) ?? [];
    const names = [...chart.matchAll(/<title>([^<]*)<\/title>[^<]+<\/text/g)].map(([, name]) => name);
    assert.deepEqual(names, ['Top-1 accuracy', 'rate', 'depth', 'steps.0.macsRatio', 'steps.1']);
    assert.equal(chart.match(/class="after-line bold"/g)?.length, 1);
    assert.equal(chart.match(/class="before-line thin"/g)?.length, 3);
    // 0.01 is in the middle of 0.001..0.1 on a logarithmic axis (46 to 346, less 4 for the best), 3 a quarter up in 1..9, 0.5 the middle of three values
    assert.match(chart, /class="after-line bold" d="M14 46L[\d.]+ 192L[\d.]+ 267L[\d.]+ 192L[\d.]+ 42"/);
    assert.match(section, /aria-label="Importance of 3 choices"/);
    assert.match(section, /rate 60.0 %, depth 10.0 %, steps.1 0.0 %/);
    const listed = sectionOf(search({ importance: [{ name: 'depth', share: 0.25, levels: [] }] }));
    assert.match(listed, /depth: 25.0 %/, 'a list of entries is read as well');
    assert.ok(!sectionOf(search({ importance: { rate: 0 } })).includes('Importance of'), 'too few trials to tell');
  });

  it('bounds what is many', () => {
    const wide = Array.from({ length: 40 }, (_, d) => ({ name: `d${d}`, type: 'real', min: 0, max: 1 }));
    const trials = many(5000).map((row) => ({
      ...row,
      point: Object.fromEntries(wide.map(({ name }) => [name, 0.5])),
    }));
    const section = sectionOf(
      search({ trials, best: 4999, front: [0, 4999], space: { size: null, dimensions: wide } }),
    );
    assert.ok(section.length < 1_000_000, `${section.length} characters`);
    assert.match(section, /Not drawn: 28 dimensions, 4880 candidates in between/);
    assert.match(section, /4800 more are in the JSON report: 4800 succeeded/);
    assert.equal(section.match(/<td class="n">4999<\/td>/g)?.length, 1, 'the best is in the table all the same');
    assert.match(section, /continuous, 40 dimensions/);
  });

  it('sets apart what was stopped early, and knows the reward', () => {
    const stopped = trial(6, 0.7, 5e6, { status: 'stopped', budget: 0.25 });
    const rows = [trial(0, 0.8, 2e6, { reward: 0.5 }), trial(2, 0.9, 6e6, { reward: 0.75 }), stopped];
    const section = sectionOf(search({ trials: rows, objectives: ['reward'] })).replaceAll(/\s+/g, ' ');
    assert.match(section, /3 candidates were run, 1 stopped after a part of their training[^]*reward 0.75\./);
    assert.match(section, /Reward of the best so far<[^]*over trials, from 0.50 to 0.75"/);
    assert.match(section, /stopped early<[^]*<td class="n">25.00 %<\/td>/);
    assert.match(sectionOf(search({ trials: rows })), /, stopped early<\/title>/);
  });

  it('has the measured times of the candidates handed out, and the best without the limits', () => {
    const timing = [
      { index: 2, latencyP50Ms: 1.5 },
      { index: 0, latencyP50Ms: null },
    ];
    const section = sectionOf(search({ timing, bestOverall: 3 })).replaceAll(/\s+/g, ' ');
    assert.equal(section.match(/<td class="n">1.50 ms<\/td>/g)?.length, 1);
    assert.match(section, /Best without the limits<\/th> <td>candidate 3: top-1 accuracy 95.00 %/);
    assert.ok(!sectionOf(search({ bestOverall: 2 })).includes('without the limits'), 'the same one');
  });

  it('sets the search against random candidates, and says where it was no better', () => {
    const random = (best: Details, curves?: Details): Details =>
      search({ random: { trials: 5, found: trial(2, 0.9, 6e6), best, ...(curves === undefined ? {} : { curves }) } });
    const better = random(trial(1, 0.85, 5e6));
    assert.match(sectionOf(better), /5 random candidates, as many as the search had[^]*The search is ahead/);
    assert.equal(recommended(better, 'search-no-better-than-random'), undefined);
    const worse = random(trial(1, 0.9, 5e6));
    assert.match(sectionOf(worse), /brought nothing over chance/);
    assert.equal(recommended(worse, 'search-no-better-than-random')?.level, 'info');
    const beyond = random(trial(1, 0.99, 9e6));
    assert.equal(recommended(beyond, 'search-no-better-than-random'), undefined, 'limits come first');
    const curves = { search: [0.2, 0.7], random: [0.3, 0.7] };
    const drawn = random(trial(1, 0.85, 5e6), curves);
    assert.ok(recommended(drawn, 'search-no-better-than-random'), 'the same room, though the best is worse');
    assert.match(sectionOf(drawn), /Hypervolume over trials, at random from 0.30 to 0.70; search from 0.20 to 0.70/);
  });

  it('shows the network that was found, its final training, and how well proxies order', () => {
    const details = search({
      winner: { architecture: 'resnet', depth: 14 },
      finalTraining: { status: 'succeeded', accuracy: 0.97, metric: 'top1' },
      correlations: { macs: { kendallTau: 0.5, spearman: null }, odd: { kendallTau: -0.25, spearman: 1 } },
    });
    const section = sectionOf(details, 'search.architecture').replaceAll(/\s+/g, ' ').replaceAll(' >', '>');
    assert.match(section, /<code>architecture<\/code> resnet, <code>depth<\/code> 14/);
    assert.match(section, /After the final training<\/th> <td>top-1 accuracy 97.00 %/);
    assert.match(section, /Multiply-accumulates<\/td> <td class="n">0.50<\/td> <td class="n">–<\/td>/);
    assert.match(section, /odd<\/td> <td class="n">-0.25<\/td>/);
  });

  it('recommends where nothing is within the limits, trials failed, or the search was cut short', () => {
    const none = search({ trials: [trial(0, 0.9, 9e6), trial(1, 0.8, 10e6)], best: 0, front: [], cutShort: true });
    assert.equal(recommended(none, 'search-limits-missed')?.level, 'warning');
    const advice = (details: Parameters<typeof recommended>[0]): string =>
      recommended(details, 'search-cut-short')?.message ?? '';
    assert.match(advice(none), /after 2 trials.*trials that have run are not run again/);
    const shared = search({ strategy: 'one-shot', trials: [trial(0, 0.9, 9e6)], best: 0, cutShort: true });
    assert.match(advice(shared), /ended early, with 1 candidate measured.*Give the job more time/);
    assert.match(
      sectionOf(none),
      /No candidate is within all limits[^]*was ended early; this is what there was by then/,
    );
    const failed = { index: 1, point, status: 'failed', violation: 1, reason: 'TIMEOUT: too slow' };
    const failing = search({ trials: [trial(0, 0.9, 1e6), failed, { ...failed, index: 2 }], best: 0 });
    assert.match(recommended(failing, 'search-trials-failed')?.message ?? '', /2 of the 3[^]*TIMEOUT: too slow/);
    for (const code of ['search-limits-missed', 'search-cut-short', 'search-trials-failed'])
      assert.equal(recommended(search(), code), undefined, code);
  });

  it('lists what search.auto tried, in order, what it measured and what it did not try', () => {
    const measured = { metric: 'top1', accuracyBefore: 0.93, bytesBefore: 400_000, latencyBeforeP50Ms: 2 };
    const auto = {
      chosen: 'int8-accurate',
      because: 'the first that meets every constraint',
      recipe: { version: 1, steps: [{ pass: 'quantize.static', accuracy: 'auto' }] },
      cutShort: false,
      candidates: [
        {
          name: 'int8',
          why: 'small',
          status: 'succeeded',
          ...measured,
          accuracy: 0.9,
          bytes: 1e5,
          latencyP50Ms: 1,
          speedup: 2,
          missedBy: 0.2,
          verdict: 'missed',
        },
        { name: 'broken', status: 'failed', error: { code: 'TIMEOUT', message: HOSTILE }, missedBy: null },
        {
          name: 'int8-accurate',
          why: HOSTILE,
          status: 'succeeded',
          ...measured,
          accuracy: 0.929,
          bytes: 1e5,
          missedBy: 0,
          verdict: 'met',
        },
      ],
      notTried: ['prune-75-int8', HOSTILE],
    };
    const section = sectionOf(auto, 'search.auto').replaceAll(/\s+/g, ' ').replaceAll(' >', '>');
    assert.match(section, /Chosen: <b>int8-accurate<\/b>\. the first that meets/);
    assert.ok(section.indexOf('<b>int8</b>') < section.indexOf('<b>broken</b>'));
    assert.match(section, /<b>int8-accurate<\/b> <b class="good">chosen<\/b>/);
    assert.match(section, /✗ missed<\/span><br \/><small>by 20 % in all/);
    assert.match(section, /✗ failed[^]*✓ met/);
    assert.match(section, /-3.00 points[^]*2×[^]*-0.10 points/);
    assert.match(section, /Not tried, as one before them was good enough: <code>prune-75-int8<\/code>/);
    assert.doesNotMatch(section, /<script|<img/);
  });

  it('escapes hostile names and values, and takes no name for a property of objects', () => {
    const names = [HOSTILE, '__proto__', 'constructor', 'toString'];
    const hostile = search({
      strategy: HOSTILE,
      constraints: { [HOSTILE]: 1, constructor: 2 },
      space: {
        size: 3,
        dimensions: names.map((name) => ({ name, type: 'choice', values: [HOSTILE, { pass: HOSTILE, x: [HOSTILE] }] })),
      },
      trials: [0, 1, 2, 3].map((index) =>
        trial(index, 0.5, 1e6 * index, { point: { [HOSTILE]: HOSTILE }, metric: HOSTILE, reason: HOSTILE }),
      ),
      importance: { [HOSTILE]: 0.5 },
      winner: { [HOSTILE]: HOSTILE },
      correlations: { [HOSTILE]: { kendallTau: 1, spearman: 1 }, constructor: { kendallTau: 1 } },
    });
    const section = sectionOf(hostile);
    assert.ok(section.includes('&lt;script&gt;'));
    assert.doesNotMatch(section, /<script|<img|\u202e|native code|undefined|NaN/);
    assert.equal(section.match(/<desc>/g)?.length, section.match(/<\/desc>/g)?.length);
  });

  it('shows what is left of damaged details, and nothing where nothing is', () => {
    const keys = Object.keys(search());
    const junk: unknown[] = [null, 'text', -1, 1e308, [], [null, 7, {}], {}, { size: {}, dimensions: 3 }];
    for (const key of [...keys, 'importance', 'random', 'winner', 'correlations', 'finalTraining'])
      for (const value of junk) {
        const section = sectionOf(search({ [key]: value }));
        assert.equal(section === '', key === 'trials', `${key}: ${JSON.stringify(value)}`);
        assert.doesNotMatch(section, /NaN|undefined|Infinity/, `${key}: ${JSON.stringify(value)}`);
      }
    assert.match(sectionOf(search({ trials: [7, trial(2, 0.9, 6e6), { index: 'x' }] })), /1 candidate was run/);
    for (const details of [{}, { trials: 'none' }, { chosen: 'x', candidates: [1] }])
      assert.equal(sectionOf(details), '');
    assert.equal(sectionOf(search(), 'quantize.static'), '', 'no other pass has a search');
    const odd = [-1e308, 0, 1e308, 1e-300].map((macs, index) => trial(index, 0, macs, { violation: null }));
    assert.doesNotMatch(sectionOf(search({ trials: odd })), /NaN|undefined|Infinity/);
  });
});
