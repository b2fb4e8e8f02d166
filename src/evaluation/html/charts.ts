import { formatMs, formatPoints, formatShare } from '../format.ts';
import type { Accuracy, AccuracyComparison, Latency, LayerReport } from '../../schemas/report.ts';
import { html, Markup, shorten } from './markup.ts';
import { linearScale, px, tickText, ticks, type Scale } from './scale.ts';

/** Before and after as two bars of one scale, for the cards. `texts` stand at the bars' right. */
export function barPair(before: number, after: number, texts: readonly [string, string]): Markup {
  const x = linearScale([0, Math.max(before, after) || 1], [0, 150]);
  const bar = (value: number, y: number, kind: string, text: string): Markup =>
    html` <rect class="${kind}" x="0" y="${y}" width="${px(Math.max(1.5, x(value)))}" height="11" rx="3" />
      <text x="${px(Math.max(1.5, x(value)) + 7)}" y="${y + 10}">${text}</text>`;
  return html`<svg viewBox="0 0 240 32" role="img" aria-label="before ${texts[0]}, after ${texts[1]}">
    ${bar(before, 1, 'before', texts[0])}${bar(after, 18, 'after', texts[1])}
  </svg>`;
}

/** Units of a chart that takes half of the page, and of one that takes all of it: text comes out equally large. */
const WIDTH = 520;
const WIDE = 1000;

function xAxis(x: Scale, at: readonly number[], y: number, text: (value: number) => string): Markup[] {
  return at.map(
    (value) =>
      html`<line class="grid" x1="${px(x(value))}" x2="${px(x(value))}" y1="8" y2="${px(y)}" />
        <text x="${px(x(value))}" y="${px(y + 16)}" text-anchor="middle">${text(value)}</text>`,
  );
}

/** What of a distribution is worth drawing: up to the last bin with 1 % of the peak. The rest would be an empty tail. */
export function drawnRuns({ histogram: { fromMs, toMs, counts, above } }: Latency): { toMs: number; hidden: number } {
  const peak = Math.max(...counts, 1);
  const bins = Math.max(1, counts.findLastIndex((count) => count >= peak / 100) + 1);
  let hidden = above;
  for (const count of counts.slice(bins)) hidden += count;
  return { toMs: fromMs + ((toMs - fromMs) / counts.length) * bins, hidden };
}

/** Distribution of run times: one area a model on one time axis, each scaled to its own peak; the line is the median. */
export function latencyChart(before: Latency, after: Latency): Markup {
  const height = 210;
  const base = height - 30;
  const all = [before.histogram, after.histogram];
  const from = Math.min(...all.map(({ fromMs }) => fromMs));
  const to = Math.max(...[before, after].map((latency) => drawnRuns(latency).toMs));
  const pad = (to - from) * 0.04 || to * 0.05;
  const domain: [number, number] = [Math.max(0, from - pad), to + pad];
  const x = linearScale(domain, [8, WIDE - 8]);
  const at = ticks(...domain, 6);
  const series: readonly [Latency, 'before' | 'after'][] = [
    [before, 'before'],
    [after, 'after'],
  ];
  return html`<svg
    class="wide"
    viewBox="0 0 ${WIDE} ${height}"
    role="img"
    aria-label="Run times: before ${formatMs(before.p50Ms)}, after ${formatMs(after.p50Ms)} at the median"
  >
    ${xAxis(x, at, base, (value) => tickText(value, at))}
    <line class="axis" x1="8" x2="${WIDE - 8}" y1="${base}" y2="${base}" />
    ${series.map(([latency, kind]) => areaOf(latency, kind, x, base))}
    ${series.map(([latency, kind], index) => medianMark(latency, kind, { x, base, y: 16 + 15 * index }))}
    <text x="${WIDE - 8}" y="${height - 1}" text-anchor="end">milliseconds a run</text>
  </svg>`;
}

function areaOf(latency: Latency, kind: string, x: Scale, base: number): Markup {
  const { fromMs, toMs, counts } = latency.histogram;
  const peak = Math.max(...counts, 1);
  const binMs = (toMs - fromMs) / counts.length;
  const y = (count: number): number => base - (count / peak) * (base - 46);
  let path = `M${px(x(fromMs))} ${base}`;
  const end = drawnRuns(latency).toMs;
  for (const [bin, count] of counts.entries()) {
    if (fromMs + (bin + 0.5) * binMs > end) break;
    path += `L${px(x(fromMs + bin * binMs))} ${px(y(count))}L${px(x(fromMs + (bin + 1) * binMs))} ${px(y(count))}`;
  }
  return html`<path class="${kind}-area" d="${new Markup(`${path}L${px(x(end))} ${px(base)}Z`)}" />`;
}

function medianMark(latency: Latency, kind: string, { x, base, y }: { x: Scale; base: number; y: number }): Markup {
  const at = x(latency.p50Ms);
  const left = at > WIDE * 0.6;
  return html`<line class="${kind}-line" x1="${px(at)}" x2="${px(at)}" y1="${y - 8}" y2="${base}" stroke-width="2" />
    <text class="strong" x="${px(left ? at - 6 : at + 6)}" y="${y}" text-anchor="${left ? 'end' : 'start'}"
      >${kind} ${formatMs(latency.p50Ms)}</text
    >`;
}

/** Accuracy with its 95 % intervals, and the paired difference with its own, around zero. */
export function accuracyChart(
  before: Accuracy,
  after: Accuracy,
  comparison: AccuracyComparison | undefined,
  limit: number | undefined,
): Markup {
  const rows: { label: string; value: number; interval: readonly [number, number]; kind: 'before' | 'after' }[] = [
    { label: 'before', value: before.value, interval: before.confidenceInterval, kind: 'before' },
    { label: 'after', value: after.value, interval: after.confidenceInterval, kind: 'after' },
  ];
  const isShare = before.metric !== 'rmse';
  const [low, high] = padded(
    rows.flatMap(({ interval, value }) => [...interval, value]),
    isShare ? [0, 1] : [0, Infinity],
  );
  const x = linearScale([low, high], [70, WIDTH - 20]);
  const at = ticks(low, high, 5);
  const text = (value: number): string =>
    isShare
      ? `${tickText(
          100 * value,
          at.map((tick) => 100 * tick),
        )} %`
      : tickText(value, at);
  const upper = html`${xAxis(x, at, 84, text)}
  ${rows.map(({ label, value, interval, kind }, index) => whisker({ label, kind, y: 30 + 32 * index, x }, value, interval))}`;
  if (comparison === undefined || !isShare) {
    return html`<svg viewBox="0 0 ${WIDTH} 110" role="img" aria-label="Accuracy before and after with 95 % intervals">
      ${upper}
    </svg>`;
  }
  const { difference, confidenceInterval } = comparison;
  const marks = [...confidenceInterval, 0, ...(limit === undefined ? [] : [-limit])];
  const [least, most] = padded(marks, [-1, 1]);
  const dx = linearScale([least, most], [70, WIDTH - 20]);
  const dAt = ticks(100 * least, 100 * most, 5);
  return html`<svg
    viewBox="0 0 ${WIDTH} 232"
    role="img"
    aria-label="Accuracy before and after, and their difference ${formatPoints(difference)} points, with 95 % intervals"
  >
    ${upper}
    <g transform="translate(0 118)">
      <text class="strong" x="0" y="6">Difference, in percentage points</text>
      <g transform="translate(0 8)">
        ${xAxis(
          (value) => dx(value / 100),
          dAt,
          76,
          (value) => tickText(value, dAt),
        )}
        <line class="zero" x1="${px(dx(0))}" x2="${px(dx(0))}" y1="8" y2="76" />
        ${
          limit === undefined
            ? undefined
            : html`<line class="limit" x1="${px(dx(-limit))}" x2="${px(dx(-limit))}" y1="8" y2="76" />
                <text x="${px(dx(-limit) + 5)}" y="20">limit</text>`
        }
        ${whisker({ label: 'change', kind: 'after', y: 46, x: dx }, difference, confidenceInterval)}
      </g>
    </g>
  </svg>`;
}

function whisker(
  row: { label: string; kind: string; y: number; x: Scale },
  value: number,
  [low, high]: readonly [number, number],
): Markup {
  const { x, y, kind } = row;
  return html`<text class="strong" x="0" y="${y + 4}">${row.label}</text>
    <line
      class="${kind}-line"
      x1="${px(x(low))}"
      x2="${px(x(high))}"
      y1="${y}"
      y2="${y}"
      stroke-width="3"
      stroke-linecap="round"
    />
    <circle class="${kind}" cx="${px(x(value))}" cy="${y}" r="6" />`;
}

function padded(values: readonly number[], [floor, ceiling]: readonly [number, number]): [number, number] {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const pad = (high - low) * 0.12 || Math.abs(high) * 0.05 || 0.01;
  return [Math.max(floor, low - pad), Math.min(ceiling, high + pad)];
}

export interface ClassRow {
  readonly label: string;
  readonly before: number;
  readonly after: number;
}

/** Share of each class that is recognized, before and after, joined by a line. */
export function classChart(rows: readonly ClassRow[]): Markup {
  const labelWidth = 110;
  const height = 26 + rows.length * 22;
  const [low, high] = padded(
    rows.flatMap(({ before, after }) => [before, after]),
    [0, 1],
  );
  const x = linearScale([low, high], [labelWidth + 10, WIDTH - 14]);
  const at = ticks(100 * low, 100 * high, 5);
  return html`<svg
    viewBox="0 0 ${WIDTH} ${height}"
    role="img"
    aria-label="Recognized share of each class, before and after"
  >
    ${xAxis(
      (value) => x(value / 100),
      at,
      height - 22,
      (value) => `${tickText(value, at)} %`,
    )}
    ${rows.map(({ label, before, after }, index) => {
      const y = 18 + index * 22;
      return html`<g
        ><title>${label}: ${formatShare(before)} before, ${formatShare(after)} after</title>
        <text x="${labelWidth}" y="${y + 4}" text-anchor="end">${shorten(label, 16)}</text>
        <line class="link" x1="${px(x(before))}" x2="${px(x(after))}" y1="${y}" y2="${y}" />
        <circle class="before" cx="${px(x(before))}" cy="${y}" r="5" /><circle
          class="after"
          cx="${px(x(after))}"
          cy="${y}"
          r="4.5"
      /></g>`;
    })}
  </svg>`;
}

/** Below: the error is a third of the signal or more; below the second: a tenth or more. */
export const NOISY_DB = 10;
export const FAIR_DB = 20;

/** Signal-to-noise ratio of each layer's output, in order of execution; short bars are noisy layers. */
export function layerChart(layers: readonly (LayerReport & { readonly sqnrDb: number })[]): Markup {
  const width = WIDE;
  const height = 230;
  const base = height - 24;
  const top = Math.max(40, ...layers.map(({ sqnrDb }) => sqnrDb));
  const bottom = Math.min(0, ...layers.map(({ sqnrDb }) => sqnrDb));
  const y = linearScale([bottom, top], [base, 10]);
  const slot = (width - 50) / layers.length;
  const at = ticks(bottom, top, 5);
  return html`<svg
    class="wide"
    viewBox="0 0 ${width} ${height}"
    role="img"
    aria-label="Signal-to-noise ratio of ${layers.length} layers in decibels"
  >
    ${at.map(
      (value) =>
        html`<line class="grid" x1="40" x2="${width - 6}" y1="${px(y(value))}" y2="${px(y(value))}" />
          <text x="34" y="${px(y(value) + 4)}" text-anchor="end">${tickText(value, at)}</text>`,
    )}
    ${layers.map((layer, index) => {
      const kind = layer.sqnrDb < NOISY_DB ? 'noisy' : layer.sqnrDb < FAIR_DB ? 'fair' : 'fine';
      const [from, to] = [y(Math.max(0, layer.sqnrDb)), y(Math.min(0, layer.sqnrDb))];
      return html`<rect
        class="${kind}"
        x="${px(42 + index * slot)}"
        y="${px(from)}"
        width="${px(Math.max(0.6, Math.min(26, slot * 0.72)))}"
        height="${px(Math.max(1, to - from))}"
        rx="1.5"
        ><title>${shorten(layer.name, 80)} (${layer.opType}): ${layer.sqnrDb.toFixed(1)} dB</title></rect
      >`;
    })}
    <text x="40" y="${height - 4}">first layer</text>
    <text x="${width - 6}" y="${height - 4}" text-anchor="end">last layer</text>
  </svg>`;
}
