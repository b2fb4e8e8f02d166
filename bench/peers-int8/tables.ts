import type { Made } from './tools.ts';

export interface ToolResult extends Made {
  /** Percent. */
  readonly top1?: number;
  /** Points against float. */
  readonly lost?: number;
  readonly bytes?: number;
  /** Against float, medians of runs in turns. */
  speedup?: number;
}

export interface Row {
  readonly name: string;
  readonly float: number;
  readonly bytes: number;
  readonly images: number;
  readonly tools: Record<string, ToolResult>;
}

/** Two Markdown tables: points lost with speed, and kilobytes with seconds and megabytes; then what failed. */
export function tables(rows: readonly Row[], heads: Readonly<Record<string, string>>): string {
  const tools = Object.keys(heads).filter((tool) => rows.some((row) => row.tools[tool] !== undefined));
  const table = (title: (row: Row) => string, cell: (result: ToolResult) => string): string =>
    [
      ['network', ...tools.map((tool) => heads[tool] ?? tool)],
      ['---', ...tools.map(() => '---')],
      ...rows.map((row) => [title(row), ...tools.map((tool) => cellOf(row.tools[tool], cell))]),
    ]
      .map((cells) => `| ${cells.join(' | ')} |`)
      .join('\n');
  const accuracy = table(
    ({ name, float, images }) => `${name} (${float.toFixed(2)} of ${images})`,
    ({ lost = NaN, speedup = NaN }) => `${lost.toFixed(2)}; ${speedup.toFixed(2)}x`,
  );
  const costs = table(
    ({ name, bytes }) => `${name} (${kilobytes(bytes)} kB)`,
    ({ bytes = NaN, seconds, peakBytes }) =>
      `${kilobytes(bytes)} kB; ${seconds.toFixed(0)} s; ${(peakBytes / 2 ** 20).toFixed(0)} MB`,
  );
  const failures = rows.flatMap(({ name, tools: results }) =>
    Object.entries(results).flatMap(([tool, { error }]) =>
      error === undefined ? [] : [`- ${name}, ${heads[tool] ?? tool}: ${error.replaceAll('\n', ' ')}`],
    ),
  );
  return [accuracy, costs, ...(failures.length === 0 ? [] : [failures.join('\n')])].join('\n\n');
}

function cellOf(result: ToolResult | undefined, cell: (result: ToolResult) => string): string {
  if (result === undefined) return '';
  return result.error === undefined ? cell(result) : 'fails';
}

function kilobytes(bytes: number): string {
  return (bytes / 1000).toFixed(0);
}
