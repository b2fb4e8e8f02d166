import type { Report } from '../../schemas/report.ts';
import type { DiagnosedLayer, Diagnosis, Finding, ValueDiagnosis } from '../../schemas/diagnosis.ts';
import { formatNumber, formatShare } from '../format.ts';
import { diagnosedStep } from '../recommend-diagnosis.ts';
import { depthChart, inFloatChart, shareBar } from './diagnosis-chart.ts';
import { html, type Markup } from './markup.ts';

const DATA: Readonly<Record<Diagnosis['data'], string>> = {
  evaluation: 'samples of the evaluation data',
  calibration: 'samples of the calibration data',
  generated: 'made-up samples',
};

/** Which layers lose the accuracy, why, and what to set; nothing where no step was diagnosed. */
export function diagnosisSection(report: Report): Markup | undefined {
  const diagnosed = diagnosedStep(report.steps);
  if (diagnosed === undefined) return undefined;
  const { step, diagnosis } = diagnosed;
  const drawn = diagnosis.layers.filter(
    ({ ownSqnrDb, accumulatedSqnrDb }) => typeof ownSqnrDb === 'number' || typeof accumulatedSqnrDb === 'number',
  );
  if (drawn.length === 0) {
    const reason = diagnosis.notMeasured[0]?.reason ?? 'every layer gives the same values as in float';
    return html`<h2 id="diagnosis">Which layers lose the accuracy</h2>
      <p class="soft">Nothing to show of <code>${step.pass}</code>: ${reason}.</p>`;
  }
  const outputs = new Set(
    diagnosis.layers
      .filter(({ name }) => diagnosis.findings.some(({ layer }) => layer === name))
      .map(({ output }) => output),
  );
  return html`<h2 id="diagnosis">Which layers lose the accuracy</h2>
    <p>
      ${words(diagnosis)}
      ${keepsAccuracy(report) ? 'The accuracy was kept, so nothing has to be set; what follows is what would change most.' : ''}
    </p>
    <div class="panel">
      <h3>Error along the depth of the network (dB, taller is better)</h3>
      <div class="legend">
        <span><i class="before"></i>the layer's own error: only it is quantized</span
        ><span><i class="noisy"></i>the same, of a layer listed below</span
        ><span><i class="after"></i>line: the error that has come together by then</span>
      </div>
      <div class="scroll">${depthChart(drawn, outputs)}</div>
      <p class="soft">
        <small
          >Measured on ${diagnosis.samples}
          ${DATA[diagnosis.data]}.${
            diagnosis.rewritten ? ' Held against the model as the step rewrote it in float before it quantized it.' : ''
          }</small
        >
      </p>
    </div>
    ${findingsPanel(diagnosis)} ${inFloatPanel(diagnosis)}
    ${diagnosis.notMeasured.map(({ name, reason }) => html`<p class="soft"><code>${name}</code> was not measured: ${reason}</p>`)}
    ${layerTable(diagnosis)}`;
}

function keepsAccuracy({ comparison: { accuracy } }: Report): boolean {
  return accuracy !== undefined && !accuracy.significant;
}

function words({ modelSqnrDb, findings }: Diagnosis): string {
  const whole =
    typeof modelSqnrDb === 'number'
      ? `With every layer quantized the model's outputs keep ${modelSqnrDb.toFixed(1)} dB. `
      : '';
  const [worst] = findings;
  if (worst === undefined) return `${whole}No layer makes noise that reaches the outputs.`;
  const stands =
    worst.noiseShare >= 0.25
      ? `One layer stands out: ${worst.layer} makes ${formatShare(worst.noiseShare)} of the noise that the layers make there one by one.`
      : `No layer stands out: the worst one makes ${formatShare(worst.noiseShare)} of the noise that the layers make there one by one.`;
  return whole + stands;
}

function findingsPanel({ findings, layers }: Diagnosis): Markup | undefined {
  if (findings.length === 0) return undefined;
  const byName = new Map(layers.map((layer) => [layer.name, layer]));
  return html`<div class="panel scroll">
    <h3>The worst layers</h3>
    <table>
      <thead>
        <tr>
          <th>Layer</th>
          <th>Share of the noise</th>
          <th class="n">Own error</th>
          <th>Why</th>
          <th>What to set</th>
        </tr>
      </thead>
      <tbody>
        ${findings.map((finding) => findingRow(finding, byName.get(finding.layer), findings[0]?.noiseShare ?? 1))}
      </tbody>
    </table>
  </div>`;
}

function findingRow(
  { layer, noiseShare, explanation, changes }: Finding,
  diagnosed: DiagnosedLayer | undefined,
  largest: number,
): Markup {
  return html`<tr>
    <td class="name">${diagnosed === undefined ? '' : html`<b>${diagnosed.opType}</b><br />`}<code>${layer}</code></td>
    <td>${shareBar(noiseShare, largest)}</td>
    <td class="n">${decibels(diagnosed?.ownSqnrDb)}</td>
    <td class="what">${explanation}</td>
    <td class="what">
      ${changes.slice(0, 3).map(({ options, why }) => html`<div><code>${settings(options)}</code> <small>${why}</small></div>`)}
    </td>
  </tr>`;
}

function settings(options: Readonly<Record<string, unknown>>): string {
  return Object.entries(options)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
    .join(', ');
}

function inFloatPanel({ inFloat, modelSqnrDb, outputSamples }: Diagnosis): Markup | undefined {
  if (inFloat.length === 0 || modelSqnrDb === undefined) return undefined;
  const rows = inFloat.map(({ layers, modelSqnrDb: db }, index) => ({
    label: `${index === 0 ? 'in float:' : 'and'} ${layers.at(-1) ?? ''}`,
    db,
  }));
  return html`<div class="panel">
    <h3>The outputs with the worst layers left in float, one after the other (dB)</h3>
    <div class="scroll">${inFloatChart([{ label: 'every layer quantized', db: modelSqnrDb }, ...rows])}</div>
    <p class="soft">
      <small>Measured on ${outputSamples} samples. <code>exclude</code> does this.</small>
    </p>
  </div>`;
}

function layerTable({ layers }: Diagnosis): Markup {
  return html`<details>
    <summary>Errors and ranges of all ${layers.length} layers as a table</summary>
    <div class="panel scroll">
      <table class="wide">
        <thead>
          <tr>
            <th>Layer</th>
            <th class="n">Own</th>
            <th class="n">of weights</th>
            <th class="n">of input</th>
            <th class="n">of output</th>
            <th class="n">Accumulated</th>
            <th class="n">Share</th>
            <th class="n">Mean shift</th>
            <th class="n">Weights</th>
            <th>Input</th>
            <th>Output</th>
          </tr>
        </thead>
        <tbody>
          ${layers.map(
            (layer) =>
              html`<tr>
                <td>
                  <b>${layer.opType}</b><br /><code>${layer.name}</code
                  >${layer.note === undefined ? undefined : html`<br /><small>${layer.note}</small>`}
                </td>
                <td class="n">${decibels(layer.ownSqnrDb)}</td>
                <td class="n">${decibels(layer.parts.weightsSqnrDb)}</td>
                <td class="n">${decibels(layer.parts.inputSqnrDb)}</td>
                <td class="n">${decibels(layer.parts.outputSqnrDb)}</td>
                <td class="n">${decibels(layer.accumulatedSqnrDb)}</td>
                <td class="n">${layer.noiseShare === undefined ? '' : formatShare(layer.noiseShare)}</td>
                <td class="n">${layer.meanShiftShare === undefined ? '' : formatShare(layer.meanShiftShare)}</td>
                <td class="n">
                  ${layer.weights === undefined ? '' : html`${layer.weights.bits} bits<br /><small>channels ${ratio(layer.weights.channelRatio)}</small>`}
                </td>
                <td>${valueCell(layer.input)}</td>
                <td>${valueCell(layer.outputValue)}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <p class="soft">
      <small
        >Channels: reach of the largest over that of the median one. Outliers: reach of the quantized range over what
        99.9 % of the values stay below.</small
      >
    </p>
  </details>`;
}

function valueCell(value: ValueDiagnosis | undefined): Markup | undefined {
  if (value === undefined) return undefined;
  const { quantizedRange: range } = value;
  return html`${formatNumber(range.min)} … ${formatNumber(range.max)}<br /><small
      >outliers ${ratio(value.outlierRatio)}, channels ${ratio(value.channelRatio)}, clipped
      ${formatShare(value.saturatedShare)}</small
    >`;
}

function ratio(value: number | undefined): string {
  return value === undefined ? '–' : `${formatNumber(value)}×`;
}

function decibels(value: number | null | undefined): string {
  return value === undefined ? '' : value === null ? '–' : `${value.toFixed(1)} dB`;
}
