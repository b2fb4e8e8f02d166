import type { SearchDetails, SearchTrial } from '../../schemas/search-report.ts';
import { html, Markup } from './markup.ts';
import { axisOf, axisTitle, gridOf, type Axis } from './figure-axis.ts';
import { px, type Scale } from './scale.ts';
import { spokenTrial, standingOf, type FigureView, type Standing } from '../search-figures.ts';

const WIDTH = 440;
const LEFT = 50;
const RIGHT = WIDTH - 12;
const TOP = 30;
const BASE = 234;
/** Below the axis: candidates of which only the figure across is known. */
const STRIP = BASE + 12;
const STRIP_HEIGHT = 16;
const MAX_STRIP = 200;
/** Beyond this many, points hide each other and the page grows heavy; those of the front are drawn all the same. */
const MAX_POINTS = 1500;

/** A candidate with both figures. */
interface Dot {
  readonly trial: SearchTrial;
  readonly standing: Standing;
  readonly x: number;
  readonly y: number;
}

export interface Scatter {
  readonly chart: Markup;
  readonly standings: ReadonlySet<Standing>;
  /** Candidates without both figures, which have no place in the picture. */
  readonly withoutPlace: number;
  /** Candidates that have a place and are left out because there are so many. */
  readonly leftOut: number;
}

/**
 * The first objective over the second: each candidate, the front as a line of steps (what lies behind it is dominated), the
 * limits of the search where they are near. Undefined where no candidate has both figures.
 */
export function scatterChart(
  details: SearchDetails,
  [up, across]: readonly [FigureView, FigureView],
): Scatter | undefined {
  const front = new Set(details.front);
  const all = details.trials.flatMap((trial): Dot[] => {
    const [x, y] = [trial[across.figure], trial[up.figure]];
    if (x === undefined || y === undefined) return [];
    return [{ trial, standing: standingOf(trial, { best: details.best, front }), x, y }];
  });
  if (all.length === 0) return undefined;
  const stride = Math.ceil(all.length / MAX_POINTS);
  const dots = all.filter(({ standing }, place) => place % stride === 0 || standing === 'best' || standing === 'front');
  const xs = axisOf(
    dots.map(({ x }) => x),
    across,
    [LEFT + 8, RIGHT - 8],
  );
  const ys = axisOf(
    dots.map(({ y }) => y),
    up,
    [BASE - 8, TOP + 8],
  );
  const unplaced = unplacedOf(details.trials, [up, across], xs.domain);
  const best = dots.find(({ standing }) => standing === 'best');
  const onFront = dots.filter(({ trial }) => front.has(trial.index));
  const below = BASE + (unplaced.length === 0 ? 0 : STRIP_HEIGHT);
  const chart = html`<svg
    viewBox="0 0 ${WIDTH} ${below + 58}"
    role="img"
    aria-label="${up.name} over ${across.name} of ${dots.length} candidates"
  >
    <desc>${description(onFront, best, [up, across])}</desc>
    ${gridOf(xs, ys, { left: LEFT, right: RIGHT, top: TOP, base: BASE, below })}
    <text class="strong" x="0" y="14">${axisTitle(up, ys.unit)}</text>
    <text class="strong" x="${RIGHT}" y="${below + 38}" text-anchor="end">${axisTitle(across, xs.unit)}</text>
    <text x="${RIGHT}" y="${below + 53}" text-anchor="end">
      ${across.largerIsBetter ? 'right' : 'left'} and ${up.largerIsBetter ? 'up' : 'down'} is better
    </text>
    ${unplaced.map(({ trial, standing, x }) => html`<g><title>${spokenTrial(trial, [across])}${STANDING_WORDS[standing]}</title>${mark(standing, xs.scale(x), STRIP)}</g>`)}
    ${limitLines(details, { up, across, x: xs, y: ys })}
    ${details.objectives.length === 2 ? frontLine(onFront, across, xs.scale, ys.scale) : undefined}
    ${drawingOrder(dots).map(({ trial, standing, x, y }) => html`<g><title>${spokenTrial(trial, [up, across])}${STANDING_WORDS[standing]}</title>${mark(standing, xs.scale(x), ys.scale(y))}</g>`)}
    ${best === undefined ? undefined : bestLabel(xs.scale(best.x), ys.scale(best.y))}
  </svg>`;
  return {
    chart,
    standings: new Set([...dots, ...unplaced].map(({ standing }) => standing)),
    withoutPlace: details.trials.length - all.length - unplaced.length,
    leftOut: all.length - dots.length,
  };
}

/** What failed or was ruled out ahead, but would have a place across. */
function unplacedOf(
  trials: readonly SearchTrial[],
  [up, across]: readonly [FigureView, FigureView],
  [low, high]: readonly [number, number],
): { readonly trial: SearchTrial; readonly standing: 'failed' | 'rejected'; readonly x: number }[] {
  return trials
    .flatMap((trial) => {
      const x = trial[across.figure];
      if ((trial.status !== 'failed' && trial.status !== 'rejected') || trial[up.figure] !== undefined) return [];
      return x === undefined || x < low || x > high ? [] : [{ trial, standing: trial.status, x }];
    })
    .slice(0, MAX_STRIP);
}

const STANDING_WORDS: Readonly<Record<Standing, string>> = {
  best: ', the best',
  front: ', on the front',
  within: '',
  over: ', beyond a limit',
  stopped: ', stopped early',
  failed: ', failed',
  rejected: ', not run',
};

/** Marks differ in shape, not by colour alone. */
export function mark(standing: Standing, x: number, y: number): Markup {
  switch (standing) {
    case 'best':
      return html`<circle class="ring" cx="${px(x)}" cy="${px(y)}" r="9" /><circle
          class="after"
          cx="${px(x)}"
          cy="${px(y)}"
          r="5"
        />`;
    case 'front':
      return html`<circle class="after" cx="${px(x)}" cy="${px(y)}" r="5" />`;
    case 'within':
      return html`<circle class="hollow" cx="${px(x)}" cy="${px(y)}" r="4" />`;
    case 'over':
      return html`<path
        class="over"
        d="${new Markup(`M${px(x)} ${px(y - 5)}L${px(x + 5)} ${px(y + 4)}H${px(x - 5)}Z`)}"
      />`;
    case 'stopped':
      return html`<path
        class="hollow"
        d="${new Markup(`M${px(x - 4)} ${px(y)}H${px(x + 4)}M${px(x)} ${px(y - 4)}V${px(y + 4)}`)}"
      />`;
    case 'failed':
    case 'rejected':
      return html`<path
        class="over"
        d="${new Markup(`M${px(x - 4)} ${px(y - 4)}L${px(x + 4)} ${px(y + 4)}M${px(x - 4)} ${px(y + 4)}L${px(x + 4)} ${px(y - 4)}`)}"
      />`;
  }
}

/** What matters most is drawn last, on top. */
function drawingOrder(dots: readonly Dot[]): Dot[] {
  const order: readonly Standing[] = ['rejected', 'failed', 'stopped', 'over', 'within', 'front', 'best'];
  return dots.toSorted((a, b) => order.indexOf(a.standing) - order.indexOf(b.standing));
}

/** From the best by `across` on: as far as the next point nothing is better than the one before. */
function frontLine(dots: readonly Dot[], across: FigureView, x: Scale, y: Scale): Markup | undefined {
  if (dots.length < 2) return undefined;
  const sorted = dots.toSorted((a, b) => (across.largerIsBetter ? b.x - a.x : a.x - b.x));
  let path = '';
  for (const dot of sorted) {
    path += path === '' ? `M${px(x(dot.x))} ${px(y(dot.y))}` : `H${px(x(dot.x))}V${px(y(dot.y))}`;
  }
  return html`<path class="after-line front" d="${new Markup(path)}" />`;
}

const LIMITS: Readonly<Record<string, FigureView['figure']>> = {
  minAccuracy: 'accuracy',
  maxBytes: 'bytes',
  maxParameters: 'parameters',
  maxMacs: 'macs',
  maxBops: 'bops',
  maxLatencyEstimateMs: 'latencyEstimateMs',
};

/** Which figure a limit of the search is about. */
export function limitedFigure(name: string): FigureView['figure'] | undefined {
  return Object.hasOwn(LIMITS, name) ? LIMITS[name] : undefined;
}

interface Axes {
  readonly up: FigureView;
  readonly across: FigureView;
  readonly x: Axis;
  readonly y: Axis;
}

function limitLines({ constraints }: SearchDetails, { up, across, x, y }: Axes): Markup[] {
  return constraints.flatMap(([name, limit]) => {
    const figure = limitedFigure(name);
    const inside = ({ domain }: Axis): boolean => limit > domain[0] && limit < domain[1];
    if (figure === across.figure && inside(x)) {
      const at = x.scale(limit);
      return html`<line class="limit" x1="${px(at)}" x2="${px(at)}" y1="${TOP}" y2="${BASE}" />
        <text class="halo" x="${px(at - 5)}" y="${BASE - 6}" text-anchor="end">limit</text>`;
    }
    if (figure === up.figure && inside(y)) {
      const at = y.scale(limit);
      return html`<line class="limit" x1="${LEFT}" x2="${RIGHT}" y1="${px(at)}" y2="${px(at)}" />
        <text class="halo" x="${RIGHT - 4}" y="${px(at - 5)}" text-anchor="end">limit</text>`;
    }
    return [];
  });
}

function bestLabel(x: number, y: number): Markup {
  const left = x > WIDTH / 2;
  return html`<text
    class="strong halo"
    x="${px(left ? x - 14 : x + 14)}"
    y="${px(y < TOP + 20 ? y + 16 : y - 8)}"
    text-anchor="${left ? 'end' : 'start'}"
    >best</text
  >`;
}

function description(front: readonly Dot[], best: Dot | undefined, views: readonly [FigureView, FigureView]): string {
  const told = best === undefined ? '' : `The best is ${spokenTrial(best.trial, views)}. `;
  if (front.length === 0) return `${told}No candidate is on the front.`;
  const listed = front.slice(0, 12).map(({ trial }) => spokenTrial(trial, views));
  return `${told}On the front: ${listed.join('; ')}${front.length > listed.length ? `; and ${front.length - listed.length} more` : ''}.`;
}
