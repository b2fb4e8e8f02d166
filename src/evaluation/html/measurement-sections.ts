import type { Report } from '../../schemas/report.ts';
import { formatNumber, formatShare } from '../format.ts';
import {
  FAIR_DB,
  NOISY_DB,
  accuracyChart,
  drawnRuns,
  classChart,
  latencyChart,
  layerChart,
  type ClassRow,
} from './charts.ts';
import { html, type Content, type Markup } from './markup.ts';
import { reasonOf } from './summary-sections.ts';

const LEGEND = html`<div class="legend">
  <span><i class="before"></i>before</span><span><i class="after"></i>after</span>
</div>`;
const MAX_CLASS_ROWS = 30;

export function accuracySection(report: Report): Markup {
  const [before, after] = [report.baseline.accuracy, report.result.accuracy];
  const { accuracy } = report.comparison;
  if (before === undefined || after === undefined) {
    return html`<h2 id="accuracy">Accuracy</h2>
      <p>
        Accuracy was not measured: ${reasonOf(report, before === undefined ? 'baseline.accuracy' : 'result.accuracy')}.
      </p>
      ${outputsPanel(report)}`;
  }
  const limit = report.constraints.find(({ name }) => name === 'maxAccuracyDrop')?.limit;
  const rows = classRows(report);
  return html`<h2 id="accuracy">Accuracy</h2>
    <p>${accuracyWords(report)}</p>
    <div class="pair">
      <div class="panel">
        <h3>With 95 % intervals, ${before.samples} samples</h3>
        ${LEGEND}${accuracyChart(before, after, accuracy, before.metric === 'rmse' ? undefined : limit)}
      </div>
      ${
        rows.length === 0
          ? undefined
          : html`<div class="panel">
              <h3>
                Recognized share of each
                class${rows.length < (before.perClass?.length ?? 0) ? ` (the ${rows.length} that changed most)` : ''}
              </h3>
              ${LEGEND}${classChart(rows)}
            </div>`
      }
    </div>
    ${outputsPanel(report)}`;
}

function accuracyWords({ comparison: { accuracy }, result }: Report): Content {
  if (accuracy === undefined) return 'The two models could not be compared sample by sample.';
  const { pairedTest: test, significant } = accuracy;
  const nonFinite = result.accuracy?.nonFiniteSamples ?? 0;
  const broken = nonFinite === 0 ? '' : ` ${nonFinite} samples gave NaN or infinity and count as wrong.`;
  const chance = significant
    ? `Chance alone would make a difference like this in ${formatNumber(100 * test.pValue)} % of cases, so it is taken as real.`
    : `Chance alone would make a difference like this, or a larger one, in ${formatNumber(100 * test.pValue)} % of cases: no loss is shown, and none beyond the interval is likely.`;
  if (test.onlyBaselineCorrect === undefined || test.onlyResultCorrect === undefined) return `${chance}${broken}`;
  return `Both models saw the same ${accuracy.samples} samples. ${test.onlyBaselineCorrect} were right before and wrong after, ${test.onlyResultCorrect} the other way round. ${chance}${broken}`;
}

function classRows(report: Report): ClassRow[] {
  const before = report.baseline.accuracy?.perClass ?? [];
  const after = new Map((report.result.accuracy?.perClass ?? []).map((entry) => [entry.class, entry]));
  const rows: ClassRow[] = [];
  for (const entry of before) {
    const other = after.get(entry.class)?.recall;
    if (entry.recall === null || other === undefined || other === null) continue;
    rows.push({ label: entry.name ?? `class ${entry.class}`, before: entry.recall, after: other });
  }
  if (rows.length <= MAX_CLASS_ROWS) return rows;
  return rows.sort((a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before)).slice(0, MAX_CLASS_ROWS);
}

function outputsPanel({ comparison: { outputs } }: Report): Markup | undefined {
  if (outputs === undefined || outputs.length === 0) return undefined;
  return html`<div class="panel scroll">
    <h3>How close the outputs stayed</h3>
    <table>
      <thead>
        <tr>
          <th>Output</th>
          <th class="n">Cosine</th>
          <th class="n">SQNR</th>
          <th class="n">Largest difference</th>
          <th class="n">Equal values</th>
          <th></th>
        </tr>
      </thead>
      <tbody>
        ${outputs.map(
          (output) =>
            html`<tr>
              <th><code>${output.name}</code> <small>${output.type}, ${output.samples} samples</small></th>
              <td class="n">${output.cosine === null ? '–' : output.cosine.toFixed(5)}</td>
              <td class="n">${output.sqnrDb === null ? '–' : `${output.sqnrDb.toFixed(1)} dB`}</td>
              <td class="n">${output.maxAbsDifference === null ? '–' : formatNumber(output.maxAbsDifference)}</td>
              <td class="n">${formatShare(output.equalShare)}</td>
              <td class="what">${output.note ?? ''}</td>
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

export function speedSection(report: Report): Markup {
  const [before, after] = [report.baseline.latency, report.result.latency];
  const { latency } = report.comparison;
  if (before === undefined || after === undefined || latency === undefined) {
    return html`<h2 id="speed">Speed</h2>
      <p>Speed was not measured: ${reasonOf(report, 'latency')}.</p>`;
  }
  const [low, high] = latency.confidenceInterval;
  const claim = {
    faster: 'The result is faster',
    slower: 'The result is slower',
    inconclusive: 'No difference is claimed',
  }[latency.verdict];
  return html`<h2 id="speed">Speed</h2>
    <p>
      ${claim}: ${latency.reason}. Measured speed-up ${formatNumber(latency.speedup)} (95 % interval
      ${formatNumber(low)} to ${formatNumber(high)}).
    </p>
    <div class="panel">
      <h3>Time of single runs</h3>
      ${LEGEND}
      <div class="scroll">${latencyChart(before, after)}</div>
      <p class="soft">
        <small
          >${before.runs} and ${after.runs} runs in ${latency.blocks} alternating blocks each, so that a restless
          machine disturbs both alike; batch ${before.batch}, ${before.threads}
          ${before.threads === 1 ? 'thread' : 'threads'}. ${drawnRuns(before).hidden} and ${drawnRuns(after).hidden}
          slower runs are not drawn.</small
        >
      </p>
    </div>`;
}

export function layersSection(report: Report): Markup {
  const measured = report.layers.flatMap((layer) =>
    typeof layer.sqnrDb === 'number' ? [{ ...layer, sqnrDb: layer.sqnrDb }] : [],
  );
  const identical = report.layers.filter(({ sqnrDb, note }) => sqnrDb === null && note === 'identical').length;
  const worst = measured.toSorted((a, b) => a.sqnrDb - b.sqnrDb).slice(0, 3);
  return html`<h2 id="layers">Layer by layer</h2>
    ${
      measured.length === 0
        ? html`<p class="soft">
            ${report.layers.length === 0 ? 'No layer could be compared.' : identical > 0 ? `${identical} layers give the same values as before.` : 'No layer could be compared by its values.'}
          </p>`
        : html`<p>
              How clean the output of each layer stayed, errors of the layers before it included. Taller is better:
              above ${FAIR_DB} dB the error is less than a tenth of the signal, below ${NOISY_DB} dB the layer is worth
              a look.${identical === 0 ? '' : ` ${identical} layers give the same values as before and are not drawn.`}
            </p>
            <div class="panel">
              <h3>Signal-to-noise ratio (dB)</h3>
              <div class="legend">
                <span><i class="after"></i>${FAIR_DB} dB and more</span
                ><span><i class="fair"></i>${NOISY_DB} to ${FAIR_DB} dB</span
                ><span><i class="noisy"></i>below ${NOISY_DB} dB</span>
              </div>
              <div class="scroll">${layerChart(measured)}</div>
              <p class="soft">
                <small
                  >Lowest:
                  ${worst.map(({ name, sqnrDb }, index) => html`${index === 0 ? '' : ', '}<code>${name}</code> ${sqnrDb.toFixed(1)} dB`)}.</small
                >
              </p>
            </div>`
    }
    ${report.layers.length === 0 ? undefined : layerTable(report)}`;
}

function layerTable({ layers }: Report): Markup {
  return html`<details>
    <summary>All ${layers.length} layers as a table</summary>
    <div class="panel scroll">
      <table class="wide">
        <thead>
          <tr>
            <th>Layer</th>
            <th>Output</th>
            <th>Weights</th>
            <th class="n">Zeros</th>
            <th class="n">Weight SQNR</th>
            <th>Activations</th>
            <th class="n">Range before</th>
            <th class="n">Clipped</th>
            <th class="n">SQNR</th>
            <th class="n">Cosine</th>
          </tr>
        </thead>
        <tbody>
          ${layers.map(({ name, opType, shape, weights, activations, sqnrDb, cosine, note }) => {
            const range = activations?.range;
            return html`<tr>
              <td>
                <b>${opType}</b><br /><code>${name}</code
                >${note === undefined ? undefined : html`<br /><small>${note}</small>`}
              </td>
              <td>${shape === undefined ? '' : shape.join('×')}</td>
              <td>
                ${weights === undefined ? '' : html`${weights.type}<br /><small>${weights.shape.join('×')}${weights.removedChannels === undefined ? '' : `, ${weights.removedChannels} channels removed`}</small>`}
              </td>
              <td class="n">${weights === undefined ? '' : formatShare(weights.sparsity)}</td>
              <td class="n">${decibels(weights?.sqnrDb)}</td>
              <td>${activations?.type ?? ''}</td>
              <td class="n">${range === undefined ? '' : `${formatNumber(range.min)} … ${formatNumber(range.max)}`}</td>
              <td class="n">
                ${activations?.saturatedShare === undefined ? '' : formatShare(activations.saturatedShare)}
              </td>
              <td class="n">${decibels(sqnrDb)}</td>
              <td class="n">${typeof cosine === 'number' ? cosine.toFixed(5) : ''}</td>
            </tr>`;
          })}
        </tbody>
      </table>
    </div>
  </details>`;
}

function decibels(value: number | null | undefined): string {
  return value === undefined ? '' : value === null ? '–' : `${value.toFixed(1)} dB`;
}
