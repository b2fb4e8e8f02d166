import type { Report, StepReport } from '../../schemas/report.ts';
import {
  SEARCH_FIGURES,
  autoDetailsOf,
  searchDetailsOf,
  type SearchDetails,
  type SearchFigure,
  type SearchTrial,
} from '../../schemas/search-report.ts';
import { formatCount, formatNumber } from '../format.ts';
import { autoPart } from './auto-section.ts';
import { shareBars } from './bar-chart.ts';
import { html, Markup, type Content } from './markup.ts';
import { figureView, metricOf, objectiveViews, valueText, type FigureView, type Standing } from '../search-figures.ts';
import { parallelChart } from './search-parallel.ts';
import { progressPanel } from './search-progress.ts';
import { randomPanel } from './search-random.ts';
import { limitedFigure, mark, scatterChart } from './search-scatter.ts';
import { choices, figureText, trialsTable } from './search-table.ts';

const MAX_BARS = 12;

/** What each step that searched tried, found and how it got there. */
export function searchSection(report: Report): Markup | undefined {
  const parts = report.steps.flatMap((step) => stepPart(step) ?? []);
  if (parts.length === 0) return undefined;
  return html`<h2 id="search">Search</h2>
    ${parts}`;
}

function stepPart(step: StepReport): Markup | undefined {
  const title = html`<h3 class="step-title">Step ${step.index + 1}, <code>${step.pass}</code></h3>`;
  const auto = autoDetailsOf(step);
  if (auto !== undefined) return html`${title}${autoPart(auto)}`;
  const details = searchDetailsOf(step);
  return details === undefined ? undefined : html`${title}${searchPart(details)}`;
}

function searchPart(details: SearchDetails): Markup {
  const views = objectiveViews(details);
  const best = details.trials.find(({ index }) => index === details.best);
  return html`<p>${words(details, best, views)}</p>
    ${details.cutShort ? html`<p class="warn">⚠ The search was ended early; this is what there was by then. The warnings of the step say what was not done.</p>` : undefined}
    ${factsPanel(details, best, views)}
    <div class="pair fill">${scatterPanel(details, views)} ${progressPanel(details, views)}</div>
    ${parallelPanel(details, views)}
    <div class="trio fill">
      ${importancePanel(details, views)} ${randomPanel(details, views)} ${correlationsPanel(details)}
    </div>
    ${trialsTable(details)}`;
}

function words(details: SearchDetails, best: SearchTrial | undefined, views: readonly FigureView[]): string {
  const count = (status: SearchTrial['status']): number =>
    details.trials.filter((trial) => trial.status === status).length;
  const [failed, rejected, stopped] = [count('failed'), count('rejected'), count('stopped')];
  const ran = details.trials.length - rejected;
  const troubles = [
    ...(failed === 0 ? [] : [`${failed} of them failed`]),
    ...(stopped === 0 ? [] : [`${stopped} stopped after a part of their training, as others were better`]),
    ...(rejected === 0 ? [] : [`${rejected} more were ruled out by what is known without running them`]),
  ];
  const run = `${ran} ${ran === 1 ? 'candidate was' : 'candidates were'} run${troubles.length === 0 ? '' : `, ${troubles.join(', ')}`}.`;
  if (best === undefined) return run;
  const figures = views.map((view) => `${lower(view)} ${figureText(best, view)}`).join(', ');
  const missed =
    best.violation === 0 || details.constraints.length === 0
      ? ''
      : ' No candidate is within all limits; this one misses them least.';
  const others = details.front.filter((index) => index !== best.index).length;
  const front =
    views.length < 2 || others === 0
      ? ''
      : ` ${others} more ${others === 1 ? 'is' : 'are'} on the front: better in one objective, worse in another.`;
  return `${run} The best, candidate ${best.index}: ${figures}.${missed}${front}`;
}

function lower({ name }: FigureView): string {
  return /^[A-Z][a-z]/.test(name) ? name.charAt(0).toLowerCase() + name.slice(1) : name;
}

function factsPanel(details: SearchDetails, best: SearchTrial | undefined, views: readonly FigureView[]): Markup {
  const { strategy, seed, space, constraints, winner, finalTraining, proxy } = details;
  const metric = metricOf(details);
  const dimensions = space.dimensions.length;
  const places =
    space.size === undefined
      ? ''
      : space.size === null
        ? 'continuous'
        : `${space.size < 1e6 ? space.size : formatCount(space.size)} points`;
  const rows: readonly (readonly [string, Content])[] = [
    ['Strategy', strategy],
    ['Seed', seed],
    [
      'Space',
      [places, dimensions === 0 ? '' : `${dimensions} ${dimensions === 1 ? 'dimension' : 'dimensions'}`]
        .filter((text) => text !== '')
        .join(', ') || undefined,
    ],
    [
      'Objectives',
      views.length === 0
        ? undefined
        : views.map((view) => `${lower(view)} (${view.largerIsBetter ? 'more' : 'less'} is better)`).join(', '),
    ],
    [
      'Limits',
      constraints.length === 0 ? 'none' : constraints.map(([name, limit]) => limitText(name, limit, metric)).join(', '),
    ],
    [
      'Picked for training',
      proxy === undefined
        ? undefined
        : html`by <code>${proxy.score}</code>, out of ${proxy.candidates} networks with fresh weights`,
    ],
    ['Choices of the best', best === undefined ? undefined : choices(best, details)],
    ['Best without the limits', withoutLimits(details, views)],
    [
      'Network',
      winner === undefined
        ? undefined
        : Object.entries(winner).map(
            ([name, value], place) => html`${place === 0 ? '' : ', '}<code>${name}</code> ${valueText(value)}`,
          ),
    ],
    ['After the final training', finalTraining === undefined ? undefined : finalText(finalTraining)],
  ];
  return html`<div class="panel scroll">
    <table class="stack">
      <tbody>
        ${rows
          .filter(([, content]) => content !== undefined)
          .map(
            ([name, content]) =>
              html`<tr>
                <th>${name}</th>
                <td>${content}</td>
              </tr>`,
          )}
      </tbody>
    </table>
  </div>`;
}

/** The best by the objectives alone, where the limits made another one the best. */
function withoutLimits({ trials, best, bestOverall }: SearchDetails, views: readonly FigureView[]): string | undefined {
  const trial = bestOverall === best ? undefined : trials.find(({ index }) => index === bestOverall);
  if (trial === undefined) return undefined;
  return `candidate ${trial.index}: ${views.map((view) => `${lower(view)} ${figureText(trial, view)}`).join(', ')}`;
}

function limitText(name: string, limit: number, metric: string | undefined): string {
  const figure = limitedFigure(name);
  if (figure === undefined) return `${name} ${formatNumber(limit)}`;
  const view = figureView(figure, metric);
  return `${lower(view)} at ${view.largerIsBetter ? 'least' : 'most'} ${view.text(limit)}`;
}

function finalText({ status, metric, accuracy }: NonNullable<SearchDetails['finalTraining']>): string {
  if (status !== 'succeeded') return 'it failed; the best is as its trial left it';
  if (accuracy === undefined) return 'done';
  const view = figureView('accuracy', metric);
  return `${lower(view)} ${view.text(accuracy)}`;
}

const LEGEND: readonly (readonly [Standing, string])[] = [
  ['best', 'best'],
  ['front', 'on the front'],
  ['within', 'other'],
  ['over', 'beyond a limit'],
  ['stopped', 'stopped early'],
  ['failed', 'failed, known by one figure only'],
  ['rejected', 'not run, known by one figure only'],
];

function scatterPanel(details: SearchDetails, [first, second]: readonly FigureView[]): Markup | undefined {
  if (first === undefined || second === undefined) return undefined;
  const scatter = scatterChart(details, [first, second]);
  if (scatter === undefined) return undefined;
  const { chart, standings, withoutPlace, leftOut } = scatter;
  const shown = LEGEND.filter(
    ([standing]) => standings.has(standing) && !(standing === 'failed' && standings.has('rejected')),
  );
  return html`<div class="panel">
    <h3>Candidates and the front between them</h3>
    <div class="legend">
      ${shown.map(([standing, text]) => html`<span><svg class="key" viewBox="0 0 20 20" aria-hidden="true">${mark(standing, 10, 10)}</svg>${standing === 'rejected' && standings.has('failed') ? 'failed or not run, known by one figure only' : text}</span>`)}
    </div>
    ${chart}
    <p class="soft">
      <small
        >${details.objectives.length > 2 ? 'The front is one of three objectives, of which two are drawn. ' : 'Whatever lies behind the line is beaten by a candidate on it. '}${withoutPlace === 0 ? '' : `${withoutPlace} ${withoutPlace === 1 ? 'candidate has' : 'candidates have'} no place here for want of figures. `}${leftOut === 0 ? '' : `${leftOut} are not drawn, being so many.`}</small
      >
    </p>
  </div>`;
}

function parallelPanel(details: SearchDetails, [first]: readonly FigureView[]): Markup | undefined {
  if (first === undefined) return undefined;
  const parallel = parallelChart(details, first);
  if (parallel === undefined) return undefined;
  const { chart, hiddenDimensions, hiddenTrials } = parallel;
  const hidden = [
    ...(hiddenDimensions === 0
      ? []
      : [`${hiddenDimensions} dimensions${details.importance.length === 0 ? '' : ' of less importance'}`]),
    ...(hiddenTrials === 0 ? [] : [`${hiddenTrials} candidates in between`]),
  ];
  return html`<div class="panel">
    <h3>Choices, and what came of them</h3>
    <p class="soft">
      <small
        >Each line is a candidate. It starts at its ${lower(first)}, the better the higher, and crosses the other axes
        at what was chosen there. Bold: the best
        quarter.${hidden.length === 0 ? '' : ` Not drawn: ${hidden.join(', ')}.`}</small
      >
    </p>
    <div class="scroll">${chart}</div>
  </div>`;
}

function importancePanel({ importance }: SearchDetails, [first]: readonly FigureView[]): Markup | undefined {
  // All 0: too few trials to tell, which bars would not say.
  if (!importance.some(({ share }) => share > 0)) return undefined;
  const shown = importance.slice(0, MAX_BARS);
  const bars = shown.map(({ name, share }) => ({ label: name, share, text: `${(100 * share).toFixed(1)} %` }));
  return html`<div class="panel">
    <h3>Importance of each choice</h3>
    ${shareBars(bars, `Importance of ${shown.length} choices`)}
    <p class="soft">
      <small
        >How much of the differences in ${first === undefined ? 'the first objective' : lower(first)} a choice explains
        alone, as far as these candidates
        show.${importance.length > shown.length ? ` ${importance.length - shown.length} of less importance are in the JSON report.` : ''}</small
      >
    </p>
  </div>`;
}

function isFigure(name: string): name is SearchFigure {
  return (SEARCH_FIGURES as readonly string[]).includes(name);
}

function correlationsPanel(details: SearchDetails): Markup | undefined {
  const { correlations } = details;
  if (correlations.length === 0) return undefined;
  const number = (value: number | null | undefined): string => (typeof value === 'number' ? value.toFixed(2) : '–');
  return html`<div class="panel scroll">
    <h3>What is known without training</h3>
    <table>
      <thead>
        <tr>
          <th>Figure</th>
          <th class="n">Kendall τ</th>
          <th class="n">Spearman ρ</th>
        </tr>
      </thead>
      <tbody>
        ${correlations.map(
          ([name, { kendallTau, spearman }]) =>
            html`<tr>
              <td class="keep">${isFigure(name) ? figureView(name, undefined).name : name}</td>
              <td class="n">${number(kendallTau)}</td>
              <td class="n">${number(spearman)}</td>
            </tr>`,
        )}
      </tbody>
    </table>
    <p class="soft">
      <small
        >How well the figure alone puts the candidates in the order of their accuracy: 1 the same order, 0 none, -1 the
        reverse.</small
      >
    </p>
  </div>`;
}
