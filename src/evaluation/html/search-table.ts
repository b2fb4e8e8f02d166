import { SEARCH_FIGURES, type SearchDetails, type SearchTrial } from '../../schemas/search-report.ts';
import { formatMs, formatNumber, formatShare } from '../format.ts';
import { html, type Content, type Markup } from './markup.ts';
import {
  figureView,
  metricOf,
  standingOf,
  valueAt,
  valueText,
  type FigureView,
  type Standing,
} from '../search-figures.ts';

const MAX_ROWS = 200;
const MAX_CHOICES = 16;

/** Candidates in the order in which they were chosen; where there are too many, the best and the front are among them all the same. */
export function trialsTable(details: SearchDetails): Markup {
  const front = new Set(details.front);
  const kept = rowsOf(details, front);
  const metric = metricOf(details);
  const views = SEARCH_FIGURES.filter((figure) => kept.some((trial) => trial[figure] !== undefined)).map((figure) =>
    figureView(figure, metric),
  );
  const hasLimits = details.constraints.length > 0;
  const hasBudgets = kept.some(({ budget }) => budget !== undefined && budget > 0);
  const times = new Map(details.timing.map(({ index, latencyP50Ms }) => [index, latencyP50Ms]));
  const hasReasons = kept.some(({ reason }) => reason !== undefined);
  return html`<details>
    <summary>
      ${details.trials.length === 1 ? 'The candidate' : `All ${details.trials.length} candidates`} as a table
    </summary>
    <div class="panel scroll">
      <table class="wide">
        <thead>
          <tr>
            <th class="n">Candidate</th>
            <th>Outcome</th>
            ${views.map(({ name }) => html`<th class="n">${name}</th>`)}
            ${times.size > 0 ? html`<th class="n">Median run</th>` : undefined}
            ${hasLimits ? html`<th class="n">Limits missed by</th>` : undefined}
            ${hasBudgets ? html`<th class="n">Part of the training</th>` : undefined}
            <th>Choices</th>
            ${hasReasons ? html`<th>Why</th>` : undefined}
          </tr>
        </thead>
        <tbody>
          ${kept.map(
            (trial) =>
              html`<tr>
                <td class="n">${trial.index}</td>
                <td class="keep">${outcome(standingOf(trial, { best: details.best, front }))}</td>
                ${views.map((view) => html`<td class="n">${figureText(trial, view)}</td>`)}
                ${times.size > 0 ? html`<td class="n">${timeText(times.get(trial.index))}</td>` : undefined}
                ${hasLimits ? html`<td class="n">${missedText(trial)}</td>` : undefined}
                ${hasBudgets ? html`<td class="n">${trial.status === 'rejected' ? '–' : formatShare(trial.budget ?? 1)}</td>` : undefined}
                <td class="text">${choices(trial, details)}</td>
                ${hasReasons ? html`<td class="what">${trial.reason ?? ''}</td>` : undefined}
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${restLine(details.trials, kept)}
  </details>`;
}

function rowsOf({ trials, best }: SearchDetails, front: ReadonlySet<number>): SearchTrial[] {
  if (trials.length <= MAX_ROWS) return trials;
  const always = new Set(
    trials
      .filter(({ index }) => index === best || front.has(index))
      .sort((a, b) => Number(b.index === best) - Number(a.index === best))
      .slice(0, MAX_ROWS),
  );
  let room = MAX_ROWS - always.size;
  return trials.filter((trial) => {
    if (always.has(trial)) return true;
    room -= 1;
    return room >= 0;
  });
}

const OUTCOMES: Readonly<Record<Standing, Content>> = {
  best: html`<b class="good">best</b>`,
  front: html`<b>front</b>`,
  within: 'succeeded',
  over: html`<span class="warn">beyond limits</span>`,
  stopped: html`<span class="soft">stopped early</span>`,
  failed: html`<span class="bad">failed</span>`,
  rejected: html`<span class="soft">not run</span>`,
};

export function outcome(standing: Standing): Content {
  return OUTCOMES[standing];
}

/** The choices of a candidate, dimension by dimension. */
export function choices({ point }: SearchTrial, { space }: SearchDetails): Content {
  const known = space.dimensions.map(({ name }) => name);
  const names = known.length === 0 ? Object.keys(point) : known;
  const listed = names.slice(0, MAX_CHOICES);
  return html`${listed.map(
    (name, place) => html`${place === 0 ? '' : ', '}<code>${name}</code> ${valueText(valueAt(point, name))}`,
  )}${names.length > listed.length ? `, and ${names.length - listed.length} more` : ''}`;
}

export function figureText(trial: SearchTrial, { figure, text }: FigureView): string {
  const value = trial[figure];
  return value === undefined ? '–' : text(value);
}

function timeText(ms: number | undefined): string {
  return ms === undefined ? '–' : formatMs(ms);
}

function missedText({ status, violation }: SearchTrial): string {
  if (violation === undefined || status === 'failed') return '–';
  if (violation === null) return 'unknown';
  return violation === 0 ? 'met' : `${formatNumber(100 * violation)} %`;
}

function restLine(all: readonly SearchTrial[], shown: readonly SearchTrial[]): Markup | undefined {
  if (all.length === shown.length) return undefined;
  const listed = new Set(shown);
  const rest = all.filter((trial) => !listed.has(trial));
  const count = (status: SearchTrial['status']): number => rest.filter((trial) => trial.status === status).length;
  return html`<p class="soft">
    ${rest.length} more are in the JSON report: ${count('succeeded')} succeeded, ${count('failed')} failed,
    ${count('rejected')} not run${count('stopped') === 0 ? '' : `, ${count('stopped')} stopped early`}.
  </p>`;
}
