import { isDeepStrictEqual } from 'node:util';
import {
  quantizeDetailsOf,
  type Pareto,
  type QuantizeDetails,
  type RepairTrial,
  type RepairTrials,
} from '../../schemas/quantize-report.ts';
import type { Report, StepReport } from '../../schemas/report.ts';
import { formatNumber, formatPoints, formatShare } from '../format.ts';
import { html, type Content, type Markup } from './markup.ts';
import { paretoChart, typesText } from './pareto-chart.ts';
import { mark } from './search-scatter.ts';

/** The passes make some thirty at most; a report from elsewhere may have more. */
const MAX_TRIALS = 100;

/** What quantizing steps weighed: types of layers by what they cost and lose, and what was tried to keep the accuracy. */
export function choicesSection(report: Report): Markup | undefined {
  const parts = report.steps.flatMap((step) => stepPart(step) ?? []);
  if (parts.length === 0) return undefined;
  return html`<h2 id="choices">Choices of the quantization</h2>
    ${parts}`;
}

function stepPart(step: StepReport): Markup | undefined {
  const details = quantizeDetailsOf(step);
  if (details === undefined) return undefined;
  const { pareto, accuracy } = details;
  return html`<h3 class="step-title">Step ${step.index + 1}, <code>${step.pass}</code></h3>
    ${pareto === undefined ? undefined : html`<div class="pair fill">${paretoPanel(pareto, details)}</div>`}
    ${accuracy === undefined ? undefined : trialsPanel(accuracy)}`;
}

/** What the loss of a choice is the sum of, over its layers. */
const LOSSES: Readonly<Record<string, string>> = {
  kl: 'how far the probabilities of the classes move (Kullback-Leibler divergence)',
  sqnr: 'the noise of the outputs as a share of the signal',
  metric: 'the samples that are no longer right, as a share',
  hawq: 'what the training loss is expected to rise by',
};

function paretoPanel(pareto: Pareto, { budget, sensitivity = '' }: QuantizeDetails): Markup {
  const { chart, hasLimit, hasOver } = paretoChart(pareto, budget);
  const loss = Object.hasOwn(LOSSES, sensitivity) ? LOSSES[sensitivity] : undefined;
  const { count, isComplete, points } = pareto;
  const key = (standing: Parameters<typeof mark>[0], text: string): Markup =>
    html`<span><svg class="key" viewBox="0 0 20 20" aria-hidden="true">${mark(standing, 10, 10)}</svg>${text}</span>`;
  return html`<div class="panel">
    <h3>Types of layers: what they cost, and what they lose</h3>
    <div class="legend">
      ${key('best', 'chosen')}${key('within', 'other choices')}${hasOver ? key('over', 'beyond the budget') : undefined}
    </div>
    ${chart}
    <p class="soft">
      <small
        >Each point is a type for every layer; no other choice is both cheaper and
        better.${hasLimit ? ' The dashed line is the budget.' : ''}${loss === undefined ? '' : ` The loss is the sum over the layers, each quantized alone, of ${loss}.`}${count !== undefined && count > points.length ? ` ${points.length} of ${count} points are drawn.` : ''}${isComplete === false ? ' Only the points on the lower hull are known.' : ''}</small
      >
    </p>
  </div>`;
}

function trialsPanel(accuracy: RepairTrials): Markup {
  const { metric, samples, float, maxDrop, met, trials } = accuracy;
  const shown = trials.slice(0, MAX_TRIALS);
  const isError = metric === 'rmse';
  const value = isError ? formatNumber : formatShare;
  const name = isError ? 'Error (RMSE)' : 'Accuracy';
  return html`<div class="panel scroll">
    <h3>Trials to keep the accuracy</h3>
    <p>
      In float: ${value(float)}${samples === undefined ? '' : `, on ${samples} samples`}. Allowed to be lost:
      ${dropText(maxDrop, isError)}.
      ${met ? undefined : html`<b class="warn">No trial stays within; the best of them was taken.</b>`}
    </p>
    <table class="wide">
      <thead>
        <tr>
          <th class="n">Trial</th>
          <th>What was tried</th>
          <th class="n">${name}</th>
          <th class="n">Lost</th>
          <th>Within the limit</th>
        </tr>
      </thead>
      <tbody>
        ${shown.map((trial, place) => {
          const { drop } = trial;
          return html`<tr>
            <td class="n">${place + 1}</td>
            <td class="text">
              ${whatWasTried(trial)}${isChosen(trial, accuracy) ? html` <b class="good">chosen</b>` : undefined}${typesLine(trial)}
            </td>
            <td class="n">${value(trial.value)}</td>
            <td class="n">${drop === undefined ? '–' : dropText(drop, isError)}</td>
            <td>${trial.met ? html`<span class="good">✓ yes</span>` : html`<span class="bad">✗ no</span>`}</td>
          </tr>`;
        })}
      </tbody>
    </table>
    ${trials.length > shown.length ? html`<p class="soft"><small>${trials.length - shown.length} more are in the JSON report.</small></p>` : undefined}
  </div>`;
}

/** A loss is a share of the samples, or a share by which the error grows. */
function dropText(drop: number, isError: boolean): string {
  return isError ? `${formatPoints(drop)} % of the error` : `${formatPoints(drop)} points`;
}

function whatWasTried({ added, givenBack }: RepairTrial): Content {
  if (added !== undefined) {
    const entries = Object.entries(added);
    if (entries.length === 0) return 'the options as given';
    return entries.map(
      ([option, value], place) => html`${place === 0 ? '' : ', '}<code>${option}</code> ${String(value)}`,
    );
  }
  if (givenBack === undefined) return '–';
  return givenBack === 0 ? 'the cheapest types' : `${givenBack} given back to wider types`;
}

function typesLine({ layers }: RepairTrial): Markup | undefined {
  return layers.length === 0 ? undefined : html`<br /><small>${typesText(layers)}</small>`;
}

function isChosen({ added, givenBack }: RepairTrial, { chosen }: RepairTrials): boolean {
  if (chosen === undefined) return false;
  return added === undefined ? chosen['givenBack'] === givenBack : isDeepStrictEqual(added, chosen);
}
