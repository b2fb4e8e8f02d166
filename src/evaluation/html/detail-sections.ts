import type { Report, StepReport } from '../../schemas/report.ts';
import { formatBytes, formatMs } from '../format.ts';
import { html, preformatted, type Content, type Markup } from './markup.ts';

const MAX_SKIPPED_ROWS = 300;
const MAX_DETAIL_CHARACTERS = 20_000;

export function stepsSection(report: Report, describePass: (name: string) => string | undefined): Markup {
  return html`<h2 id="steps">What was done</h2>
    ${report.steps.length === 0 ? html`<p class="soft">The recipe had no steps.</p>` : report.steps.map((step) => stepPanel(step, describePass(step.pass)))}`;
}

function stepPanel(step: StepReport, description: string | undefined): Markup {
  const skipped = step.skipped.slice(0, MAX_SKIPPED_ROWS);
  const options = Object.entries(step.options);
  const details = compactJson(step.details);
  return html`<details class="step" open>
    <summary>
      ${step.index + 1}. <code>${step.pass}</code>
      <small
        >${step.changed === 0 ? 'changed nothing' : `${step.changed} ${step.changed === 1 ? 'change' : 'changes'}`},
        ${formatMs(1000 * step.seconds)}${step.skipped.length === 0 ? '' : `, ${step.skipped.length} left alone`}</small
      >
    </summary>
    ${description === undefined ? undefined : html`<p class="soft">${description}</p>`}
    ${options.length === 0 ? undefined : html`<div class="chips">${options.map(([name, value]) => html`<span class="chip"><code>${name}: ${JSON.stringify(value)}</code></span>`)}</div>`}
    ${saturationLine(step)} ${step.warnings.map((warning) => html`<p class="warn">⚠ ${warning}</p>`)}
    ${
      skipped.length === 0
        ? undefined
        : html`<div class="scroll">
              <table class="wide">
                <thead>
                  <tr>
                    <th>Left alone</th>
                    <th>Why</th>
                  </tr>
                </thead>
                <tbody>
                  ${skipped.map(
                    ({ node, reason }) =>
                      html`<tr>
                        <td><code>${node}</code></td>
                        <td>${reason}</td>
                      </tr>`,
                  )}
                </tbody>
              </table>
            </div>
            ${step.skipped.length > skipped.length ? html`<p class="soft">${step.skipped.length - skipped.length} more are in the JSON report.</p>` : undefined}`
    }
    ${
      details === '{}'
        ? undefined
        : html`<details>
            <summary><small>The step's own numbers</small></summary>
            <pre>
${preformatted(details.slice(0, MAX_DETAIL_CHARACTERS))}${details.length > MAX_DETAIL_CHARACTERS ? '\n… the rest is in the JSON report' : ''}</pre>
          </details>`
    }
  </details>`;
}

export function environmentSection(report: Report): Markup {
  const { environment: e, model } = report;
  const value = ({ name, type, shape }: Report['model']['inputs'][number]): Markup =>
    html`<code>${name}</code> ${type} ${shape === null ? '' : `[${shape.map((dim) => dim ?? '?').join(', ')}]`}<br />`;
  const rows: readonly (readonly [string, Content])[] = [
    ['Job', report.job ?? 'run without the service'],
    ['Measured at', report.createdAt],
    [
      'Input model',
      html`${model.id === undefined ? '' : `${model.id}, `}opset ${model.opset}, IR
      ${model.irVersion}${model.producer === '' ? '' : `, made by ${model.producer}`}`,
    ],
    ['SHA-256 of the input', model.sha256 === undefined ? undefined : html`<code>${model.sha256}</code>`],
    ['Inputs', model.inputs.map(value)],
    ['Outputs', model.outputs.map(value)],
    ['Made for', report.target.cpu],
    ['CPU', `${e.cpuModel}, ${e.cpuCores} cores, ${e.architecture}`],
    ['Instruction sets', e.cpuFlags.length === 0 ? 'unknown' : e.cpuFlags.join(' ')],
    ['Memory', formatBytes(e.memoryBytes)],
    ['Threads used', e.threads],
    ['Seed', e.seed],
    ['Software', `Tersor ${e.tersor}, ${e.runtime}, Node.js ${e.node}, ${e.platform}`],
    ['Kernel cost table', e.costTable === undefined ? undefined : html`<code>${e.costTable}</code>`],
  ];
  return html`<h2 id="environment">Where and with what</h2>
    <div class="panel scroll">
      <table>
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
    </div>
    ${artifactsPanel(report)}${missingPanel(report)}`;
}

function artifactsPanel({ artifacts }: Report): Markup | undefined {
  if (artifacts.length === 0) return undefined;
  return html`<h2>Files</h2>
    <div class="panel scroll">
      <table>
        <thead>
          <tr>
            <th>Name</th>
            <th>Kind</th>
            <th class="n">Size</th>
            <th>SHA-256</th>
          </tr>
        </thead>
        <tbody>
          ${artifacts.map(
            ({ name, kind, bytes, sha256 }) =>
              html`<tr>
                <td><code>${name}</code></td>
                <td>${kind}</td>
                <td class="n">${formatBytes(bytes)}</td>
                <td><code>${sha256}</code></td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}

function missingPanel({ notMeasured }: Report): Markup | undefined {
  if (notMeasured.length === 0) return undefined;
  return html`<h2>What was not measured</h2>
    <div class="panel scroll">
      <table>
        <tbody>
          ${notMeasured.map(
            ({ name, reason }) =>
              html`<tr>
                <th><code>${name}</code></th>
                <td>${reason}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}

const TERMS: readonly (readonly [string, string])[] = [
  [
    'Quantization',
    'Storing and computing numbers with fewer bits, 8-bit integers instead of 32-bit floats, say. A scale and a zero point say which real number an integer stands for.',
  ],
  [
    'Calibration',
    'Running a few hundred typical samples to learn which ranges the intermediate results have, so that the integers cover them.',
  ],
  [
    '95 % interval',
    'The measured value is one draw. The interval says where the true value lies: intervals made this way contain it 95 times of 100.',
  ],
  [
    'Significant',
    'A difference that chance would hardly make (less than 5 times of 100). Tested in pairs: only samples on which the two models differ count (McNemar).',
  ],
  ['Points', 'Percentage points: from 92.5 % to 92.0 % is a loss of 0.5 points.'],
  [
    'SQNR',
    'Signal-to-quantization-noise ratio in decibels: how much larger the values are than their error. 20 dB: the error is a tenth; 40 dB: a hundredth.',
  ],
  ['Cosine', 'Whether two outputs point in the same direction: 1 is the same, 0 has nothing in common.'],
  ['Clipped, saturated', 'Values beyond the ends of what the integers can hold. They are cut to the end.'],
  ['Median, p50', 'Half of the runs are faster. Unlike the mean it does not move when the machine hiccups.'],
  ['Inconclusive', 'The measured difference is within the noise of the measurement. Nothing is claimed then.'],
  [
    'Portable',
    'Made so that no 16-bit intermediate can overflow on x64 CPUs without VNNI instructions; the result is right on any CPU.',
  ],
  ['Kernel', 'A routine of ONNX Runtime that computes one or several nodes of the graph at once.'],
];

export function glossarySection(): Markup {
  return html`<h2 id="terms">Terms</h2>
    <dl class="glossary">
      ${TERMS.map(
        ([term, meaning]) =>
          html`<div>
            <dt>${term}</dt>
            <dd>${meaning}</dd>
          </div>`,
      )}
    </dl>`;
}

/** JSON with a line for each entry, but lists of numbers on one. */
function compactJson(value: unknown): string {
  const number = String.raw`-?\d[\d.eE+-]*`;
  const list = new RegExp(String.raw`\[\s+(${number}(?:,\s+${number})*)\s+\]`, 'g');
  return JSON.stringify(value, null, 1).replace(list, (_, items: string) => `[${items.replaceAll(/\s+/g, ' ')}]`);
}

const RISK_TARGETS: Readonly<Record<string, string>> = {
  'x64-vnni': 'x64 with VNNI',
  'x64-without-vnni': 'x64 without VNNI',
  'arm64-dotprod': 'arm64 with dot product',
};

/** What a quantizing pass says of int16 saturation on each kind of CPU. */
function saturationLine({ details }: StepReport): Markup | undefined {
  const risk = details['saturationRisk'];
  if (typeof risk !== 'object' || risk === null) return undefined;
  const entries = Object.entries(risk).flatMap(([target, level]) =>
    typeof level === 'string'
      ? [html`<span class="chip">${RISK_TARGETS[target] ?? target}: <b>${level}</b></span>`]
      : [],
  );
  return entries.length === 0
    ? undefined
    : html`<div class="chips"><small>Risk of integer overflow by CPU:</small>${entries}</div>`;
}
