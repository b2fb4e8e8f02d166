import type { ConvShape } from './convolution-cost.ts';
import type { GradientBuilder } from './gradient-builder.ts';
import { at } from './window.ts';

/**
 * Unit strides, one or two spatial axes: all taps from one product. dW[m,c,i,j] is the inner product of dY[m] and of X[c]
 * shifted by i rows and j columns. The row shift is given to X and the column shift to dY, so that kh copies of X times kw
 * copies of dY hold all kh kw pairs: [kw M, L] · [kh C, L]ᵀ, one well-shaped product a sample instead of kh kw narrow ones.
 *
 * Planes are flat, so that a shift is a run of zeros before the plane; the columns of dY that a shift would pair with a
 * neighbouring row of X are masked out. All copies are made by Concat, which ONNX Runtime runs on all threads; its Slice and
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

/** Copies of a plane in one flat run of zeros: `offsets[k]` is where copy k starts within its own `length` places. */
interface Shifts {
  readonly batch: number;
  readonly channels: number;
  readonly size: Pair;
  /** Places from a row to the next. */
  readonly pitch: number;
  readonly offsets: readonly number[];
  readonly length: number;
  /** For each copy the columns [first, end) that count. */
  readonly columns: readonly Pair[];
}

/**
 * X starts at U - i dh P for row tap i and dY at V + j dw for column tap j, P the pitch. Their places then differ by
 * V - U + i dh P + j dw, which has to be (i dh - ph) P + j dw - pw: V = U - ph P - pw.
 */
function planOf(conv: ConvShape): { readonly kernel: Pair; readonly length: number; x: Shifts; dY: Shifts } {
  const { kernel, dilation, pad, input, output } = planar(conv);
  const pitch = Math.max(input[1], output[1]);
  const xStart = Math.max((kernel[0] - 1) * dilation[0] * pitch, pad[0] * pitch + pad[1]);
  const dYStart = xStart - pad[0] * pitch - pad[1];
  const lastColumn = (kernel[1] - 1) * dilation[1];
  const length = Math.max(xStart + input[0] * pitch, dYStart + lastColumn + output[0] * pitch);
  const taps = (count: number): number[] => Array.from({ length: count }, (_, tap) => tap);
  const common = { batch: conv.batch, pitch, length };
  const x = {
    size: input,
    offsets: taps(kernel[0]).map((tap) => xStart - tap * dilation[0] * pitch),
    columns: taps(kernel[0]).map((): Pair => [0, input[1]]),
  };
  const dY = {
    size: output,
    offsets: taps(kernel[1]).map((tap) => dYStart + tap * dilation[1]),
    columns: taps(kernel[1]).map((tap): Pair => {
      const shift = tap * dilation[1] - pad[1];
      return [Math.max(0, -shift), Math.min(output[1], input[1] - shift)];
    }),
  };
  return {
    kernel,
    length,
    x: { ...common, ...x, channels: conv.channels },
    dY: { ...common, ...dY, channels: conv.maps },
  };
}

/** [N, C, ..] -> [N, C, copies L]. */
function shifted(b: GradientBuilder, value: string, shifts: Shifts): string {
  const { batch, channels, size, pitch, offsets, length, columns } = shifts;
  const zeros = (count: number): string[] => (count === 0 ? [] : [b.zeroBlock([batch, channels, count], value)]);
  const plane = b.reshape(value, [batch, channels, ...size]);
  const flat = columns.map((range) => {
    const masked = maskColumns(b, plane, size, range);
    const pitched = b.pad(masked, [0, 0, 0, 0], [0, 0, 0, pitch - size[1]]);
    return b.reshape(pitched, [batch, channels, size[0] * pitch]);
  });
  const pieces: string[] = [];
  let filled = 0;
  for (const [copy, offset] of offsets.entries()) {
    const start = copy * length + offset;
    pieces.push(...zeros(start - filled), flat[copy] ?? '');
    filled = start + size[0] * pitch;
  }
  pieces.push(...zeros(offsets.length * length - filled));
  return b.op('Concat', pieces, { axis: 2 });
}

/** Zeros in the columns outside of [first, end). */
function maskColumns(b: GradientBuilder, plane: string, [rows, width]: Pair, [first, end]: Pair): string {
  if (first === 0 && end === width) return plane;
  const mask = Array.from({ length: rows * width }, (_, place) =>
    place % width >= first && place % width < end ? 1 : 0,
  );
  return b.mul(plane, b.constant(mask, [1, 1, rows, width], plane));
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
