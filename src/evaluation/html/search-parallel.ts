import type { SearchDetails, SearchDimension, SearchTrial } from '../../schemas/search-report.ts';
import { html, Markup } from './markup.ts';
import { compareBy, elide, spokenTrial, valueAt, valueText, type FigureView } from '../search-figures.ts';
import { linearScale, px } from './scale.ts';

const MAX_DIMENSIONS = 12;
const MAX_LINES = 120;
const MAX_VALUES = 9;
const LEFT = 14;
/** Room for the values of the last axis; its name may take more. */
const LAST = 110;
const WIDTH = 1000;
const HEIGHT = 300;
const LABELS = 16;
/** Width of a letter of a bold label, rather too much than too little; and of a value. */
const BOLD = 7.8;
const PLAIN = 7;

export interface Parallel {
  readonly chart: Markup;
  /** Dimensions and candidates that are left out because there are so many. */
  readonly hiddenDimensions: number;
  readonly hiddenTrials: number;
}

interface Column {
  readonly name: string;
  /** Height of where a candidate crosses; undefined where it says nothing that fits. */
  readonly at: (trial: SearchTrial) => number | undefined;
  readonly marks: readonly { readonly y: number; readonly text: string }[];
}

/**
 * A line a candidate, from the first objective at the left, the better the higher, through its choices, the most important
 * dimensions first. The best quarter is drawn bold, so that one sees what the good ones have in common. Undefined with
 * fewer than three candidates or nothing to draw.
 */
export function parallelChart(details: SearchDetails, objective: FigureView): Parallel | undefined {
  const usable = details.trials
    .filter((trial) => trial.status === 'succeeded' && trial[objective.figure] !== undefined)
    .sort((a, b) => compareBy(objective, a, b) || a.index - b.index);
  const dimensions = mostImportant(details);
  if (usable.length < 3 || dimensions.length === 0) return undefined;
  const trials = thinned(usable);
  // As wide as the page, but neither stretched nor cramped: where there are many dimensions it scrolls.
  const spacing = Math.min(180, Math.max(92, (WIDTH - LEFT - LAST) / dimensions.length));
  const rows = Math.min(3, Math.ceil(dimensions.length / 3));
  const top = 14 + rows * LABELS;
  const base = top + HEIGHT;
  const last = Math.max(LAST, Math.min(240, (dimensions.at(-1)?.name.length ?? 0) * BOLD));
  const width = Math.round(LEFT + dimensions.length * spacing + last);
  const letters = Math.floor((spacing - 12) / PLAIN);
  const columns = [
    goalColumn(trials, objective, [base, top]),
    ...dimensions.map((dimension) => columnOf(dimension, [base, top], letters)),
  ];
  const x = (place: number): number => LEFT + place * spacing;
  const bold = Math.max(1, Math.floor(trials.length / 4));
  const chart = html`<svg
    class="natural"
    width="${width}"
    height="${base + 12}"
    viewBox="0 0 ${width} ${base + 12}"
    role="img"
    aria-label="Choices of ${trials.length} candidates, by ${objective.name}"
  >
    <desc>${describe(trials.slice(0, 3), dimensions, objective)}</desc>
    ${columns.map(({ name }, place) => {
      const room = Math.min(spacing * rows, width - x(place) + 12);
      return html`<text class="strong" x="${px(Math.max(0, x(place) - 12))}" y="${12 + (place % rows) * LABELS}"
        ><title>${name}</title>${elide(name, Math.floor(room / BOLD))}</text
      >`;
    })}
    ${columns.map((_, place) => html`<line class="axis" x1="${px(x(place))}" x2="${px(x(place))}" y1="${top}" y2="${base}" />`)}
    ${trials
      .map((trial, place) => {
        // Side by side where several chose the same.
        const offset = (8 * place) / Math.max(1, trials.length - 1) - 4;
        const path = pathOf(trial, columns, { x, offset });
        return html`<path class="${place < bold ? 'after-line bold' : 'before-line thin'}" d="${new Markup(path)}">
          <title>${spokenTrial(trial, [objective])}</title>
        </path>`;
      })
      .reverse()}
    ${columns.map(({ marks }, place) => marks.map((mark) => markOf(mark, x(place))))}
  </svg>`;
  return {
    chart,
    hiddenDimensions: details.space.dimensions.length - dimensions.length,
    hiddenTrials: usable.length - trials.length,
  };
}

/** At most so many, evenly from the best to the worst. */
function thinned(ranked: readonly SearchTrial[]): SearchTrial[] {
  if (ranked.length <= MAX_LINES) return [...ranked];
  const step = (ranked.length - 1) / (MAX_LINES - 1);
  return Array.from({ length: MAX_LINES }, (_, place) => ranked[Math.round(place * step)]).filter(
    (trial) => trial !== undefined,
  );
}

function mostImportant({ space, importance }: SearchDetails): readonly SearchDimension[] {
  const shares = new Map(importance.map(({ name, share }) => [name, share]));
  return space.dimensions
    .toSorted((a, b) => (shares.get(b.name) ?? 0) - (shares.get(a.name) ?? 0))
    .slice(0, MAX_DIMENSIONS);
}

function columnOf(dimension: SearchDimension, pixels: readonly [number, number], letters: number): Column {
  const { name } = dimension;
  if (dimension.type === 'choice') {
    const { values } = dimension;
    const isOrdered = values.every((value) => typeof value === 'number');
    const listed = isOrdered ? values.toSorted((a, b) => a - b) : values;
    const scale = linearScale(listed.length > 1 ? [0, listed.length - 1] : [-1, 1], pixels);
    const heights = new Map(listed.map((value, place) => [JSON.stringify(value), scale(place)]));
    const stride = Math.ceil((listed.length - 1) / (MAX_VALUES - 1)) || 1;
    const marks = listed.flatMap((value, place) =>
      place % stride === 0 ? [{ y: scale(place), text: valueText(value, letters) }] : [],
    );
    return { name, marks, at: ({ point }) => heights.get(JSON.stringify(valueAt(point, name))) };
  }
  const { min, max } = dimension;
  const log = dimension.type === 'real' && dimension.log === true && min > 0;
  const scale = linearScale(log ? [Math.log(min), Math.log(max)] : [min, max], pixels);
  const height = (value: number): number => scale(log ? Math.log(value) : value);
  return {
    name,
    marks: [min, max].map((value) => ({ y: height(value), text: valueText(value, letters) })),
    at: ({ point }) => {
      const value = valueAt(point, name);
      return typeof value === 'number' && value >= min && value <= max ? height(value) : undefined;
    },
  };
}

/** @param trials - best first */
function goalColumn(trials: readonly SearchTrial[], view: FigureView, pixels: readonly [number, number]): Column {
  const { figure, name, text } = view;
  const [best, worst] = [trials[0]?.[figure] ?? 0, trials.at(-1)?.[figure] ?? 0];
  const scale = linearScale(best === worst ? [worst - 1, worst + 1] : [worst, best], pixels);
  const marked = best === worst ? [best] : [worst, (worst + best) / 2, best];
  return {
    name,
    marks: marked.map((value) => ({ y: scale(value), text: text(value) })),
    at: (trial) => {
      const value = trial[figure];
      return value === undefined ? undefined : scale(value);
    },
  };
}

function pathOf(
  trial: SearchTrial,
  columns: readonly Column[],
  { x, offset }: { readonly x: (place: number) => number; readonly offset: number },
): string {
  let path = '';
  let pen = 'M';
  for (const [place, { at }] of columns.entries()) {
    const y = at(trial);
    if (y !== undefined) path += `${pen}${px(x(place))} ${px(place === 0 ? y : y + offset)}`;
    pen = y === undefined ? 'M' : 'L';
  }
  return path;
}

function markOf({ y, text }: Column['marks'][number], x: number): Markup {
  return html`<line class="axis" x1="${px(x - 3)}" x2="${px(x + 3)}" y1="${px(y)}" y2="${px(y)}" />
    <text class="halo" x="${px(x + 7)}" y="${px(y + 4)}">${text}</text>`;
}

function describe(best: readonly SearchTrial[], dimensions: readonly SearchDimension[], objective: FigureView): string {
  const told = best.map((trial) => {
    const choices = dimensions.map(({ name }) => `${name} ${valueText(valueAt(trial.point, name))}`);
    return `${spokenTrial(trial, [objective])} with ${choices.join(', ')}`;
  });
  return `The best: ${told.join('; ')}.`;
}
