import type { FigureView } from '../search-figures.ts';
import { linearScale, tickText, ticks, type Scale } from './scale.ts';

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
