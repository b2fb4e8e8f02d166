import type { FigureView } from '../search-figures.ts';
import { html, type Markup } from './markup.ts';
import { linearScale, px, tickText, ticks, type Scale } from './scale.ts';

/** How values of one figure lie along a side of a chart. */
export interface Axis {
  readonly scale: Scale;
  readonly domain: readonly [number, number];
  readonly at: readonly number[];
  readonly unit: string;
  readonly text: (tick: number) => string;
}

/** An axis from a little below the smallest value to a little above the largest, in the unit that suits the largest. */
export function axisOf(
  values: readonly number[],
  view: Pick<FigureView, 'unit'>,
  pixels: readonly [number, number],
): Axis {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const pad = (high - low) * 0.04 || Math.abs(high) * 0.05 || 0.01;
  const domain: [number, number] = [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
  const { factor, text } = view.unit(high);
  const scaled = ticks(domain[0] * factor, domain[1] * factor, 5);
  return {
    scale: linearScale(domain, pixels),
    domain,
    at: scaled.map((tick) => tick / factor),
    unit: text,
    text: (tick) => tickText(tick * factor, scaled),
  };
}

export function axisTitle({ name }: Pick<FigureView, 'name'>, unit: string): string {
  return unit === '' ? name : `${name} (${unit})`;
}

/** Where a chart lies, in pixels; the numbers of the horizontal axis stand under `below`. */
interface Frame {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly base: number;
  readonly below: number;
}

/** Lines and numbers of both axes. */
export function gridOf(xs: Axis, ys: Axis, { left, right, top, base, below }: Frame): Markup {
  return html`${ys.at.map(
      (tick) =>
        html`<line class="grid" x1="${left}" x2="${right}" y1="${px(ys.scale(tick))}" y2="${px(ys.scale(tick))}" />
          <text x="${left - 6}" y="${px(ys.scale(tick) + 4)}" text-anchor="end">${ys.text(tick)}</text>`,
    )}
    ${xs.at.map(
      (tick) =>
        html`<line class="grid" x1="${px(xs.scale(tick))}" x2="${px(xs.scale(tick))}" y1="${top}" y2="${base}" />
          <text x="${px(xs.scale(tick))}" y="${below + 16}" text-anchor="middle">${xs.text(tick)}</text>`,
    )}
    <line class="axis" x1="${left}" x2="${right}" y1="${base}" y2="${base}" />
    <line class="axis" x1="${left}" x2="${left}" y1="${top}" y2="${base}" />`;
}
