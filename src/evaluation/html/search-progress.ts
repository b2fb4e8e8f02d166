import type { SearchDetails, SearchTrial } from '../../schemas/search-report.ts';
import { formatNumber } from '../format.ts';
import { lineChart, type Line } from './line-chart.ts';
import { html, type Markup } from './markup.ts';
import { compareBy, type FigureView } from '../search-figures.ts';

/** How the search got on, trial after trial: the hypervolume, or the best so far where there is one objective. */
export function progressPanel(details: SearchDetails, views: readonly FigureView[]): Markup | undefined {
  const [first] = views;
  if (first === undefined) return undefined;
  return views.length > 1 ? hypervolumePanel(details, views.length) : bestSoFarPanel(details, first);
}

function linesOf(details: SearchDetails, own: readonly (number | null)[]): Line[] {
  const curves = details.random?.curves;
  return curves === undefined
    ? [{ kind: 'after', values: own }]
    : [
        { kind: 'before', values: curves.random },
        { kind: 'after', values: curves.search },
      ];
}

const LEGEND = html`<div class="legend">
  <span><i class="after"></i>search</span><span><i class="before"></i>at random (dashed)</span>
</div>`;

function hypervolumePanel(details: SearchDetails, objectives: number): Markup | undefined {
  const lines = linesOf(details, details.hypervolume ?? []);
  const [, last] = endsOf(lines);
  if (last === undefined) return undefined;
  return html`<div class="panel">
    <h3>Hypervolume over trials</h3>
    ${lines.length > 1 ? LEGEND : undefined}
    ${lineChart({
      lines,
      xLabel: 'trial',
      size: 'half',
      label: `Hypervolume over trials, ${spoken(lines, formatNumber)}`,
      limits: [0, Infinity],
    })}
    <p class="soft">
      <small
        >How much room the candidates within the limits leave behind them, of ${formatNumber(1.1 ** objectives)} at
        most; each objective is scaled to 0..1 by the values seen. A curve that has become flat: more trials of the same
        kind would bring little.</small
      >
    </p>
  </div>`;
}

function bestSoFarPanel(details: SearchDetails, view: FigureView): Markup | undefined {
  const lines = linesOf(details, bestSoFar(details.trials, view));
  const values = lines.flatMap((line) => line.values.filter((value) => value !== null));
  if (values.length === 0) return undefined;
  const { factor, text } = view.unit(values.reduce((largest, value) => Math.max(largest, value), -Infinity));
  return html`<div class="panel">
    <h3>${view.name} of the best so far${text === '' ? '' : ` (${text})`}</h3>
    ${lines.length > 1 ? LEGEND : undefined}
    ${lineChart({
      lines,
      xLabel: 'trial',
      size: 'half',
      label: `${view.name} of the best candidate so far over trials, ${spoken(lines, view.text)}`,
      limits: view.figure === 'accuracy' && view.largerIsBetter ? [0, 1] : [0, Infinity],
      unit: { factor, text: '' },
    })}
    <p class="soft">
      <small>Of the candidates within the limits; ${view.largerIsBetter ? 'more' : 'less'} is better.</small>
    </p>
  </div>`;
}

function bestSoFar(trials: readonly SearchTrial[], view: FigureView): (number | null)[] {
  let best: SearchTrial | undefined;
  return trials
    .filter(({ status }) => status === 'succeeded')
    .map((trial) => {
      if (trial.violation === 0 && (best === undefined || compareBy(view, trial, best) < 0)) best = trial;
      return best?.[view.figure] ?? null;
    });
}

function endsOf(lines: readonly Line[]): readonly [number | undefined, number | undefined] {
  const values = lines.at(-1)?.values.filter((value) => value !== null) ?? [];
  return [values[0], values.at(-1)];
}

function spoken(lines: readonly Line[], text: (value: number) => string): string {
  const parts = lines.map((line) => {
    const [first, last] = endsOf([line]);
    const range = first === undefined || last === undefined ? 'none' : `from ${text(first)} to ${text(last)}`;
    return lines.length === 1 ? range : `${line.kind === 'after' ? 'search' : 'at random'} ${range}`;
  });
  return parts.join('; ');
}
