import { CompressionError } from '../errors.ts';
import { isFloatType, type DataType } from '../onnx/data-type.ts';
import type { Shape, ValueInfo } from '../onnx/value-type.ts';
import { canConvert } from './convert-array.ts';
import type { DatasetInfo, ImageRequest } from './dataset.ts';
import { pixelTables, type ImageLayout, type ImagePlan, type Preprocess } from './image-transform.ts';
import type { NumericType } from './npy-header.ts';

/** An array as the plan sees it; sizes of encoded images are null until they are decoded. */
export interface SourceArray {
  readonly name: string;
  readonly type: DataType;
  readonly shape: readonly (number | null)[];
}

/** How one model input is fed. */
export interface InputPlan {
  readonly input: string;
  readonly array: string;
  readonly type: NumericType;
  readonly shape: Shape | undefined;
  /** The input has no batch axis: one sample at a time, without the sample axis. */
  readonly wholeSample: boolean;
  readonly image: ImagePlan | undefined;
}

export const IDENTITY: Preprocess = { scale: 1, mean: 0, std: 1, layout: 'nchw', channelOrder: 'rgb', resize: null };

/** The arrays of a data set, with the one that is decoded from images. */
export function sourceArrays(info: DatasetInfo): SourceArray[] {
  const arrays: SourceArray[] = [...(info.arrays ?? [])];
  if (info.images !== undefined) {
    arrays.push({ name: info.images, type: 'uint8', shape: [info.samples, null, null, null] });
  }
  if (info.kind === 'zip-images' || info.kind === 'tar-images') {
    arrays.push({ name: 'labels', type: 'int64', shape: [info.samples] });
  }
  return arrays;
}

export const shapeText = (shape: readonly (number | string | null)[]): string =>
  `[${shape.map((dim) => dim ?? '?').join(', ')}]`;

/**
 * How the array feeds the input.
 * @throws CompressionError DATASET_SHAPE, with both types and shapes, when it cannot
 */
export function planInput(
  input: ValueInfo,
  array: SourceArray,
  preprocess: Preprocess | undefined,
  encoded: boolean,
): InputPlan {
  const value = input.type;
  if (value?.kind !== 'tensor' || value.elementType === 'string') {
    throw new CompressionError(
      'DATASET_SHAPE',
      `Model input ${input.name} is not a tensor of numbers; no data set can feed it`,
    );
  }
  const base = { input: input.name, array: array.name, type: value.elementType, shape: value.shape };
  const refuse = (hint: string): CompressionError =>
    new CompressionError(
      'DATASET_SHAPE',
      `Array ${array.name} is ${array.type} ${shapeText(array.shape)}, model input ${input.name} takes ${value.elementType} ${
        value.shape === undefined ? 'of any shape' : shapeText(value.shape)
      }: ${hint}`,
    );
  if (isImage(array, value, preprocess, encoded)) {
    const planned = planImage(array, value, preprocess, refuse);
    if (planned !== undefined) return { ...base, ...planned };
  }
  if (!canConvert(array.type, value.elementType)) throw refuse('the types do not fit; convert the array');
  const wholeSample = value.shape?.length === array.shape.length - 1;
  const needed = wholeSample ? value.shape : value.shape?.slice(1);
  const given = array.shape.slice(1);
  if (value.shape !== undefined && !wholeSample && value.shape.length !== array.shape.length) {
    throw refuse('the ranks differ; the first axis of the array is the sample');
  }
  if (needed !== undefined && !needed.every((dim, axis) => fits(dim, given[axis] ?? null))) {
    throw refuse('the sizes differ');
  }
  return { ...base, wholeSample, image: undefined };
}

type TensorType = Extract<NonNullable<ValueInfo['type']>, { kind: 'tensor' }>;

/** Pixels feed float inputs (or uint8 ones); what else is uint8 is just numbers, unless preprocessing is asked for. */
function isImage(array: SourceArray, value: TensorType, preprocess: Preprocess | undefined, encoded: boolean): boolean {
  if (array.type !== 'uint8' || !(isFloatType(value.elementType) || value.elementType === 'uint8')) return false;
  const rank = array.shape.length;
  if (encoded || (preprocess !== undefined && rank > 1)) return true;
  return (rank === 3 || rank === 4) && (value.shape === undefined || value.shape.length === 4);
}

/** Undefined: not an image after all, and nothing was asked of it that only images can have. */
function planImage(
  array: SourceArray,
  value: TensorType,
  preprocess: Preprocess | undefined,
  refuse: (hint: string) => CompressionError,
): Pick<InputPlan, 'image' | 'wholeSample'> | undefined {
  const type = value.elementType;
  if (type === 'string') return undefined;
  const steps = preprocess ?? IDENTITY;
  if (type === 'uint8' && !isIdentity(steps)) {
    throw refuse('the model takes pixels; leave scale, mean and std of preprocess out');
  }
  const rank = array.shape.length;
  if (rank < 4 && value.shape?.length === rank) return planPlain(array, value.shape, steps, { type, refuse });
  const wholeSample = value.shape?.length === 3 && rank === 4;
  const shape = wholeSample ? [null, ...(value.shape ?? [])] : value.shape;
  const rankFits = (rank === 3 || rank === 4) && (shape === undefined || shape.length === 4);
  const layouts: readonly ('nchw' | 'nhwc')[] = preprocess === undefined ? ['nchw', 'nhwc'] : [preprocess.layout];
  for (const target of rankFits ? layouts : []) {
    const found = matchLayouts(array, shape, target, steps);
    if (found === undefined) continue;
    const { source, channels } = found;
    const image: ImagePlan = {
      source,
      target,
      channels,
      type,
      reverseChannels: steps.channelOrder === 'bgr' && channels === 3,
      resize: steps.resize ?? undefined,
      tables: pixelTables(steps, channels, type),
    };
    return { image, wholeSample };
  }
  if (preprocess === undefined) return undefined;
  throw refuse(
    `no reading of the array as images gives the input in layout ${preprocess.layout}; set preprocess.layout or preprocess.resize`,
  );
}

/** Pixels without a channel axis on either side, [N, K] or [N, H, W]: one scale, mean and std for all. */
function planPlain(
  array: SourceArray,
  shape: Shape,
  steps: Preprocess,
  { type, refuse }: { readonly type: NumericType; readonly refuse: (hint: string) => CompressionError },
): Pick<InputPlan, 'image' | 'wholeSample'> | undefined {
  if (isIdentity(steps) && steps.resize === null) return undefined;
  if (steps.resize !== null) throw refuse('images without a channel axis in the model input cannot be resized');
  if (!shape.slice(1).every((dim, axis) => fits(dim, array.shape[axis + 1] ?? null))) throw refuse('the sizes differ');
  const image: ImagePlan = {
    source: 'nhw',
    target: 'same',
    channels: 1,
    type,
    reverseChannels: false,
    resize: undefined,
    tables: pixelTables(steps, 1, type),
  };
  return { image, wholeSample: false };
}

function isIdentity({ scale, mean, std }: Preprocess): boolean {
  return scale === 1 && [mean].flat().every((value) => value === 0) && [std].flat().every((value) => value === 1);
}

/** Which axis of the array is which. The model's own layout is preferred where both would do. */
function matchLayouts(
  array: SourceArray,
  shape: Shape | undefined,
  target: 'nchw' | 'nhwc',
  steps: Preprocess,
): { readonly source: ImageLayout; readonly channels: number } | undefined {
  const [, a = null, b = null, c = null] = array.shape;
  const [, d1 = null, d2 = null, d3 = null] = shape ?? [];
  const [channels, height, width] = target === 'nchw' ? [d1, d2, d3] : [d3, d1, d2];
  const other = target === 'nchw' ? 'nhwc' : 'nchw';
  const sources: readonly ImageLayout[] = array.shape.length === 3 ? ['nhw'] : [target, other];
  for (const source of sources) {
    const [arrayChannels, arrayHeight, arrayWidth] =
      source === 'nchw' ? [a, b, c] : source === 'nhwc' ? [c, a, b] : [1, a, b];
    const sized = steps.resize;
    if (!fits(height, sized?.height ?? arrayHeight) || !fits(width, sized?.width ?? arrayWidth)) continue;
    if (arrayChannels === null) {
      // Encoded images are decoded to what the model takes.
      const wanted = typeof channels === 'number' ? channels : meanChannels(steps);
      if (wanted === 1 || wanted === 3) return { source: 'nhwc', channels: wanted };
      continue;
    }
    const plausible = typeof channels === 'number' ? channels === arrayChannels : [1, 3, 4].includes(arrayChannels);
    if (plausible) return { source, channels: arrayChannels };
  }
  return undefined;
}

function meanChannels({ mean, std }: Preprocess): number {
  return Math.max([mean].flat().length, [std].flat().length) === 1 ? 3 : [mean].flat().length;
}

/** A symbolic or unknown size takes any; an unknown size of the array is judged when it is known. */
export function fits(wanted: number | string | null, given: number | null): boolean {
  return typeof wanted !== 'number' || given === null || wanted === given;
}

/** What to decode encoded images to, by the input they feed. */
export function imageRequest(plans: readonly InputPlan[], encoded: string | undefined): ImageRequest | undefined {
  const plan = plans.find(({ array }) => array === encoded)?.image;
  if (plan === undefined) return undefined;
  const channels = plan.channels === 1 ? 1 : 3;
  return plan.resize === undefined ? { channels } : { channels, resize: plan.resize };
}
