import type { Change, Latency, Measurement, Report } from '../../schemas/report.ts';
import { formatBytes, formatCount, formatMs, formatNumber, formatPoints, formatShare } from '../format.ts';
import { html, type Markup } from './markup.ts';

interface Row {
  readonly name: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
  readonly change: string | undefined;
  readonly meaning: string;
}

export function tableSection(report: Report): Markup {
  const { baseline: a, result: b, comparison: c } = report;
  const row = (name: string, change: Change | undefined, show: (value: number) => string, meaning: string): Row => ({
    name,
    before: change === undefined ? undefined : show(change.before),
    after: change === undefined ? undefined : show(change.after),
    change: change === undefined ? undefined : factor(change),
    meaning,
  });
  const both = (
    name: string,
    pick: (model: Measurement) => number | undefined,
    show: (value: number) => string,
    meaning: string,
  ): Row => {
    const [before, after] = [pick(a), pick(b)];
    return {
      name,
      before: before === undefined ? undefined : show(before),
      after: after === undefined ? undefined : show(after),
      change: undefined,
      meaning,
    };
  };
  const rows: Row[] = [
    row('File size', c.bytes, formatBytes, 'The model file with its external data.'),
    row(
      `Compressed (${b.compression ?? 'gzip'})`,
      c.bytesCompressed,
      formatBytes,
      'The same file packed for transport. Zeros and repeated weights only pay here.',
    ),
    row(
      'Parameters',
      c.parameters,
      formatCount,
      'Numbers the network has learned. Quantization keeps them all, pruning removes some.',
    ),
    both(
      'Parameters that are not zero',
      (model) => model.nonzeroParameters,
      formatCount,
      'What is left when exact zeros are not counted.',
    ),
    both(
      'Share of zeros',
      (model) => model.sparsity,
      formatShare,
      'A CPU multiplies zeros like any other number: no speed by itself.',
    ),
    both(
      'Bits per weight',
      (model) => model.effectiveBitsPerWeight,
      formatNumber,
      'Storage of a weight on average, scales and zero points included. 32 is plain float.',
    ),
    row('Multiply-accumulates', c.macs, formatCount, 'Arithmetic of one sample.'),
    ...operationRows(report),
    row(
      'Bit operations',
      c.bops,
      formatCount,
      'Multiply-accumulates times the bits of both factors: what narrower numbers save in hardware.',
    ),
    row(
      'Peak of activations',
      c.peakActivationBytes,
      formatBytes,
      'Largest memory that intermediate results of one sample need at once.',
    ),
    both(
      'Integer kernels',
      (model) => model.integerNodesShare,
      formatShare,
      'Share of convolutions and matrix products that ONNX Runtime really runs in integers on this CPU.',
    ),
    both(
      'Nodes in the graph',
      (model) => countNodes(model.operators),
      String,
      'Quantization adds nodes to the file; the runtime fuses them when it loads the model.',
    ),
    ...accuracyRows(report),
    ...latencyRows(report),
  ].filter(({ before, after }) => before !== undefined || after !== undefined);
  return html`<h2 id="table">Before and after</h2>
    <div class="panel scroll">
      <table>
        <thead>
          <tr>
            <th></th>
            <th class="n">Before</th>
            <th class="n">After</th>
            <th class="n">Change</th>
            <th class="hide-small">What it means</th>
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            ({ name, before, after, change, meaning }) =>
              html`<tr>
                <th>${name}</th>
                <td class="n">${before ?? '–'}</td>
                <td class="n">${after ?? '–'}</td>
                <td class="n">${change ?? ''}</td>
                <td class="what hide-small">${meaning}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}

function countNodes(operators: Readonly<Record<string, number>>): number {
  let sum = 0;
  for (const count of Object.values(operators)) sum += count;
  return sum;
}

function factor({ ratio, before, after }: Change): string {
  if (before === after) return 'same';
  if (ratio !== null && Math.abs(ratio - 1) < 0.0005) return 'about the same';
  if (ratio === null || ratio === 0) return '';
  if (Math.abs(ratio - 1) < 0.005)
    return `${ratio > 1 ? '−' : '+'}${formatNumber(Math.abs(100 * (after / before - 1)))} %`;
  return ratio > 1 ? `${formatNumber(ratio)}× less` : `${formatNumber(1 / ratio)}× more`;
}

/** Where adder layers stand, multiply-accumulates tell half the story. */
function operationRows({ baseline: { operations: a }, result: { operations: b } }: Report): Row[] {
  const adders = (a?.adderOperations ?? 0) + (b?.adderOperations ?? 0);
  if (adders === 0) return [];
  const counted = (name: string, pick: (of: NonNullable<typeof a>) => number, meaning: string): Row => ({
    name,
    before: a && formatCount(pick(a)),
    after: b && formatCount(pick(b)),
    change: undefined,
    meaning,
  });
  return [
    counted('Multiplications', (of) => of.multiplications, 'Of one sample, in stem and head: adder layers have none.'),
    counted('Additions', (of) => of.additions, 'Of one sample: one a multiply-accumulate, two a distance.'),
    counted(
      'Distances in adder layers',
      (of) => of.adderOperations,
      'Saves energy in hardware that is made for it. A CPU has no kernel for them, so they are slower than products.',
    ),
  ];
}

function accuracyRows({ baseline: { accuracy: a }, result: { accuracy: b }, comparison: { accuracy } }: Report): Row[] {
  const rows: Row[] = [];
  const rate = (
    name: string,
    before: { value: number } | undefined,
    after: { value: number } | undefined,
    meaning: string,
  ): void => {
    if (before === undefined && after === undefined) return;
    const change =
      before === undefined || after === undefined ? undefined : `${formatPoints(after.value - before.value)} points`;
    rows.push({
      name,
      before: before && formatShare(before.value),
      after: after && formatShare(after.value),
      change,
      meaning,
    });
  };
  rate(
    'Top-1 accuracy',
    a?.top1,
    b?.top1,
    `The best guess is right${a === undefined ? '' : `, on ${a.samples} samples`}.`,
  );
  rate('Top-5 accuracy', a?.top5, b?.top5, 'The right class is among the five best guesses.');
  if (a?.metric === 'rmse' || b?.metric === 'rmse') {
    rows.push({
      name: 'Root mean squared error',
      before: a && formatNumber(a.value),
      after: b && formatNumber(b.value),
      change: accuracy && formatNumber(accuracy.difference),
      meaning: 'Typical distance from the target, in the units of the target; large misses count more.',
    });
  }
  if (accuracy?.agreement !== undefined) {
    rows.push({
      name: 'Same prediction',
      before: undefined,
      after: formatShare(accuracy.agreement.value),
      change: undefined,
      meaning: 'Share of samples to which both models give the same class, right or wrong.',
    });
  }
  return rows;
}

function latencyRows({
  baseline: { latency: a },
  result: { latency: b },
  comparison,
  latencyAtBatches = [],
}: Report): Row[] {
  if (a === undefined || b === undefined) return [];
  const time = (name: string, pick: (latency: Latency) => number, meaning: string): Row => ({
    name,
    before: formatMs(pick(a)),
    after: formatMs(pick(b)),
    change: undefined,
    meaning,
  });
  const median = time(
    'Median run',
    (latency) => latency.p50Ms,
    `Half of the runs are faster. Batch ${a.batch}, ${a.threads} ${a.threads === 1 ? 'thread' : 'threads'}.`,
  );
  return [
    { ...median, change: speedWord(comparison.latency) },
    time('90 % of runs within', (latency) => latency.p90Ms, 'One run in ten takes longer.'),
    time(
      '99 % of runs within',
      (latency) => latency.p99Ms,
      'One run in a hundred takes longer; other work on the machine shows here.',
    ),
    time('Cold start', (latency) => latency.coldStartMs, 'Loading the model and the first run.'),
    ...latencyAtBatches.map((at) => ({
      name: `Median run of ${at.batch} samples`,
      before: formatMs(at.baseline.p50Ms),
      after: formatMs(at.result.p50Ms),
      change: speedWord(at.comparison),
      meaning: `Batch ${at.batch}: the time for all of them together.`,
    })),
  ];
}

function speedWord(latency: Report['comparison']['latency']): string | undefined {
  if (latency === undefined || latency.verdict === 'inconclusive') return 'no claim';
  return latency.verdict === 'faster'
    ? `${formatNumber(latency.speedup)}× as fast`
    : `${formatNumber(1 / latency.speedup)}× as long`;
}
