import { html, Markup } from './markup.ts';
import { linearScale, px, tickText, ticks, type Scale } from './scale.ts';

export interface Line {
  /** What it is drawn as: `after` is what the page is about, `before` what it is compared with (dashed). */
  readonly kind: 'before' | 'after';
  /** Value of each epoch or trial, from the first on; null where there is none. */
  readonly values: readonly (number | null)[];
  /** Index of the value that gets a dot. */
  readonly mark?: number | undefined;
}

export interface LineChart {
  readonly lines: readonly Line[];
  /** How much of a wide page it takes; `third` unless given. */
  readonly size?: keyof typeof SIZES;
  /** What the values are counted by; `epoch` unless given. */
  readonly xLabel?: string;
  /** What the picture says, for those who do not see it. */
  readonly label: string;
  /** The axis does not go beyond these, whatever room the lines would like. */
  readonly limits?: readonly [number, number];
  /** A horizontal line to compare with. */
  readonly reference?: { readonly value: number; readonly label: string } | undefined;
  /** Factor and unit of the axis' figures: 100 and ` %` for shares. */
  readonly unit?: { readonly factor: number; readonly text: string };
}

/** Units across: three charts or two side by side on a wide page, one on a phone, with text of about the same size. */
const SIZES = { third: { width: 340, height: 190 }, half: { width: 440, height: 250 } } as const;
const LEFT = 46;
const TOP = 12;
/** A line needs no more points than it has pixels. */
const MAX_POINTS = 400;

/** Lines over epochs or whatever follows one after the other, counted from 1 as people do. */
export function lineChart(chart: LineChart): Markup {
  const {
    lines,
    label,
    reference,
    limits = [-Infinity, Infinity],
    unit = { factor: 1, text: '' },
    xLabel = 'epoch',
    size = 'third',
  } = chart;
  const { width, height: full } = SIZES[size];
  const [right, base] = [width - 10, full - 34];
  const epochs = Math.max(...lines.map(({ values }) => values.length));
  const x = linearScale(epochs > 1 ? [1, epochs] : [0.5, 1.5], [LEFT + 6, right - 6]);
  const shown = [...lines.flatMap(({ values }) => values.filter(isNumber)), ...(reference ? [reference.value] : [])];
  const [low, high] = axisRange(shown, limits);
  const y = linearScale([low, high], [base, TOP]);
  const at = ticks(low * unit.factor, high * unit.factor, 6);
  return html`<svg viewBox="0 0 ${width} ${full}" role="img" aria-label="${label}">
    ${at.map((tick) => {
      const height = px(y(tick / unit.factor));
      return html`<line class="grid" x1="${LEFT}" x2="${right}" y1="${height}" y2="${height}" />
        <text x="${LEFT - 6}" y="${px(y(tick / unit.factor) + 4)}" text-anchor="end"
          >${axisText(tick, at)}${unit.text}</text
        >`;
    })}
    ${epochTicks(epochs).map(
      (epoch) => html`<text x="${px(x(epoch))}" y="${base + 16}" text-anchor="middle">${epoch}</text>`,
    )}
    <line class="axis" x1="${LEFT}" x2="${right}" y1="${base}" y2="${base}" />
    <text x="${right}" y="${full - 3}" text-anchor="end">${xLabel}</text>
    ${reference === undefined ? undefined : referenceLine(reference, y, right)}
    ${lines.map((line) => drawn(line, x, y))}
  </svg>`;
}

function isNumber(value: number | null): value is number {
  return value !== null;
}

function axisRange(values: readonly number[], [floor, ceiling]: readonly [number, number]): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (values.length === 0) return [0, 1];
  const pad = (high - low) * 0.08 || Math.abs(high) * 0.1 || 0.1;
  return [Math.max(floor, low - pad), Math.min(ceiling, high + pad)];
}

/** Losses and learning rates may be of any size: what is tiny is written with its power of ten. */
function axisText(value: number, all: readonly number[]): string {
  const largest = Math.max(...all.map(Math.abs));
  if (largest < 0.001 && value === 0) return '0';
  if (largest >= 0.001 && largest < 10_000) return tickText(value, all);
  const step = Math.abs((all[1] ?? value) - (all[0] ?? 0)) || largest;
  const digits = Math.floor(Math.log10(Math.abs(value)) + 1e-9) - Math.floor(Math.log10(step) + 1e-9);
  return value.toExponential(Math.min(4, Math.max(0, digits)));
}

function epochTicks(epochs: number): number[] {
  if (epochs === 1) return [1];
  const round = ticks(1, epochs, 5).filter((tick) => Number.isInteger(tick));
  return [1, ...round.filter((tick) => tick - 1 >= (epochs - 1) / 12)];
}

function referenceLine({ value, label }: { value: number; label: string }, y: Scale, right: number): Markup {
  const height = y(value);
  return html`<line class="zero dashed" x1="${LEFT}" x2="${right}" y1="${px(height)}" y2="${px(height)}" />
    <text x="${right - 2}" y="${px(height < TOP + 14 ? height + 14 : height - 5)}" text-anchor="end">${label}</text>`;
}

function drawn({ kind, values, mark }: Line, x: Scale, y: Scale): Markup {
  const stride = Math.ceil(values.length / MAX_POINTS);
  let path = '';
  let pen = 'M';
  let points = 0;
  for (const [index, value] of values.entries()) {
    if (index % stride !== 0 && index !== values.length - 1 && index !== mark) continue;
    if (value === null) {
      pen = 'M';
      continue;
    }
    path += `${pen}${px(x(index + 1))} ${px(y(value))}`;
    pen = 'L';
    points += 1;
  }
  const marked = mark === undefined ? null : (values[mark] ?? null);
  const [first = null] = values;
  return html`${points < 2 ? undefined : html`<path class="${kind}-line curve" d="${new Markup(path)}" />`}
  ${points === 1 && marked === null && first !== null ? dot(kind, x(1), y(first)) : undefined}
  ${marked === null || mark === undefined ? undefined : dot(kind, x(mark + 1), y(marked))}`;
}

function dot(kind: string, x: number, y: number): Markup {
  return html`<circle class="${kind}" cx="${px(x)}" cy="${px(y)}" r="4.5" />`;
}
