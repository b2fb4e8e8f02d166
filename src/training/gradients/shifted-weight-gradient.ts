import { elementCount } from '../../onnx/nd-array.ts';
import type { ConvShape } from './convolution-cost.ts';
import type { GradientBuilder } from './gradient-builder.ts';
import { at } from './window.ts';

/**
 * Unit strides, one or two spatial axes: all taps from one product. dW[m,c,i,j] is the inner product of dY[m] and of X[c]
 * shifted by i rows and j columns. The row shift is given to X and the column shift to dY, so that kh copies of X times kw
 * copies of dY hold all kh kw pairs: [kw M, L] · [kh C, L]ᵀ, one well-shaped product a sample instead of kh kw narrow ones.
 *
 * Planes are flat, with rows apart by a pitch that holds zeros enough for a shift not to run into the next row; a shift is
 * then a run of zeros before the plane. All copies are made by Concat, which ONNX Runtime runs on all threads; its Slice and
 * Pad run on one. Measured on AVX-512, two threads, next to a slice per tap, ms: 128x16x16x32 k3 9.5 -> 4.7,
 * 128x32x32x16 7.5 -> 4.2, 128x64x64x8 7.1 -> 5.0, 16x64x64x56 22 -> 12, 16x128x128x28 14.6 -> 12.0.
 */
export function shiftedWeightGradient(b: GradientBuilder, conv: ConvShape, X: string, dY: string): string {
  const plan = planOf(conv);
  const { batch, channels, maps, group } = conv;
  const [kh, kw] = plan.kernel;
  const lead = group === 1 ? [batch] : [batch, group];
  const rows = b.reshape(shifted(b, X, plan.x), [...lead, (channels / group) * kh, plan.length]);
  const columns = b.reshape(shifted(b, dY, plan.dY), [...lead, (maps / group) * kw, plan.length]);
  const sum = b.sum(b.matMul(columns, rows, { b: true }), [0], 0);
  const parts = b.reshape(sum, [group, maps / group, kw, channels / group, kh]);
  const ordered = b.transpose(parts, [0, 1, 3, 4, 2]);
  return b.reshape(ordered, [maps, channels / group, ...conv.kernel]);
}

/**
 * As above for many channels on small planes, one group: samples and places share the axis that products sum over, and one
 * product a tap of already square matrices is enough. Rows and columns that a shift moves in are zeros.
 */
export function joinedShiftedWeightGradient(b: GradientBuilder, conv: ConvShape, X: string, dY: string): string {
  const { batch, channels, maps } = conv;
  const { kernel, dilation, pad, input, output } = planar(conv);
  const [kh, kw] = kernel;
  const places = batch * output[0] * input[1];
  const planes = b.transpose(b.reshape(X, [batch, channels, ...input]), [1, 0, 2, 3]);
  const gradients = b.transpose(b.reshape(dY, [batch, maps, ...output]), [1, 0, 2, 3]);
  const byRow = Array.from({ length: kh }, (_, tap) => {
    const before = pad[0] - tap * dilation[0];
    const moved = b.pad(planes, [0, 0, before, 0], [0, 0, output[0] - input[0] - before, 0]);
    return b.reshape(moved, [channels, places]);
  });
  const byColumn = Array.from({ length: kw }, (_, tap) => {
    const before = tap * dilation[1] - pad[1];
    const moved = b.pad(gradients, [0, 0, 0, before], [0, 0, 0, input[1] - output[1] - before]);
    return b.reshape(moved, [maps, places]);
  });
  const taps = byRow.flatMap((row) =>
    byColumn.map((column) => b.reshape(b.matMul(column, row, { b: true }), [maps, channels, 1])),
  );
  return b.reshape(b.op('Concat', taps, { axis: 2 }), [maps, channels, ...conv.kernel]);
}

type Pair = readonly [number, number];

/** Copies of a plane in one flat run: `offsets[k]` is where copy k starts within its own `length` places. */
interface Shifts {
  readonly channels: number;
  readonly batch: number;
  readonly size: Pair;
  readonly pitch: number;
  readonly offsets: readonly number[];
  readonly length: number;
}

/**
 * X starts at U - i dh P for row tap i and dY at V + j dw for column tap j, P the pitch. Their places then differ by
 * V - U + i dh P + j dw, which has to be (i dh - ph) P + j dw - pw: V = U - ph P - pw.
 */
function planOf(conv: ConvShape): { readonly kernel: Pair; readonly length: number; x: Shifts; dY: Shifts } {
  const { kernel, dilation, pad, input, output } = planar(conv);
  const reach = output[1] - 1 + (kernel[1] - 1) * dilation[1] - pad[1] - (input[1] - 1);
  const pitch = Math.max(input[1] + Math.max(pad[1], reach, 0), output[1]);
  const lastRow = (kernel[0] - 1) * dilation[0] * pitch;
  const xStart = Math.max(lastRow, pad[0] * pitch + pad[1]);
  const dYStart = xStart - pad[0] * pitch - pad[1];
  const lastColumn = (kernel[1] - 1) * dilation[1];
  const length = Math.max(xStart + input[0] * pitch, dYStart + lastColumn + output[0] * pitch);
  const offsets = (count: number, start: number, step: number): number[] =>
    Array.from({ length: count }, (_, tap) => start + tap * step);
  const common = { batch: conv.batch, pitch, length };
  return {
    kernel,
    length,
    x: { ...common, channels: conv.channels, size: input, offsets: offsets(kernel[0], xStart, -dilation[0] * pitch) },
    dY: { ...common, channels: conv.maps, size: output, offsets: offsets(kernel[1], dYStart, dilation[1]) },
  };
}

/** [N, C, ..] -> [N, C, copies L]. */
function shifted(b: GradientBuilder, value: string, shifts: Shifts): string {
  const { batch, channels, size, pitch, offsets, length } = shifts;
  const zeros = (...dims: number[]): string[] => (elementCount(dims) === 0 ? [] : [b.zeroBlock(dims, value)]);
  const plane = b.reshape(value, [batch, channels, ...size]);
  const gap = zeros(batch, channels, size[0], pitch - size[1]);
  const pitched = gap.length === 0 ? plane : b.op('Concat', [plane, ...gap], { axis: 3 });
  const flat = b.reshape(pitched, [batch, channels, size[0] * pitch]);
  const pieces: string[] = [];
  let filled = 0;
  for (const [copy, offset] of offsets.entries()) {
    const start = copy * length + offset;
    pieces.push(...zeros(batch, channels, start - filled), flat);
    filled = start + size[0] * pitch;
  }
  pieces.push(...zeros(batch, channels, offsets.length * length - filled));
  return b.op('Concat', pieces, { axis: 2 });
}

/** The convolution as one over planes: a single spatial axis becomes the columns of one row. */
function planar(conv: ConvShape): {
  readonly kernel: Pair;
  readonly dilation: Pair;
  readonly pad: Pair;
  readonly input: Pair;
  readonly output: Pair;
} {
  const pair = (list: readonly number[], missing: number): Pair =>
    list.length === 1 ? [missing, at(list, 0)] : [at(list, 0), at(list, 1)];
  return {
    kernel: pair(conv.kernel, 1),
    dilation: pair(conv.dilations, 1),
    pad: pair(conv.padsBefore, 0),
    input: pair(conv.input, 1),
    output: pair(conv.output, 1),
  };
}
