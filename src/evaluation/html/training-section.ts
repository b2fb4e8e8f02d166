import { z } from 'zod';
import type { Report, StepReport } from '../../schemas/report.ts';
import type { TrainingEpoch, TrainingRunReport } from '../../schemas/training-report.ts';
import { formatMs, formatNumber, formatShare } from '../format.ts';
import { lineChart, type Line, type LineChart } from './line-chart.ts';
import { html, type Content, type Markup } from './markup.ts';

const MAX_TABLE_ROWS = 300;

const RUN_NAMES: Readonly<Record<TrainingRunReport['name'], string>> = {
  model: 'model',
  student: 'taught by the teacher',
  'student-alone': 'the same student alone',
  'shared-whole': 'the largest network alone',
  'shared-parts': 'its parts',
  mixed: 'all operations side by side',
};

function nameOf({ name, afterStep }: TrainingRunReport): string {
  return afterStep === undefined ? RUN_NAMES[name] : `${RUN_NAMES[name]} after pruning step ${afterStep}`;
}

/** How each step that trained went: curves of loss, validation and learning rate, and all epochs as a table. */
export function trainingSection(report: Report): Markup | undefined {
  const steps = report.steps.filter((step) => runsOf(step).length > 0);
  if (steps.length === 0) return undefined;
  return html`<h2 id="training">Training</h2>
    ${steps.map((step) => stepPart(step))}`;
}

/** Runs with something to draw, the one whose weights are the result first. */
function runsOf({ training = [] }: StepReport): TrainingRunReport[] {
  const rank = ({ name }: TrainingRunReport): number => (name === 'student-alone' ? 1 : 0);
  return training.filter(({ epochs }) => epochs.length > 0).sort((a, b) => rank(a) - rank(b));
}

function stepPart(step: StepReport): Markup {
  const runs = runsOf(step);
  const tables = runs.map((run) => epochTable(run, runs.length > 1));
  return html`<h3 class="step-title">Step ${step.index + 1}, <code>${step.pass}</code></h3>
    ${runs.map((run) => html`<p>${wordsOn(run, runs.length > 1)}</p>`)} ${runs.map(incidents)}
    ${
      runs.every(({ epochs }) => epochs.length < 2)
        ? tables
        : html`${charts(step, runs)}
            <details>
              <summary>All epochs as a table</summary>
              ${tables}
            </details>`
    }`;
}

function charts(step: StepReport, runs: readonly TrainingRunReport[]): Markup {
  return html`${
      runs.length < 2
        ? undefined
        : html`<div class="legend">
            ${runs.map((run) => html`<span><i class="${kindOf(run)}"></i>${nameOf(run)}</span>`)}
          </div>`
    }
    <div class="trio">
      ${lossPanel(runs)} ${validationPanel(runs, teacherOf(step))} ${ratePanel(runs)} ${partPanels(runs)}
    </div>`;
}

const kindOf = ({ name }: TrainingRunReport): Line['kind'] => (name === 'student-alone' ? 'before' : 'after');

function wordsOn(run: TrainingRunReport, named: boolean): Content {
  const { epochs, plannedEpochs, keptEpoch, keptBy, stoppedEarly, learningRate, updates } = run;
  const kept = epochs.find(({ epoch }) => epoch === keptEpoch);
  const value = kept?.validation === undefined ? '' : ` (${validationText(kept.validation)})`;
  const title = named ? `${capital(nameOf(run))}: ` : '';
  const length = stoppedEarly
    ? `stopped after ${epochs.length} of ${plannedEpochs} epochs, as validation got no better`
    : `${epochs.length} ${epochs.length === 1 ? 'epoch' : 'epochs'}`;
  const choice =
    keptBy === 'validation'
      ? `The weights of epoch ${keptEpoch + 1} are the result, the best by validation${value}.`
      : `The weights of the last epoch are the result${value}.`;
  const rates = epochs.map(({ imagesPerSecond }) => imagesPerSecond).sort((a, b) => a - b);
  const rate = rates[Math.floor(rates.length / 2)] ?? 0;
  return `${title}${named ? length : capital(length)}, ${updates} updates, learning rate from ${formatNumber(learningRate)} on, ${formatNumber(rate)} samples a second. ${choice}`;
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** What did not go as planned. */
function incidents(run: TrainingRunReport): Markup[] {
  const who = run.name === 'student-alone' ? 'Training the student alone' : 'Training';
  return [
    ...run.divergences.map(
      ({ learningRate, epoch, step, reason }) =>
        html`<p class="warn">
          ⚠ ${who} at learning rate ${formatNumber(learningRate)} diverged in epoch ${epoch + 1}, step ${step + 1}:
          ${reason}. It started again from the beginning at a tenth of that rate; the curves show this attempt.
        </p>`,
    ),
    ...run.resumedAt.map(
      ({ epoch, step }) =>
        html`<p class="soft">
          ${who} was interrupted and went on from its saved state in epoch ${epoch + 1}, after step ${step}; the weights
          are what an undisturbed run gives.
        </p>`,
    ),
  ];
}

function panel(title: string, chart: LineChart, note?: string): Markup {
  return html`<div class="panel">
    <h3>${title}</h3>
    ${lineChart(chart)}${note === undefined ? undefined : html`<p class="soft"><small>${note}</small></p>`}
  </div>`;
}

function lossPanel(runs: readonly TrainingRunReport[]): Markup {
  const lines = runs.map((run) => lineOf(run, ({ loss }) => loss));
  const isWeighted = runs.some(({ epochs }) => epochs[0]?.parts !== undefined) && runs.length > 1;
  return panel(
    'Training loss',
    { lines, label: `Training loss over epochs: ${spoken(runs, ({ loss }) => formatNumber(loss))}`, ...floor(lines) },
    isWeighted
      ? 'The taught student minimizes a weighted sum, its twin the loss of the task: compare shapes.'
      : undefined,
  );
}

function validationPanel(
  runs: readonly TrainingRunReport[],
  teacher: z.infer<typeof Teacher> | undefined,
): Markup | undefined {
  const metric = runs.flatMap(({ epochs }) => epochs.flatMap(({ validation }) => validation ?? []))[0]?.metric;
  if (metric === undefined) return undefined;
  const lines = runs.map((run) => ({
    ...lineOf(run, ({ validation }) => validation?.value ?? null),
    mark: run.epochs.findIndex(({ epoch }) => epoch === run.keptEpoch),
  }));
  const reference = teacher?.metric === metric ? { value: teacher.value, label: 'teacher' } : undefined;
  const label = `Validation over epochs: ${spoken(runs, ({ validation }) => (validation === undefined ? 'none' : validationText(validation)))}`;
  const note = 'The dot is the epoch whose weights were kept.';
  return metric === 'top1'
    ? panel(
        'Validation accuracy (top 1)',
        { lines, label, reference, limits: [0, 1], unit: { factor: 100, text: ' %' } },
        note,
      )
    : panel('Validation error (RMSE)', { lines, label, reference, ...floor(lines) }, note);
}

function ratePanel(runs: readonly TrainingRunReport[]): Markup {
  const lines = runs.map((run) => lineOf(run, ({ learningRate }) => learningRate));
  return panel('Learning rate', {
    lines,
    label: `Learning rate at the end of each epoch: ${spoken(runs, ({ learningRate }) => formatNumber(learningRate))}`,
    limits: [0, Infinity],
  });
}

/** One chart a part: parts are of any size, and their weights are not in them. */
function partPanels(runs: readonly TrainingRunReport[]): Markup[] {
  const names = new Set(runs.flatMap(({ epochs }) => Object.keys(epochs[0]?.parts ?? {})));
  return [...names].map((name) => {
    const having = runs.filter(({ epochs }) => epochs[0]?.parts?.[name] !== undefined);
    const pick = ({ parts }: TrainingEpoch): number | null => parts?.[name] ?? null;
    const lines = having.map((run) => lineOf(run, pick));
    return panel(`Part of the loss: ${name}`, {
      lines,
      label: `Part ${name} of the loss, without its weight: ${spoken(having, (epoch) => formatNumber(pick(epoch) ?? 0))}`,
      ...floor(lines),
    });
  });
}

function lineOf(run: TrainingRunReport, pick: (epoch: TrainingEpoch) => number | null): Line {
  return { kind: kindOf(run), values: run.epochs.map(pick) };
}

/** No axis below 0 for what is never negative. */
function floor(lines: readonly Line[]): Pick<LineChart, 'limits'> {
  return lines.some(({ values }) => values.some((value) => value !== null && value < 0))
    ? {}
    : { limits: [0, Infinity] };
}

function spoken(runs: readonly TrainingRunReport[], text: (epoch: TrainingEpoch) => string): string {
  return runs
    .map((run) => {
      const { epochs } = run;
      const [first] = epochs;
      const last = epochs.at(-1);
      if (first === undefined || last === undefined) return '';
      const range = epochs.length === 1 ? text(first) : `from ${text(first)} to ${text(last)}`;
      return runs.length === 1 ? range : `${nameOf(run)} ${range}`;
    })
    .join('; ');
}

function validationText({ metric, value }: NonNullable<TrainingEpoch['validation']>): string {
  if (value === null) return 'not finite';
  return metric === 'top1' ? `${formatShare(value)} right` : `error ${formatNumber(value)}`;
}

function epochTable(run: TrainingRunReport, named: boolean): Markup {
  const parts = Object.keys(run.epochs[0]?.parts ?? {});
  const shown = run.epochs.slice(0, MAX_TABLE_ROWS);
  const metric = run.epochs.find(({ validation }) => validation !== undefined)?.validation?.metric;
  return html`<div class="panel scroll">
    ${named ? html`<h3>${capital(nameOf(run))}</h3>` : undefined}
    <table class="wide">
      <thead>
        <tr>
          <th class="n">Epoch</th>
          <th class="n">Loss</th>
          ${parts.map((name) => html`<th class="n">${name}</th>`)}
          ${metric === undefined ? undefined : html`<th class="n">${metric === 'top1' ? 'Validation' : 'Validation RMSE'}</th>`}
          <th class="n">Learning rate</th>
          <th class="n">Samples/s</th>
          <th class="n">Time</th>
        </tr>
      </thead>
      <tbody>
        ${shown.map(
          (epoch) =>
            html`<tr>
              <td class="n">
                ${epoch.epoch === run.keptEpoch ? html`<b class="good">kept</b> ${epoch.epoch + 1}` : epoch.epoch + 1}
              </td>
              <td class="n">${formatNumber(epoch.loss)}</td>
              ${parts.map((name) => html`<td class="n">${partText(epoch.parts?.[name])}</td>`)}
              ${metric === undefined ? undefined : html`<td class="n">${valueText(epoch.validation)}</td>`}
              <td class="n">${formatNumber(epoch.learningRate)}</td>
              <td class="n">${formatNumber(epoch.imagesPerSecond)}</td>
              <td class="n">${formatMs(1000 * epoch.seconds)}</td>
            </tr>`,
        )}
      </tbody>
    </table>
    ${run.epochs.length > shown.length ? html`<p class="soft">${run.epochs.length - shown.length} more are in the JSON report.</p>` : undefined}
  </div>`;
}

const partText = (value: number | undefined): string => (value === undefined ? '' : formatNumber(value));

function valueText(validation: TrainingEpoch['validation']): string {
  if (validation === undefined) return '';
  if (validation.value === null) return 'not finite';
  return validation.metric === 'top1' ? formatShare(validation.value) : formatNumber(validation.value);
}

const Teacher = z.object({ metric: z.string(), value: z.number() });
const WithTeacher = z.object({ accuracy: z.object({ teacher: Teacher }) });

/** What a distillation says of its teacher, on the same samples. */
function teacherOf({ details }: StepReport): z.infer<typeof Teacher> | undefined {
  return WithTeacher.safeParse(details).data?.accuracy.teacher;
}
