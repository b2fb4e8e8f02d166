import { CompressionError } from '../../errors.ts';
import type { Dimension, ValueInfo } from '../../onnx/value-type.ts';
import { bindFeeds, type BindRole, type BoundFeeds } from '../bind-feeds.ts';
import type { Dataset, ImageRequest, ImageSize } from '../dataset.ts';
import { IDENTITY, imageRequest, planInput, sourceArrays, type InputPlan } from '../feed-plan.ts';
import type { ImagePlan } from '../image-transform.ts';

/** How one model input is kept in memory and fed. */
export interface ColumnPlan {
  readonly input: InputPlan;
  /** How the array becomes planar 8-bit pixels when it is read; undefined when it is so already, or holds no pixels. */
  readonly load: ImagePlan | undefined;
  /** How planar pixels become the input; undefined for arrays that are no images. */
  readonly finish: ImagePlan | undefined;
  /** Size of the images that are fed, where it differs from the size that is read (random-resized-crop). */
  readonly outputSize: { readonly height: number; readonly width: number } | undefined;
}

export interface BoundColumns {
  readonly columns: readonly ColumnPlan[];
  readonly labels: NonNullable<BoundFeeds['labels']> | undefined;
  /** First sample; `samples` of them are used. */
  readonly from: number;
  readonly samples: number;
  /** Arrays that are read. */
  readonly names: readonly string[];
  readonly images: ImageRequest | undefined;
  readonly warnings: readonly string[];
}

/** An augmentation that makes images of the model's size out of larger ones. */
export interface ResizingRequest {
  /** Size at which encoded images are decoded; arrays keep their own. */
  readonly source: { readonly height: number; readonly width: number } | undefined;
}

const PIXELS = Uint8Array.from({ length: 256 }, (_, pixel) => pixel);

/**
 * Chooses arrays for the inputs and settles how each is read and fed; the rules are those of `bindFeeds`, except that
 * the first axis of an input is the batch, whatever size the model gives it.
 * @param resizing - the role's images are larger than the model's input: an augmentation cuts them
 * @throws CompressionError DATASET_SHAPE, DATASET_LABELS, DATASET_EMPTY
 */
export function bindColumns(
  dataset: Dataset,
  role: BindRole,
  modelInputs: readonly ValueInfo[],
  resizing: ResizingRequest | undefined,
): BoundColumns {
  const inputs = modelInputs.map(withFreeBatch);
  const fitting = resizing === undefined ? role : resizedRole(role, inputs);
  const bound = bindFeeds(dataset, fitting, inputs);
  const arrays = new Map(sourceArrays(dataset.info).map((array) => [array.name, array]));
  const columns = inputs.map((input) => {
    const array = arrays.get(bound.arrays.get(input.name) ?? '');
    if (array === undefined) throw new CompressionError('INTERNAL', `no array was chosen for ${input.name}`);
    const encoded = array.name === dataset.info.images;
    const plan = planInput(input, array, fitting.preprocess, encoded);
    if (plan.wholeSample) {
      throw new CompressionError(
        'DATASET_SHAPE',
        `Model input ${input.name} has no batch axis: array ${array.name} gives it one sample at a time, training needs batches; export the model with a batch axis first`,
      );
    }
    return columnPlan(plan, { encoded, resizing: resizing !== undefined });
  });
  const plans = columns.map(({ input }) => input);
  const images = imageRequest(plans, dataset.info.images);
  return {
    columns,
    labels: bound.labels,
    from: role.range?.[0] ?? 0,
    samples: bound.samples,
    names: [...new Set([...bound.arrays.values(), ...(bound.labels === undefined ? [] : [bound.labels.array])])],
    images: images === undefined || resizing === undefined ? images : sourceRequest(images, role, resizing),
    warnings: bound.warnings,
  };
}

function withFreeBatch(input: ValueInfo): ValueInfo {
  if (input.type?.kind !== 'tensor' || input.type.shape === undefined || input.type.shape.length === 0) return input;
  return { ...input, type: { ...input.type, shape: [null, ...input.type.shape.slice(1)] } };
}

/**
 * The role as validation sees it: the images resized to what the model takes.
 *
 * @throws CompressionError DATASET_SHAPE for a model with several inputs, or one whose size neither it nor the role says
 */
export function resizedRole(role: BindRole, inputs: readonly ValueInfo[]): BindRole {
  const preprocess = role.preprocess ?? IDENTITY;
  const [input] = inputs;
  const shape = input?.type?.kind === 'tensor' ? (input.type.shape ?? []) : [];
  const [height, width]: readonly (Dimension | undefined)[] =
    preprocess.layout === 'nchw' ? [shape[2], shape[3]] : [shape[1], shape[2]];
  const size = sizeOf(height, width) ?? preprocess.resize;
  if (inputs.length !== 1 || size === null) {
    throw new CompressionError(
      'DATASET_SHAPE',
      inputs.length === 1
        ? `random-resized-crop makes images of the model's size, but input ${input?.name ?? ''} leaves height and width open; set preprocess.resize`
        : `random-resized-crop works on models with one input of images; this one has ${inputs.length} inputs`,
    );
  }
  return { ...role, preprocess: { ...preprocess, resize: { fit: preprocess.resize?.fit ?? 'cover', ...size } } };
}

function sizeOf(height: Dimension | undefined, width: Dimension | undefined): Omit<ImageSize, 'fit'> | null {
  return typeof height === 'number' && typeof width === 'number' ? { height, width } : null;
}

function columnPlan(
  input: InputPlan,
  { encoded, resizing }: { readonly encoded: boolean; readonly resizing: boolean },
): ColumnPlan {
  const { image } = input;
  if (image === undefined) return { input, load: undefined, finish: undefined, outputSize: undefined };
  const outputSize = resizing ? image.resize : undefined;
  if (image.target === 'same') return { input, load: undefined, finish: image, outputSize };
  const resize = encoded || resizing ? undefined : image.resize;
  const load: ImagePlan = {
    source: image.source,
    target: 'nchw',
    channels: image.channels,
    type: 'uint8',
    reverseChannels: false,
    resize,
    tables: new Array<Uint8Array>(image.channels).fill(PIXELS),
  };
  return {
    input,
    load: image.source === 'nchw' && resize === undefined ? undefined : load,
    finish: { ...image, source: 'nchw', resize: undefined },
    outputSize,
  };
}

function sourceRequest(images: ImageRequest, role: BindRole, { source }: ResizingRequest): ImageRequest {
  const resize: ImageSize | null =
    source === undefined
      ? (role.preprocess?.resize ?? null)
      : { ...source, fit: role.preprocess?.resize?.fit ?? 'cover' };
  return resize === null ? { channels: images.channels } : { channels: images.channels, resize };
}
