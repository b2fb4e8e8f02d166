import type { AutoCandidateReport, AutoDetails } from '../../schemas/search-report.ts';
import { formatBytes, formatMs, formatNumber, formatPoints, formatShare } from '../format.ts';
import { html, preformatted, type Content, type Markup } from './markup.ts';

const MAX_NAMES = 30;
const MAX_RECIPE_CHARACTERS = 4000;

/** The candidates of `search.auto` in the order in which they were tried, and why one of them was taken. */
export function autoPart(auto: AutoDetails): Markup {
  const { chosen, because, cutShort, candidates, notTried, recipe } = auto;
  const names = notTried.slice(0, MAX_NAMES);
  return html`<p>Chosen: <b>${chosen}</b>${because === undefined ? '' : `. ${because}`}.</p>
    ${cutShort ? html`<p class="warn">⚠ The search was ended before all candidates were tried.</p>` : undefined}
    ${recipe === undefined ? undefined : recipePart(recipe)}
    <div class="panel scroll">
      <table class="wide">
        <thead>
          <tr>
            <th class="n">Tried</th>
            <th>Candidate</th>
            <th>Constraints</th>
            <th class="n">Accuracy</th>
            <th class="n">Size</th>
            <th class="n">Median run</th>
            <th class="n">Speed-up</th>
          </tr>
        </thead>
        <tbody>
          ${candidates.map((candidate, place) => candidateRow(candidate, place + 1, candidate.name === chosen))}
        </tbody>
      </table>
      <p class="soft"><small>Small figures: the input model, measured beside the candidate.</small></p>
    </div>
    ${notTried.length === 0 ? undefined : html`<p class="soft">Not tried${cutShort ? '' : ', as one before them was good enough'}: ${names.map((name, place) => html`${place === 0 ? '' : ', '}<code>${name}</code>`)}${notTried.length > names.length ? `, and ${notTried.length - names.length} more` : ''}.</p>`}`;
}

function recipePart(recipe: NonNullable<AutoDetails['recipe']>): Markup | undefined {
  const text = JSON.stringify(recipe);
  if (text.length > MAX_RECIPE_CHARACTERS) return undefined;
  return html`<div class="panel">
    <p>Its recipe, to run it without a search:</p>
    <pre>${preformatted(text)}</pre>
  </div>`;
}

function candidateRow(candidate: AutoCandidateReport, place: number, isChosen: boolean): Markup {
  const { name, why, error, bytes, bytesBefore, latencyP50Ms, latencyBeforeP50Ms, speedup } = candidate;
  return html`<tr>
    <td class="n">${place}</td>
    <td class="text">
      <b>${name}</b
      >${isChosen ? html` <b class="good">chosen</b>` : undefined}${why === undefined ? undefined : html`<br /><small>${why}</small>`}
      ${error === undefined ? undefined : html`<br /><small class="bad">${error.code}: ${error.message}</small>`}
    </td>
    <td>${verdict(candidate)}</td>
    <td class="n">${accuracy(candidate)}</td>
    <td class="n">${pair(bytes, bytesBefore, formatBytes)}</td>
    <td class="n">${pair(latencyP50Ms, latencyBeforeP50Ms, formatMs)}</td>
    <td class="n">${speedup === undefined ? '–' : `${formatNumber(speedup)}×`}</td>
  </tr>`;
}

function verdict({ status, missedBy, verdict: judged }: AutoCandidateReport): Content {
  if (status === 'failed') return html`<span class="bad">✗ failed</span>`;
  if (missedBy === 0) return judged === 'none' ? 'none set' : html`<span class="good">✓ met</span>`;
  if (typeof missedBy !== 'number') return html`<span class="warn">? unknown</span>`;
  // What only the noise of the measurement leaves open counts next to nothing.
  if (missedBy < 1e-6) return html`<span class="warn">? not shown to be met</span>`;
  return html`<span class="bad">✗ missed</span><br /><small>by ${formatNumber(100 * missedBy)} % in all</small>`;
}

function accuracy({ metric, accuracy: after, accuracyBefore: before }: AutoCandidateReport): Content {
  if (metric === 'rmse') return pair(after, before, formatNumber);
  const change = after === undefined || before === undefined ? undefined : `${formatPoints(after - before)} points`;
  return html`${pair(after, before, formatShare)}${change === undefined ? undefined : html`<br /><small>${change}</small>`}`;
}

function pair(after: number | undefined, before: number | undefined, text: (value: number) => string): Content {
  if (after === undefined) return '–';
  return html`${text(after)}${before === undefined ? undefined : html`<br /><small>${text(before)}</small>`}`;
}
