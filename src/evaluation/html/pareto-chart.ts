import type { Pareto, ParetoPoint, QuantizeDetails } from '../../schemas/quantize-report.ts';
import { formatNumber } from '../format.ts';
import { figureView, type FigureView } from '../search-figures.ts';
import { axisOf, axisTitle, gridOf, type Axis } from './figure-axis.ts';
import { html, preformatted, shorten, type Markup } from './markup.ts';
import { linearScale, px } from './scale.ts';
import { mark } from './search-scatter.ts';

const WIDTH = 440;
const LEFT = 62;
const RIGHT = WIDTH - 12;
const TOP = 30;
const BASE = 234;
/** The pass lists 64; a report from elsewhere may have more. */
const MAX_POINTS = 200;
/** Of listed points, for who hears the chart instead of seeing it. */
const SPOKEN = 12;

/** How a cost is named and written. */
type CostView = Pick<FigureView, 'name' | 'text' | 'unit'>;

/** The cost of a point in the unit it is shown in: bits of all weights as bits of one. */
interface ShownPoint {
  readonly point: ParetoPoint;
  readonly cost: number;
}

interface ParetoChart {
  readonly chart: Markup;
  /** Whether the budget is among what is drawn, and points beyond it. */
  readonly hasLimit: boolean;
  readonly hasOver: boolean;
}

/** Estimated loss over cost: choices of types than which none is both cheaper and better, the one that was taken, the budget. */
export function paretoChart(pareto: Pareto, budget: QuantizeDetails['budget']): ParetoChart {
  const view = costView(pareto);
  const factor = costFactor(pareto);
  const shown = (point: ParetoPoint): ShownPoint => ({ point, cost: point.cost * factor });
  const chosen = shown(pareto.chosen);
  const points = pareto.points.slice(0, MAX_POINTS).map(shown);
  const all = [...points, chosen];
  const limit = budget?.unit === pareto.unit ? budget.limit * factor : undefined;
  const xs = axisOf(
    all.map(({ cost }) => cost),
    view,
    [LEFT + 8, RIGHT - 8],
  );
  const losses = all.map(({ point }) => point.loss);
  const isLogarithmic = Math.min(...losses) > 0 && Math.max(...losses) > LOGARITHMIC_FROM * Math.min(...losses);
  const ys = isLogarithmic ? decades(losses) : axisOf(losses, LOSS, [BASE - 8, TOP + 8]);
  const isInside = limit !== undefined && limit > xs.domain[0] && limit < xs.domain[1];
  const isOver = ({ cost }: ShownPoint): boolean => limit !== undefined && cost > limit;
  const others = points.filter(({ point, cost }) => cost !== chosen.cost || point.loss !== chosen.point.loss);
  const spoken = (item: ShownPoint): string => spokenPoint(item, view);
  const chart = html`<svg
    viewBox="0 0 ${WIDTH} ${BASE + 58}"
    role="img"
    aria-label="Estimated loss over ${lower(view.name)} of ${points.length} choices of types"
  >
    <desc>${preformatted(description(points, chosen, view))}</desc>
    ${gridOf(xs, ys, { left: LEFT, right: RIGHT, top: TOP, base: BASE, below: BASE })}
    <text class="strong" x="0" y="14">Estimated loss${isLogarithmic ? ', logarithmic' : ''}</text>
    <text class="strong" x="${RIGHT}" y="${BASE + 38}" text-anchor="end">${axisTitle(view, xs.unit)}</text>
    <text x="${RIGHT}" y="${BASE + 53}" text-anchor="end">left and down is better</text>
    ${
      isInside
        ? html`<line class="limit" x1="${px(xs.scale(limit))}" x2="${px(xs.scale(limit))}" y1="${TOP}" y2="${BASE}" />
            <text class="halo" x="${px(xs.scale(limit) + 5)}" y="${TOP + 12}">budget</text>`
        : undefined
    }
    ${others.map((item) => html`<g><title>${spoken(item)}${isOver(item) ? ', beyond the budget' : ''}</title>${mark(isOver(item) ? 'over' : 'within', xs.scale(item.cost), ys.scale(item.point.loss))}</g>`)}
    <g>
      <title>${spoken(chosen)}, chosen</title>
      ${mark('best', xs.scale(chosen.cost), ys.scale(chosen.point.loss))}
    </g>
    ${chosenLabel(xs.scale(chosen.cost), ys.scale(chosen.point.loss))}
  </svg>`;
  return { chart, hasLimit: isInside, hasOver: others.some(isOver) };
}

/** Losses that differ by more are drawn by their order of magnitude. */
const LOGARITHMIC_FROM = 20;

const LOSS = { unit: () => ({ factor: 1, text: '' }) };

function costView({ unit }: Pareto): CostView {
  switch (unit) {
    case 'weightBits':
      return { name: 'Bits a weight', text: formatNumber, unit: () => ({ factor: 1, text: '' }) };
    case 'bytes':
      return figureView('bytes', undefined);
    case 'bops':
      return figureView('bops', undefined);
    case 'latencyNs':
      return { ...figureView('latencyEstimateMs', undefined), name: 'Estimated time of the layers' };
  }
}

function costFactor({ unit, chosen }: Pareto): number {
  if (unit === 'latencyNs') return 1e-6;
  if (unit !== 'weightBits' || chosen.averageBits === undefined || chosen.cost <= 0) return 1;
  return chosen.averageBits / chosen.cost;
}

/** An axis of equal steps for equal factors, marked at powers of ten, or at 1, 2 and 5 where those are few. */
function decades(values: readonly number[]): Axis {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const domain = [Math.log10(low) - 0.05, Math.log10(high) + 0.05] as const;
  const scale = linearScale(domain, [BASE - 8, TOP + 8]);
  const [first, last] = [Math.floor(domain[0]), Math.ceil(domain[1])];
  const stride = Math.max(1, Math.ceil((last - first) / 7));
  const heads = last - first > 2 ? [1] : [1, 2, 5];
  const at: number[] = [];
  for (let power = first; power <= last; power += stride) for (const head of heads) at.push(head * 10 ** power);
  return {
    scale: (value) => scale(Math.log10(value)),
    domain: [low, high],
    at: at.filter((tick) => Math.log10(tick) >= domain[0] && Math.log10(tick) <= domain[1]),
    unit: '',
    text: (tick) => String(Number(tick.toPrecision(1))),
  };
}

/** `12 int8/uint8, 3 int4/uint8` */
export function typesText(layers: ParetoPoint['layers']): string {
  return shorten(layers.map(([type, count]) => `${count} ${type}`).join(', '));
}

function spokenPoint({ point, cost }: ShownPoint, view: CostView): string {
  const layers = point.layers.length === 0 ? '' : ` (layers: ${typesText(point.layers)})`;
  return `${view.name} ${view.text(cost)}, loss ${formatNumber(point.loss)}${layers}`;
}

function description(points: readonly ShownPoint[], chosen: ShownPoint, view: CostView): string {
  const stride = Math.max(1, Math.ceil(points.length / SPOKEN));
  const some = points.filter((_, at) => at % stride === 0);
  const more = points.length - some.length;
  const listed = some.map(({ point, cost }) => `${view.text(cost)} with loss ${formatNumber(point.loss)}`);
  return `Chosen: ${spokenPoint(chosen, view)}. Choices: ${listed.join('; ')}${more === 0 ? '' : `; and ${more} between them`}.`;
}

function chosenLabel(x: number, y: number): Markup {
  const isRight = x > WIDTH / 2;
  return html`<text
    class="strong halo"
    x="${px(isRight ? x - 14 : x + 14)}"
    y="${px(y < TOP + 20 ? y + 16 : y - 8)}"
    text-anchor="${isRight ? 'end' : 'start'}"
    >chosen</text
  >`;
}

function lower(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
