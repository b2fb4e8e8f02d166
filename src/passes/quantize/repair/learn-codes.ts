import { defined } from '../../../errors.ts';
import type { MatrixLayout, WeightTarget } from '../../layer-inputs/weight-targets.ts';
import { groupMatrix, putGroup } from '../../layer-inputs/weight-matrix.ts';
import type { RowProducts } from '../../layer-inputs/row-products.ts';
import type { PassContext } from '../../pass.ts';
import type { RoundingProblem } from '../../rounding/ada-round.ts';
import { gptq } from '../../rounding/gptq.ts';
import { roundHalfEven } from '../../../numerics/round-half-even.ts';
import { QUANT_RANGE, allocateQuantized } from '../quant-type.ts';
import { valuesOf, type PlannedWeight } from '../weight-plan.ts';
import { layerRows, type LayerRows, type SideBySide } from './layer-data.ts';
import type { SimulatedLayer } from './simulation.ts';

/** Rows of one iteration of AdaRound. */
const BATCH = 512;

export interface LearningSettings {
  readonly rounding: 'gptq' | 'adaround';
  readonly iterations: number;
  /** Where the layer's output is cut off behind it. */
  readonly clip: readonly [min: number, max: number] | undefined;
  /** Of the layer as it is now, by output channel. */
  readonly bias: Float32Array;
}

export interface LearnedLayer {
  readonly layer: SimulatedLayer;
  readonly target: WeightTarget;
  /** The weight rounded to nearest. */
  readonly planned: PlannedWeight;
}

export interface LearningTools {
  readonly run: SideBySide;
  readonly products: RowProducts;
  readonly context: Pick<PassContext, 'runtime' | 'threads' | 'signal' | 'seed'>;
}

/**
 * Codes for a layer's weight, on the scales it has, by what the layers before it (rounded already) make of the calibration data.
 *
 * @returns codes in the order of the tensor
 */
export async function learnCodes(
  { layer, target, planned }: LearnedLayer,
  settings: LearningSettings,
  tools: LearningTools,
): Promise<PlannedWeight['codes']> {
  const grid = gridOf(planned);
  const values = valuesOf(layer.weight);
  const steps = new Float64Array(values.length);
  const rows = layerRows(layer, target, tools.run, settings.rounding === 'adaround');
  if (settings.rounding === 'gptq') await byGptq({ values, steps, grid, target }, rows, tools);
  else await byAdaRound({ values, steps, grid, target }, rows, { settings, tools });
  const codes = allocateQuantized(planned.type, values.length);
  const { channels, inner } = planned.layout;
  for (let i = 0; i < codes.length; i += 1) {
    codes[i] = (steps[i] ?? 0) + grid.zeroPointOf(Math.floor(i / inner) % channels);
  }
  return codes;
}

/** By output channel; codes are counted from the one that stands for 0. */
interface Grid {
  readonly scaleOf: (output: number) => number;
  readonly zeroPointOf: (output: number) => number;
  readonly lowOf: (output: number) => number;
  readonly highOf: (output: number) => number;
}

function gridOf({ scales, zeroPoints, type }: PlannedWeight): Grid {
  const [qmin, qmax] = QUANT_RANGE[type];
  const zeroPointOf = (output: number): number => zeroPoints[zeroPoints.length === 1 ? 0 : output] ?? 0;
  return {
    scaleOf: (output) => scales[scales.length === 1 ? 0 : output] ?? 1,
    zeroPointOf,
    lowOf: (output) => qmin - zeroPointOf(output),
    highOf: (output) => qmax - zeroPointOf(output),
  };
}

interface Learned {
  readonly values: Float32Array;
  /** To be filled with codes, in the order of the tensor. */
  readonly steps: Float64Array;
  readonly grid: Grid;
  readonly target: WeightTarget;
}

async function byGptq(
  { values, steps, grid, target: { layout } }: Learned,
  rows: AsyncIterable<LayerRows>,
  { products }: LearningTools,
): Promise<void> {
  const columns = layout.inputs * layout.kernel;
  const moments = Array.from({ length: layout.groups }, () => new Float64Array(columns * columns));
  for await (const { inputs } of rows) {
    for (const [group, total] of moments.entries()) {
      await products.add(total, defined(inputs[group], `rows of group ${group}`));
    }
  }
  const perGroup = layout.outputs / layout.groups;
  for (const [group, h] of moments.entries()) {
    const matrix = groupMatrix(values, layout, group);
    const outputOf = (row: number): number => group * perGroup + row;
    const scaleOf = (row: number): number => grid.scaleOf(outputOf(row));
    gptq(matrix, h, {
      round: (value, row) => {
        const code = roundHalfEven(value / scaleOf(row));
        return Math.min(Math.max(code, grid.lowOf(outputOf(row))), grid.highOf(outputOf(row))) * scaleOf(row);
      },
    });
    const { data } = matrix;
    putGroup(
      steps,
      data.map((value, i) => roundHalfEven(value / scaleOf(Math.floor(i / columns)))),
      layout,
      group,
    );
  }
}

async function byAdaRound(
  { values, steps, grid, target: { layout } }: Learned,
  rows: AsyncIterable<LayerRows>,
  { settings, tools }: { readonly settings: LearningSettings; readonly tools: LearningTools },
): Promise<void> {
  const { groups } = layout;
  const columns = layout.inputs * layout.kernel;
  const outputs = layout.outputs / groups;
  const parts: LayerRows[] = [];
  let count = 0;
  for await (const part of rows) {
    parts.push({ ...part, inputs: part.inputs.map((input) => ({ ...input, data: Float32Array.from(input.data) })) });
    count += part.inputs[0]?.count ?? 0;
  }
  const problem: RoundingProblem = {
    groups,
    rows: count,
    columns,
    outputs,
    ...stacked(parts, { layout, count }),
    weights: new Float32Array(groups * columns * outputs),
    scales: Float32Array.from({ length: layout.outputs }, (_, output) => grid.scaleOf(output)),
    bias: settings.bias,
    // All channels have one zero point here.
    low: grid.lowOf(0),
    high: grid.highOf(0),
    clip: settings.clip,
  };
  for (let group = 0; group < groups; group += 1) {
    const { data } = groupMatrix(values, layout, group);
    data.forEach((value, i) => {
      problem.weights[(group * columns + (i % columns)) * outputs + Math.floor(i / columns)] = value;
    });
  }
  // Loaded where it learns: the HTTP side lists passes, and never loads the engine.
  const { adaRound } = await import('../../rounding/ada-round.ts');
  const { codes } = await adaRound(problem, { ...settings, batch: BATCH, seed: tools.context.seed }, tools.context);
  const matrix = new Float64Array(outputs * columns);
  for (let group = 0; group < groups; group += 1) {
    for (let i = 0; i < matrix.length; i += 1) {
      matrix[i] = codes[(group * columns + (i % columns)) * outputs + Math.floor(i / columns)] ?? 0;
    }
    putGroup(steps, matrix, layout, group);
  }
}

/** All batches behind each other, by group. */
function stacked(
  parts: readonly LayerRows[],
  { layout, count }: { readonly layout: MatrixLayout; readonly count: number },
): { readonly x: Float32Array; readonly y: Float32Array } {
  const { groups } = layout;
  const columns = layout.inputs * layout.kernel;
  const outputs = layout.outputs / groups;
  const x = new Float32Array(groups * count * columns);
  const y = new Float32Array(groups * count * outputs);
  let row = 0;
  for (const part of parts) {
    const length = part.inputs[0]?.count ?? 0;
    for (let group = 0; group < groups; group += 1) {
      const data = part.inputs[group]?.data ?? new Float32Array(0);
      x.set(data.subarray(0, length * columns), (group * count + row) * columns);
      for (let r = 0; r < length; r += 1) {
        const from = r * layout.outputs + group * outputs;
        y.set(part.outputs.subarray(from, from + outputs), (group * count + row + r) * outputs);
      }
    }
    row += length;
  }
  return { x, y };
}
