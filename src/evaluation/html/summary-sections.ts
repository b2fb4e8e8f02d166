import { quantizeDetailsOf } from '../../schemas/quantize-report.ts';
import type { Report } from '../../schemas/report.ts';
import { isSearch } from '../../schemas/search-report.ts';
import { formatBytes, formatMs, formatNumber, formatPoints, formatShare } from '../format.ts';
import { barPair } from './charts.ts';
import { html, preformatted, shorten, type Markup } from './markup.ts';

type Tone = 'good' | 'warn' | 'bad' | 'info';

const VERDICTS: Readonly<Record<Report['verdict'], readonly [Tone, string]>> = {
  met: ['good', '✓ All limits met'],
  missed: ['bad', '✗ A limit is not met'],
  none: ['info', 'No limits were set'],
};

export function headerSection(report: Report): Markup {
  const [tone, text] = VERDICTS[report.verdict];
  return html`<header id="top">
    <div class="brand"><b>Tersor</b> · compression report</div>
    <h1>${report.headline}</h1>
    <span class="badge ${tone}">${text}</span>
    <p class="soft">
      An ONNX model was put through the steps below, and both models were measured on the same machine with the same
      data:
      <b>before</b> is the model as it was uploaded, <b>after</b> is the result.
    </p>
    <div class="chips">
      <span class="chip">before</span>
      ${report.steps.map((step) => html`→ <span class="chip"><code>${step.pass}</code></span> `)} →
      <span class="chip">after</span>
    </div>
    <nav>
      <a href="#advice">What to do</a><a href="#table">Before and after</a>
      ${report.baseline.accuracy === undefined ? undefined : html`<a href="#accuracy">Accuracy</a>`}
      ${report.steps.some(({ diagnosis }) => diagnosis !== undefined) ? html`<a href="#diagnosis">Diagnosis</a>` : undefined}
      ${report.steps.some((step) => quantizeDetailsOf(step) !== undefined) ? html`<a href="#choices">Choices</a>` : undefined}
      ${report.comparison.latency === undefined ? undefined : html`<a href="#speed">Speed</a>`}
      ${report.steps.some(isSearch) ? html`<a href="#search">Search</a>` : undefined}
      ${report.steps.some(({ training = [] }) => training.length > 0) ? html`<a href="#training">Training</a>` : undefined}
      <a href="#layers">Layers</a><a href="#steps">Steps</a><a href="#environment">Environment</a
      ><a href="#terms">Terms</a>
    </nav>
  </header>`;
}

export function cardsSection(report: Report): Markup {
  return html`<section class="cards" aria-label="Key numbers">
    ${sizeCard(report)}${speedCard(report)}${accuracyCard(report)}${computeCard(report)}
  </section>`;
}

interface Card {
  readonly title: string;
  readonly big: string;
  readonly tone?: Tone | undefined;
  readonly note: string;
  readonly bars?: Markup;
}

function card({ title, big, tone, note, bars }: Card): Markup {
  return html`<div class="card">
    <h3>${title}</h3>
    <div class="big ${tone ?? ''}">${big}</div>
    <p class="soft">${note}</p>
    ${bars}
  </div>`;
}

function sizeCard({ comparison: { bytes } }: Report): Markup {
  const bars = barPair(bytes.before, bytes.after, [formatBytes(bytes.before), formatBytes(bytes.after)]);
  const title = 'Size on disk';
  const saved = bytes.before === 0 ? 0 : 1 - bytes.after / bytes.before;
  if (Math.abs(saved) < 0.005) return card({ title, big: 'unchanged', note: 'nothing saved', bars });
  return saved > 0
    ? card({
        title,
        big: `${formatNumber(bytes.ratio ?? 1)}× smaller`,
        tone: 'good',
        note: `${(100 * saved).toFixed(1)} % saved`,
        bars,
      })
    : card({
        title,
        big: `${formatNumber(bytes.after / bytes.before)}× larger`,
        tone: 'bad',
        note: 'nothing saved',
        bars,
      });
}

function speedCard(report: Report): Markup {
  const title = 'Time a run';
  const { latency } = report.comparison;
  const [before, after] = [report.baseline.latency, report.result.latency];
  if (latency === undefined || before === undefined || after === undefined) {
    return card({ title, big: 'not measured', note: reasonOf(report, 'latency') });
  }
  const bars = barPair(before.p50Ms, after.p50Ms, [formatMs(before.p50Ms), formatMs(after.p50Ms)]);
  const [low, high] = latency.confidenceInterval;
  const range = `speed-up ${formatNumber(latency.speedup)}, 95 % interval ${formatNumber(low)} to ${formatNumber(high)}`;
  switch (latency.verdict) {
    case 'faster':
      return card({ title, big: `${formatNumber(latency.speedup)}× as fast`, tone: 'good', note: range, bars });
    case 'slower':
      return card({
        title,
        big: `${formatNumber(1 / latency.speedup)}× as long`,
        tone: 'bad',
        note: `slower; 95 % interval ${formatNumber(1 / high)} to ${formatNumber(1 / low)} times as long`,
        bars,
      });
    case 'inconclusive':
      return card({ title, big: 'no claim', tone: 'warn', note: `${latency.reason} (${range})`, bars });
  }
}

function accuracyCard(report: Report): Markup {
  const { accuracy, outputs } = report.comparison;
  if (accuracy === undefined) {
    const cosines = (outputs ?? []).flatMap(({ cosine }) => (cosine === null ? [] : [cosine]));
    const similar =
      cosines.length === 0 ? '' : `; outputs are similar to ${Math.min(...cosines).toFixed(5)} (cosine, 1 is equal)`;
    const reason = reasonOf(report, cosines.length === 0 ? 'comparison.accuracy' : 'baseline.accuracy');
    return card({ title: 'Accuracy', big: 'not measured', note: `${reason}${similar}` });
  }
  const { significant, difference, before, after } = accuracy;
  const [low, high] = accuracy.confidenceInterval;
  if (accuracy.metric === 'rmse') {
    return card({
      title: 'Error (RMSE)',
      big: significant ? `${difference > 0 ? '+' : ''}${formatNumber(difference)}` : 'no real change',
      tone: significant && difference > 0 ? 'bad' : 'good',
      note: `on ${accuracy.samples} samples, p = ${formatNumber(accuracy.pairedTest.pValue)}`,
      bars: barPair(before, after, [formatNumber(before), formatNumber(after)]),
    });
  }
  return card({
    title: accuracy.metric === 'top5' ? 'Accuracy (top 5)' : 'Accuracy (top 1)',
    big: `${difference > 0 ? '+' : ''}${formatPoints(difference)} points`,
    tone: significant && difference < 0 ? 'bad' : 'good',
    note: `${significant ? 'a real change' : 'within chance'}: true change ${formatPoints(low)} to ${formatPoints(high)} (95 %)`,
    bars: barPair(before, after, [formatShare(before), formatShare(after)]),
  });
}

function computeCard({ baseline, result }: Report): Markup | undefined {
  const [before, after] = [baseline.effectiveBitsPerWeight, result.effectiveBitsPerWeight];
  if (before === undefined || after === undefined) return undefined;
  const share = result.integerNodesShare;
  return card({
    title: 'Bits per weight',
    big: `${formatNumber(before)} → ${formatNumber(after)}`,
    note:
      share === undefined
        ? 'scales and zero points included'
        : `${Math.round(100 * share)} % of the compute kernels run in integers`,
    bars: barPair(before, after, [`${formatNumber(before)} bits`, `${formatNumber(after)} bits`]),
  });
}

/** Why a number is missing, by the nearest entry of `notMeasured`. */
export function reasonOf(report: Report, name: string): string {
  return report.notMeasured.find((entry) => entry.name === name)?.reason ?? 'not measured';
}

const LIMITS: Readonly<Record<Report['constraints'][number]['name'], string>> = {
  maxAccuracyDrop: 'Accuracy may drop by at most',
  maxBytes: 'Size at most',
  maxLatencyP50Ms: 'Median run at most',
  minSpeedup: 'Speed-up at least',
  maxFloatNodes: 'Nodes in float at most',
};

export function constraintsSection({ constraints }: Report): Markup | undefined {
  if (constraints.length === 0) return undefined;
  const show = (name: Report['constraints'][number]['name'], value: number | null): string => {
    if (value === null) return 'unknown';
    switch (name) {
      case 'maxAccuracyDrop':
        return `${formatPoints(value)} points`;
      case 'maxBytes':
        return formatBytes(value);
      case 'maxLatencyP50Ms':
        return formatMs(value);
      case 'minSpeedup':
        return `${formatNumber(value)}×`;
      case 'maxFloatNodes':
        return formatNumber(value);
    }
  };
  return html`<h2 id="limits">Limits the job set</h2>
    <div class="panel scroll">
      <table>
        <thead>
          <tr>
            <th>Limit</th>
            <th class="n">Asked</th>
            <th class="n">Got</th>
            <th>Verdict</th>
            <th>In words</th>
          </tr>
        </thead>
        <tbody>
          ${constraints.map(
            ({ name, limit, value, met, explanation }) =>
              html`<tr>
                <th>
                  ${LIMITS[name]}<br /><small><code>${name}</code></small>
                </th>
                <td class="n">${show(name, limit)}</td>
                <td class="n">${show(name, value)}</td>
                <td>
                  ${met === true ? html`<span class="good">✓ met</span>` : met === false ? html`<span class="bad">✗ missed</span>` : html`<span class="warn">? not shown</span>`}
                </td>
                <td class="what">${explanation}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}

/** Advice that names layers and options is longer than other text. */
const MAX_MESSAGE = 1200;

const LEVELS = {
  info: ['note', 'Good to know', 'info'],
  advice: ['advice', 'Advice', 'warn'],
  warning: ['warning', 'Warning', 'bad'],
} as const;

export function adviceSection({ recommendations }: Report): Markup {
  return html`<h2 id="advice">What to do</h2>
    ${
      recommendations.length === 0
        ? html`<p class="soft">Nothing stood out. The numbers below have the details.</p>`
        : html`<ul class="advice">
            ${recommendations.map(({ level, message }) => {
              const [kind, title, tone] = LEVELS[level];
              return html`<li class="${kind}">
                <b class="${tone}">${title}</b>${preformatted(shorten(message, MAX_MESSAGE))}
              </li>`;
            })}
          </ul>`
    }`;
}
