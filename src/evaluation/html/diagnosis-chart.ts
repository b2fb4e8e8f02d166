import type { DiagnosedLayer } from '../../schemas/diagnosis.ts';
import { formatShare } from '../format.ts';
import { html, Markup, shorten } from './markup.ts';
import { linearScale, px, tickText, ticks } from './scale.ts';

const WIDTH = 1000;
const HEIGHT = 270;
const LEFT = 42;
const RIGHT = WIDTH - 6;
const BASE = HEIGHT - 24;
/** Above this an error is nothing to look at. */
const TOP_DB = 60;
const LOW_DB = -10;

/**
 * Along the depth of the network: a bar for the error that each layer makes of its own, a line for the error that has come together by
 * then. Both in decibels, so taller is better; layers that make no error have no bar.
 *
 * @param marked - outputs of the layers whose bars stand out
 */
export function depthChart(layers: readonly DiagnosedLayer[], marked: ReadonlySet<string>): Markup {
  const values = layers.flatMap(({ ownSqnrDb, accumulatedSqnrDb }) =>
    [ownSqnrDb, accumulatedSqnrDb].filter((value) => typeof value === 'number'),
  );
  const top = Math.min(TOP_DB, Math.max(40, ...values));
  const bottom = Math.max(LOW_DB, Math.min(0, ...values));
  const y = linearScale([bottom, top], [BASE, 10]);
  const height = (value: number): number => y(Math.min(top, Math.max(bottom, value)));
  const slot = (RIGHT - LEFT - 4) / Math.max(1, layers.length);
  const width = Math.max(0.6, Math.min(26, slot * 0.66));
  const at = ticks(bottom, top, 6);
  return html`<svg
    class="wide"
    viewBox="0 0 ${WIDTH} ${HEIGHT}"
    role="img"
    aria-label="Own and accumulated signal-to-noise ratio of ${layers.length} layers in decibels, in order of execution"
  >
    ${at.map(
      (value) =>
        html`<line class="grid" x1="${LEFT}" x2="${RIGHT}" y1="${px(y(value))}" y2="${px(y(value))}" />
          <text x="${LEFT - 6}" y="${px(y(value) + 4)}" text-anchor="end">${tickText(value, at)}</text>`,
    )}
    ${layers.map((layer, index) => {
      const { ownSqnrDb } = layer;
      if (typeof ownSqnrDb !== 'number') return undefined;
      const [from, to] = [height(Math.max(0, ownSqnrDb)), height(Math.min(0, ownSqnrDb))];
      return html`<rect
        class="${marked.has(layer.output) ? 'noisy' : 'before'}"
        x="${px(LEFT + 2 + index * slot + (slot - width) / 2)}"
        y="${px(from)}"
        width="${px(width)}"
        height="${px(Math.max(1, to - from))}"
        rx="1.5"
        ><title>${titleOf(layer)}</title></rect
      >`;
    })}
    <path
      class="after-line curve"
      d="${new Markup(pathOf(layers, (index) => LEFT + 2 + (index + 0.5) * slot, height))}"
    />
    <text x="${LEFT}" y="${HEIGHT - 4}">first layer</text>
    <text x="${RIGHT}" y="${HEIGHT - 4}" text-anchor="end">last layer</text>
  </svg>`;
}

function titleOf({ name, opType, ownSqnrDb, accumulatedSqnrDb, noiseShare }: DiagnosedLayer): string {
  const db = (value: number | null | undefined): string =>
    typeof value === 'number' ? `${value.toFixed(1)} dB` : 'none';
  const share = noiseShare === undefined ? '' : `, ${formatShare(noiseShare)} of the noise at the outputs`;
  return `${shorten(name, 80)} (${opType}): own ${db(ownSqnrDb)}, accumulated ${db(accumulatedSqnrDb)}${share}`;
}

function pathOf(layers: readonly DiagnosedLayer[], x: (index: number) => number, y: (value: number) => number): string {
  let path = '';
  for (const [index, { accumulatedSqnrDb }] of layers.entries()) {
    if (typeof accumulatedSqnrDb !== 'number') continue;
    path += `${path === '' ? 'M' : 'L'}${px(x(index))} ${px(y(accumulatedSqnrDb))}`;
  }
  return path;
}

/** A share as a small bar with its figure, for a table's cell. The largest of the table takes all of the width. */
export function shareBar(share: number, largest: number): Markup {
  return html`<svg class="share" viewBox="0 0 120 16" role="img" aria-label="${formatShare(share)}">
    <rect class="noisy" x="0" y="3" width="${px(Math.max(1.5, (60 * share) / (largest || 1)))}" height="10" rx="2" />
    <text x="${px(Math.max(1.5, (60 * share) / (largest || 1)) + 6)}" y="12.5">${(100 * share).toFixed(1)} %</text>
  </svg>`;
}

/** The outputs' signal-to-noise ratio with the worst layers left in float, one after the other. */
export function inFloatChart(rows: readonly { readonly label: string; readonly db: number | null }[]): Markup {
  const labelWidth = 420;
  const height = 8 + rows.length * 24;
  const finite = rows.flatMap(({ db }) => (db === null ? [] : [db]));
  const x = linearScale([Math.min(0, ...finite), Math.max(10, ...finite)], [labelWidth + 8, WIDTH - 60]);
  return html`<svg
    class="wide"
    viewBox="0 0 ${WIDTH} ${height}"
    role="img"
    aria-label="Signal-to-noise ratio of the outputs with layers in float"
  >
    ${rows.map(({ label, db }, index) => {
      const y = 6 + index * 24;
      const end = db === null ? WIDTH - 60 : x(db);
      return html`<text x="${labelWidth}" y="${y + 13}" text-anchor="end">${shorten(label, 56)}</text>
        <rect
          class="${index === 0 ? 'before' : 'after'}"
          x="${px(Math.min(x(0), end))}"
          y="${y}"
          width="${px(Math.max(1.5, Math.abs(end - x(0))))}"
          height="16"
          rx="3"
        />
        <text x="${px(Math.max(x(0), end) + 6)}" y="${y + 13}">${db === null ? 'exact' : db.toFixed(1)}</text>`;
    })}
  </svg>`;
}
