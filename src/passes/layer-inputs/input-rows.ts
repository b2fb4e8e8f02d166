import type { NdArray } from '../../onnx/nd-array.ts';
import type { Node } from '../../onnx/node.ts';
import { keyedRandom } from '../../data/training/keyed-random.ts';
import type { MatrixLayout } from './weight-targets.ts';

/** Rows that a layer multiplies with its weights: [count, columns], column k * inputs + i for input channel i at place k of the kernel. */
export interface InputRows {
  readonly count: number;
  readonly columns: number;
  readonly data: Float32Array;
}

export interface RowSampling {
  /** Rows a sample at most: drawn one from each of so many equal stretches of the places there are. */
  readonly perSample: number;
  readonly seed: number;
  /** Number of the batch's first sample. */
  readonly firstSample: number;
}

/** Why a node's input cannot be written as rows; undefined where it can. */
export function rowsObstacle(node: Node): string | undefined {
  if (node.opType === 'ConvTranspose') return 'scores from layer inputs do not cover ConvTranspose';
  if (node.opType === 'Gemm' && node.int('transA', 0) === 1) return 'it reads its input transposed';
  if (node.opType !== 'Conv') return undefined;
  const rank = node.ints('kernel_shape')?.length ?? 2;
  return rank > 2 ? `scores from layer inputs cover one or two spatial axes, not ${rank}` : undefined;
}

/** Input rows of one group of a layer, sampled. The same input, seed and sample numbers give the same rows. */
export function inputRows(
  node: Node,
  {
    input,
    layout,
    kernelShape,
  }: { readonly input: NdArray; readonly layout: MatrixLayout; readonly kernelShape: readonly number[] },
  group: number,
  sampling: RowSampling,
): InputRows {
  const values = input.data instanceof Float32Array ? input.data : new Float32Array(0);
  return node.opType === 'Conv'
    ? unfolded(values, { dims: input.dims, layout, window: windowOf(node, input.dims, kernelShape) }, group, sampling)
    : matrixRows(values, input.dims, sampling);
}

/** [samples, ..., columns]: every row, or a sample of each sample's. */
function matrixRows(values: Float32Array, dims: readonly number[], sampling: RowSampling): InputRows {
  const columns = dims.at(-1) ?? 1;
  const rows = values.length / columns;
  const samples = dims.length > 1 ? (dims[0] ?? 1) : 1;
  const each = rows / samples;
  if (each <= sampling.perSample) return { count: rows, columns, data: values };
  const data = new Float32Array(samples * sampling.perSample * columns);
  let at = 0;
  for (let sample = 0; sample < samples; sample += 1) {
    for (const place of places(each, sampling, sample)) {
      const from = (sample * each + place) * columns;
      data.set(values.subarray(from, from + columns), at);
      at += columns;
    }
  }
  return { count: at / columns, columns, data };
}

interface Window {
  readonly height: number;
  readonly width: number;
  readonly outputHeight: number;
  readonly outputWidth: number;
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  /** Rows above and columns to the left. */
  readonly pads: readonly [number, number];
}

/** Two axes; one spatial axis is a height of 1. */
function windowOf(node: Node, dims: readonly number[], kernelShape: readonly number[]): Window {
  const two = (values: readonly number[], one: number): readonly [number, number] =>
    values.length >= 2 ? [values[0] ?? one, values[1] ?? one] : [one, values[0] ?? one];
  const spatial = dims.slice(2);
  const rank = spatial.length;
  const fill = (value: number): number[] => spatial.map(() => value);
  const [height, width] = two(spatial, 1);
  const kernel = two(kernelShape, 1);
  const strides = two(node.ints('strides') ?? fill(1), 1);
  const dilations = two(node.ints('dilations') ?? fill(1), 1);
  const auto = node.string('auto_pad', 'NOTSET');
  const given = node.ints('pads') ?? [...fill(0), ...fill(0)];
  const before = two(given.slice(0, rank), 0);
  const after = two(given.slice(rank), 0);
  const along = (axis: 0 | 1): { output: number; pad: number } => {
    const size = axis === 0 ? height : width;
    const span = dilations[axis] * (kernel[axis] - 1) + 1;
    if (auto === 'SAME_UPPER' || auto === 'SAME_LOWER') {
      const output = Math.ceil(size / strides[axis]);
      const total = Math.max(0, (output - 1) * strides[axis] + span - size);
      return { output, pad: auto === 'SAME_UPPER' ? Math.floor(total / 2) : Math.ceil(total / 2) };
    }
    const pads = auto === 'VALID' ? [0, 0] : [before[axis], after[axis]];
    const output = Math.floor((size + (pads[0] ?? 0) + (pads[1] ?? 0) - span) / strides[axis]) + 1;
    return { output, pad: pads[0] ?? 0 };
  };
  const [down, across] = [along(0), along(1)];
  return {
    height,
    width,
    outputHeight: down.output,
    outputWidth: across.output,
    kernel,
    strides,
    dilations,
    pads: [down.pad, across.pad],
  };
}

function unfolded(
  values: Float32Array,
  {
    dims,
    layout,
    window,
  }: { readonly dims: readonly number[]; readonly layout: MatrixLayout; readonly window: Window },
  group: number,
  sampling: RowSampling,
): InputRows {
  const [samples = 1, channels = 1] = dims;
  const { inputs } = layout;
  const { height, width, outputHeight, outputWidth, kernel, strides, dilations, pads } = window;
  const columns = inputs * kernel[0] * kernel[1];
  const each = outputHeight * outputWidth;
  const perSample = Math.min(each, sampling.perSample);
  const data = new Float32Array(samples * perSample * columns);
  let at = 0;
  for (let sample = 0; sample < samples; sample += 1) {
    for (const place of places(each, sampling, sample)) {
      const top = Math.floor(place / outputWidth) * strides[0] - pads[0];
      const left = (place % outputWidth) * strides[1] - pads[1];
      for (let ky = 0; ky < kernel[0]; ky += 1) {
        const y = top + ky * dilations[0];
        for (let kx = 0; kx < kernel[1]; kx += 1) {
          const x = left + kx * dilations[1];
          if (y >= 0 && y < height && x >= 0 && x < width) {
            const first = ((sample * channels + group * inputs) * height + y) * width + x;
            for (let i = 0; i < inputs; i += 1) data[at + i] = values[first + i * height * width] ?? 0;
          }
          at += inputs;
        }
      }
    }
  }
  return { count: samples * perSample, columns, data };
}

/** All places, or one drawn from each of `perSample` equal stretches. */
function* places(total: number, { perSample, seed, firstSample }: RowSampling, sample: number): Generator<number> {
  if (total <= perSample) {
    for (let place = 0; place < total; place += 1) yield place;
    return;
  }
  const random = keyedRandom(seed, firstSample + sample);
  for (let stretch = 0; stretch < perSample; stretch += 1) {
    yield Math.min(total - 1, Math.floor(((stretch + random.uniform()) * total) / perSample));
  }
}
