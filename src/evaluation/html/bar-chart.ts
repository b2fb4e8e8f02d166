import { html, type Markup } from './markup.ts';
import { elide } from '../search-figures.ts';
import { px } from './scale.ts';

export interface Bar {
  readonly label: string;
  /** 0..1 of the whole width. */
  readonly share: number;
  readonly text: string;
}

const WIDTH = 340;
const ROW = 36;
const BARS = WIDTH - 58;

/** Bars of shares, each below its label, so that long names have room. */
export function shareBars(bars: readonly Bar[], label: string): Markup {
  const height = bars.length * ROW + 2;
  return html`<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${label}">
    <desc>${bars.map((bar) => `${bar.label} ${bar.text}`).join(', ')}</desc>
    ${bars.map((bar, place) => {
      const y = place * ROW;
      const length = Math.max(1.5, BARS * Math.min(1, Math.max(0, bar.share)));
      return html`<g
        ><title>${bar.label}: ${bar.text}</title>
        <text x="0" y="${y + 13}">${elide(bar.label, 44)}</text>
        <rect class="before-area" x="0" y="${y + 18}" width="${BARS}" height="11" rx="3" />
        <rect class="after" x="0" y="${y + 18}" width="${px(length)}" height="11" rx="3" />
        <text class="strong" x="${BARS + 8}" y="${y + 28}">${bar.text}</text></g
      >`;
    })}
  </svg>`;
}
