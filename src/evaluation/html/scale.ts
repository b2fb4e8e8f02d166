/** Maps a range of values to a range of pixels. */
export type Scale = (value: number) => number;

export function linearScale(domain: readonly [number, number], pixels: readonly [number, number]): Scale {
  const [from, to] = domain;
  const span = to - from || 1;
  return (value) => pixels[0] + ((value - from) / span) * (pixels[1] - pixels[0]);
}

/** Round numbers (1, 2 or 5 times a power of ten) inside the range, about `count` of them. */
export function ticks(from: number, to: number, count = 5): number[] {
  const span = to - from;
  if (!(span > 0) || !Number.isFinite(span)) return [from];
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= rough) ?? 10;
  const step = factor * power;
  const values: number[] = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9; i += 1) values.push(i * step);
  return values;
}

/** A tick's text without the tails of binary fractions: as many decimals as the step between ticks needs. */
export function tickText(value: number, all: readonly number[]): string {
  const step = Math.abs((all[1] ?? 1) - (all[0] ?? 0)) || 1;
  const decimals = Math.max(0, Math.min(10, -Math.floor(Math.log10(step) + 1e-9)));
  return value.toFixed(decimals);
}

/** Coordinates need no more than a tenth of a pixel. */
export function px(value: number): string {
  return Number.isFinite(value) ? String(Math.round(value * 10) / 10) : '0';
}
