import { dataTypeOfCode } from '../data-type.ts';
import type { Dimension } from '../value-type.ts';
import { InferenceConflict, showShape, tensor, unknownDims, type InferRule } from './rule.ts';

/** DFT: the length along `axis` is `dft_length`, halved where one-sided; the last size is 2 (1 for a real inverse). */
export const dft: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  if (data === undefined) return [tensor(type, undefined)];
  const given = context.opset < 20 ? context.node.int('axis', 1) : context.has(2) ? context.values(2)?.[0] : -2;
  if (typeof given !== 'number') return [tensor(type, unknownDims(data.length))];
  const axis = context.axis(given, data.length);
  const length = context.has(1) ? (context.values(1)?.[0] ?? null) : (data[axis] ?? null);
  const isOneSided = context.node.int('onesided', 0) !== 0;
  const isInverse = context.node.int('inverse', 0) !== 0;
  const shape = [...data];
  if (isOneSided && isInverse) {
    const full = context.symbols.multiply(context.symbols.subtract(data[axis] ?? null, 1), 2);
    shape[axis] = context.has(1) ? length : full;
    shape[data.length - 1] = 1;
  } else {
    shape[axis] = isOneSided ? context.symbols.add(context.symbols.floorDivide(length, 2), 1) : length;
    shape[data.length - 1] = 2;
  }
  return [tensor(type, shape)];
};

/** STFT: [batch, samples, 1 or 2] -> [batch, frames, bins, 2]. */
export const stft: InferRule = (context) => {
  const { symbols } = context;
  const data = context.shape(0);
  const step = context.values(1)?.[0] ?? null;
  const frame = context.has(3) ? (context.values(3)?.[0] ?? null) : (context.shape(2)?.[0] ?? null);
  const bins = context.node.int('onesided', 1) === 0 ? frame : symbols.add(symbols.floorDivide(frame, 2), 1);
  const span = symbols.subtract(data?.[1] ?? null, frame);
  const frames = typeof step === 'number' ? symbols.add(symbols.floorDivide(span, step), 1) : null;
  return [tensor(context.elementType(0), [data?.[0] ?? null, frames, bins, 2])];
};

/** MelWeightMatrix: [floor(dft_length / 2) + 1, num_mel_bins]. */
export const melWeightMatrix: InferRule = (context) => {
  const { symbols } = context;
  const bins = symbols.add(symbols.floorDivide(context.values(1)?.[0] ?? null, 2), 1);
  const type = dataTypeOfCode(context.node.int('output_datatype', 1));
  return [tensor(type, [bins, context.values(0)?.[0] ?? null])];
};

/** Col2Im: [N, C * block pixels, blocks] -> [N, C, image sizes]. */
export const col2Im: InferRule = (context) => {
  const data = context.shape(0);
  const image = context.values(1);
  const block = context.values(2);
  const type = context.elementType(0);
  if (image === undefined) return [tensor(type, undefined)];
  const channels =
    block === undefined ? null : context.symbols.divideExactly(data?.[1] ?? null, context.symbols.product(block));
  if (channels === undefined)
    throw new InferenceConflict(`${showShape(data)} does not divide into blocks ${showShape(block)}`);
  return [tensor(type, [data?.[0] ?? null, channels, ...image])];
};

/** CenterCropPad: the sizes along `axes` become those of the second input. */
export const centerCropPad: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  if (data === undefined) return [tensor(type, undefined)];
  const axes = (context.node.ints('axes') ?? [...data.keys()]).map((axis) => context.axis(axis, data.length));
  const wanted = context.values(1);
  const shape: Dimension[] = [...data];
  for (const [at, axis] of axes.entries()) shape[axis] = wanted?.[at] ?? null;
  return [tensor(type, shape)];
};

/** AffineGrid: theta and size [N, C, spatial...] -> [N, spatial..., 2 or 3]. */
export const affineGrid: InferRule = (context) => {
  const size = context.values(1);
  const type = context.elementType(0);
  if (size === undefined) return [tensor(type, undefined)];
  return [tensor(type, [size[0] ?? null, ...size.slice(2), size.length - 2])];
};

/** TfIdfVectorizer: the last axis becomes the n-gram output. */
export const tfIdfVectorizer: InferRule = (context) => {
  const data = context.shape(0);
  const indices = context.node.ints('ngram_indexes');
  const width = indices === undefined ? null : indices.reduce((a, b) => Math.max(a, b), -1) + 1;
  return [tensor('float', data === undefined ? undefined : [...data.slice(0, -1), width])];
};
