import type { SearchDetails, SearchFigure, SearchTrial } from '../schemas/search-report.ts';
import { formatBytes, formatCount, formatMs, formatNumber, formatShare } from './format.ts';

const NAMES: Readonly<Record<SearchFigure, string>> = {
  accuracy: 'Accuracy',
  bytes: 'File size',
  parameters: 'Parameters',
  macs: 'Multiply-accumulates',
  bops: 'Bit operations',
  latencyEstimateMs: 'Estimated time',
  reward: 'Reward',
};

/** How a figure is named, written and judged in one search. */
export interface FigureView {
  readonly figure: SearchFigure;
  readonly name: string;
  readonly largerIsBetter: boolean;
  readonly text: (value: number) => string;
  /** Factor and unit in which an axis that reaches to `largest` is written. */
  readonly unit: (largest: number) => { readonly factor: number; readonly text: string };
}

export function figureView(figure: SearchFigure, metric: string | undefined): FigureView {
  const plain = { figure, name: NAMES[figure], largerIsBetter: false };
  switch (figure) {
    case 'accuracy': {
      if (metric === 'rmse')
        return { ...plain, name: 'Error (RMSE)', text: formatNumber, unit: () => ({ factor: 1, text: '' }) };
      const name = metric === 'top5' ? 'Top-5 accuracy' : metric === 'top1' ? 'Top-1 accuracy' : plain.name;
      return {
        ...plain,
        name,
        largerIsBetter: true,
        text: formatShare,
        unit: () => ({ factor: 100, text: '%' }),
      };
    }
    case 'reward':
      return { ...plain, largerIsBetter: true, text: formatNumber, unit: () => ({ factor: 1, text: '' }) };
    case 'bytes':
      return { ...plain, text: formatBytes, unit: thousands(['B', 'kB', 'MB', 'GB', 'TB']) };
    case 'parameters':
    case 'macs':
    case 'bops':
      return { ...plain, text: formatCount, unit: thousands(['', 'k', 'M', 'G', 'T', 'P']) };
    case 'latencyEstimateMs':
      return {
        ...plain,
        text: formatMs,
        unit: (largest) => (largest < 1 ? { factor: 1000, text: 'µs' } : { factor: 1, text: 'ms' }),
      };
  }
}

function thousands(units: readonly string[]): FigureView['unit'] {
  return (largest) => {
    let power = 0;
    while (Math.abs(largest) >= 1000 ** (power + 1) && power < units.length - 1) power += 1;
    return { factor: 1000 ** -power, text: units[power] ?? '' };
  };
}

/** The metric of the evaluation data, as the first candidate that has one says. */
export function metricOf({ trials }: SearchDetails): string | undefined {
  return trials.find(({ metric }) => metric !== undefined)?.metric;
}

export function objectiveViews(details: SearchDetails): FigureView[] {
  const metric = metricOf(details);
  return [...new Set(details.objectives)].map((figure) => figureView(figure, metric));
}

/** -1 where `a` is better by the figure, 1 where `b` is; what has no value comes last. */
export function compareBy({ figure, largerIsBetter }: FigureView, a: SearchTrial, b: SearchTrial): number {
  const [x, y] = [a[figure], b[figure]];
  if (x === undefined || y === undefined) return Number(x === undefined) - Number(y === undefined);
  return Math.sign(largerIsBetter ? y - x : x - y);
}

/** Cuts the middle out of what is longer than `limit`: names differ at their end. */
export function elide(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const tail = Math.ceil((limit - 1) / 2);
  return `${text.slice(0, limit - 1 - tail)}…${text.slice(-tail)}`;
}

/** A value of a dimension as people read it: a step by its pass, everything else as JSON. */
export function valueText(value: unknown, limit = 60): string {
  if (value === undefined) return '–';
  if (value === null) return 'none';
  if (typeof value === 'number') return String(Number(value.toPrecision(4)));
  if (typeof value === 'string') return elide(value, limit);
  if (typeof value === 'object' && 'pass' in value && typeof value.pass === 'string') {
    const others = Object.keys(value).length - 1;
    return elide(others === 0 ? value.pass : `${value.pass} ${JSON.stringify({ ...value, pass: undefined })}`, limit);
  }
  return elide(JSON.stringify(value), limit);
}

/** A foreign name may be that of something every object has. */
export function valueAt(point: SearchTrial['point'], name: string): unknown {
  return Object.hasOwn(point, name) ? point[name] : undefined;
}

/** `candidate 5: 92.80 %, 6.30 M multiply-accumulates`, for the pointer. */
export function spokenTrial(trial: SearchTrial, views: readonly FigureView[]): string {
  const parts = views.flatMap(({ figure, name, text }) => {
    const value = trial[figure];
    return value === undefined ? [] : [`${name} ${text(value)}`];
  });
  return `Candidate ${trial.index}: ${parts.length === 0 ? trial.status : parts.join(', ')}`;
}

/** How a candidate stands: what marks and words of the page say. */
export type Standing = 'best' | 'front' | 'within' | 'over' | 'stopped' | 'failed' | 'rejected';

export function standingOf(
  trial: SearchTrial,
  { best, front }: { best?: number | undefined; front: ReadonlySet<number> },
): Standing {
  if (trial.status !== 'succeeded') return trial.status;
  if (trial.index === best) return 'best';
  if (trial.violation !== 0 && trial.violation !== undefined) return 'over';
  return front.has(trial.index) ? 'front' : 'within';
}
