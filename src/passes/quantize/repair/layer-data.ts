import { CompressionError, defined } from '../../../errors.ts';
import type { NdArray } from '../../../onnx/nd-array.ts';
import { inputRows, type InputRows } from '../../layer-inputs/input-rows.ts';
import { outputRows, realRows } from '../../layer-inputs/output-rows.ts';
import type { WeightTarget } from '../../layer-inputs/weight-targets.ts';
import type { SteppedRun } from '../../stepped-run.ts';
import type { SimulatedLayer } from './simulation.ts';

/** Rows that a layer is learned on, about, and the numbers they may hold: 128 MB. */
const ROWS = 2 ** 15;
const NUMBERS = 2 ** 25;

/** The two models that run side by side, layer after layer. */
export interface SideBySide {
  readonly quantized: SteppedRun;
  readonly float: SteppedRun;
  /** Index of the float model's node that makes a value. */
  readonly placeOf: (output: string) => number;
  readonly samples: number;
  readonly seed: number;
}

/** A batch of rows of one layer: its rounded inputs, by group, and the outputs it should give. */
export interface LayerRows {
  readonly inputs: readonly InputRows[];
  /** [rows, output channels] of the float model on its own inputs; empty where nobody asked for them. */
  readonly outputs: Float32Array;
}

/**
 * Runs the quantized model up to a layer and stands before it afterwards; the float one, too, where its outputs are asked for.
 */
export async function* layerRows(
  { node, index, output }: SimulatedLayer,
  { layout, dims }: WeightTarget,
  run: SideBySide,
  withOutputs: boolean,
): AsyncGenerator<LayerRows> {
  const input = node.inputs[0] ?? '';
  const numbers = layout.groups * layout.inputs * layout.kernel * Math.max(1, run.samples);
  const perSample = Math.max(1, Math.min(Math.ceil(ROWS / Math.max(1, run.samples)), Math.floor(NUMBERS / numbers)));
  const wanted = withOutputs ? run.float.advance(run.placeOf(output), [output]) : undefined;
  for await (const { values, count, firstSample } of run.quantized.advance(index, [input])) {
    const target = wanted === undefined ? undefined : await nextOf(wanted, output);
    const sampling = { perSample, seed: run.seed, firstSample };
    const place = { input: defined(values.get(input), input), layout, kernelShape: dims.slice(2) };
    const inputs = Array.from({ length: layout.groups }, (_, group) =>
      realRows(inputRows(node, place, group, sampling), place.input, count),
    );
    yield { inputs, outputs: target === undefined ? NO_OUTPUTS : outputRows(node, target, sampling).data };
  }
  await wanted?.next();
}

const NO_OUTPUTS = new Float32Array(0);

/**
 * How far the mean of each output channel lies from that of the float model, over all calibration data and places.
 *
 * @returns E[quantized] - E[float], and the largest magnitude the float model gives
 */
export async function meanShift(
  { node, index, output }: SimulatedLayer,
  channels: number,
  run: SideBySide,
): Promise<{ readonly shift: Float64Array; readonly largest: number }> {
  const made = node.outputs[0] ?? '';
  const axis = node.opType === 'Conv' ? 1 : -1;
  const shift = new Float64Array(channels);
  let [count, largest] = [0, 0];
  const wanted = run.float.advance(run.placeOf(output), [output]);
  for await (const { values } of run.quantized.advance(index, [made])) {
    const float = await nextOf(wanted, output);
    const quantized = defined(values.get(made), made);
    const at = axis < 0 ? float.dims.length + axis : axis;
    const inner = float.dims.slice(at + 1).reduce((product, dim) => product * dim, 1);
    const [a, b] = [quantized.data as Float32Array, float.data as Float32Array];
    for (let i = 0; i < b.length; i += 1) {
      const channel = Math.floor(i / inner) % channels;
      const value = b[i] ?? 0;
      shift[channel] = (shift[channel] ?? 0) + (a[i] ?? 0) - value;
      if (value > largest) largest = value;
      else if (-value > largest) largest = -value;
    }
    count += b.length / channels;
  }
  await wanted.next();
  return { shift: shift.map((sum) => sum / count), largest };
}

async function nextOf(
  generator: AsyncGenerator<{ readonly values: ReadonlyMap<string, NdArray> }>,
  name: string,
): Promise<NdArray> {
  const next = await generator.next();
  if (next.done === true) throw new CompressionError('INTERNAL', 'two passes over the same data differ');
  return defined(next.value.values.get(name), name);
}
