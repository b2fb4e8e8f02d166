import { CompressionError } from '../errors.ts';
import { isFloatType } from '../onnx/data-type.ts';
import { allocate, elementCount, type NdArray } from '../onnx/nd-array.ts';
import type { Dimension, Shape, ValueInfo } from '../onnx/value-type.ts';
import type { FeedBatch, FeedSource } from '../passes/pass.ts';
import { floatWriter, isIntegerType } from './convert-array.ts';
import type { NumericType } from './npy-header.ts';
import { SeededRandom } from './seeded-random.ts';

export interface GeneratedOptions {
  readonly seed: number;
  readonly samples: number;
  /** Samples a batch where the first axis is open; default 1. */
  readonly batchSize?: number;
  /** Sizes of symbolic dimensions, by name. */
  readonly dimensions?: Readonly<Record<string, number>>;
}

const IMAGE_SIDE = 224;
const SEQUENCE_LENGTH = 64;
/** Samples of a signal, for float inputs [batch, ?]: 32 ms at 16 kHz with 4 ms before it, which suits speech models. */
const SIGNAL_LENGTH = 576;
const OTHER_SIZE = 16;
/** Names of recurrent states, which begin at zero. */
const STATE = /state|hidden|memory|^[hc]_?\d*$/i;
/** Small enough to index any table a model is likely to look up. */
const INTEGER_VALUES = 10;

interface GeneratedInput {
  readonly name: string;
  readonly type: NumericType;
  readonly shape: readonly (number | 'batch')[];
}

/**
 * Made-up inputs for a model without a data set, for latency and fidelity: floats from the standard normal
 * distribution, recurrent states zero, pixels (uint8) uniform, integers small, masks one. The same seed gives the same
 * feeds. An open first axis is the batch; other open dimensions get `dimensions` or a size by their name, and a symbol
 * has one size in all inputs.
 * @throws CompressionError MODEL_UNSUPPORTED for inputs that are not tensors of numbers
 */
export function generatedFeeds(modelInputs: readonly ValueInfo[], options: GeneratedOptions): FeedSource {
  const inputs = modelInputs.map((input) => describe(input, options.dimensions ?? {}));
  return {
    samples: options.samples,
    async *batches(batchSize) {
      const random = new SeededRandom(options.seed);
      const wanted = batchSize ?? options.batchSize ?? 1;
      const open = inputs.some(({ shape }) => shape.includes('batch'));
      const fixed = open ? 1 : commonFirstAxis(inputs);
      for (let from = 0; from < options.samples;) {
        const size = open ? Math.min(wanted, options.samples - from) : fixed;
        const feeds = inputs.map(({ name, type, shape }): [string, NdArray] => {
          const dims = shape.map((dim) => (dim === 'batch' ? size : dim));
          return [name, generate(name, type, dims, random)];
        });
        const batch: FeedBatch = { feeds: Object.fromEntries(feeds), count: Math.min(size, options.samples - from) };
        from += batch.count;
        yield await Promise.resolve(batch);
      }
    },
  };
}

function describe(input: ValueInfo, dimensions: Readonly<Record<string, number>>): GeneratedInput {
  const { name, type } = input;
  if (type?.kind !== 'tensor' || !(isFloatType(type.elementType) || isIntegerType(type.elementType))) {
    throw new CompressionError(
      'MODEL_UNSUPPORTED',
      `Model input ${name} is not a tensor of numbers; inputs cannot be made up for it: give a data set`,
    );
  }
  if (type.shape === undefined) {
    throw new CompressionError(
      'MODEL_UNSUPPORTED',
      `Model input ${name} has no shape; inputs cannot be made up for it: give a data set`,
    );
  }
  const shape = type.shape;
  return {
    name,
    type: type.elementType as NumericType, // strings were refused above
    shape: shape.map((dim, axis) => {
      if (dim === null && axis === 1 && shape.length === 2 && isFloatType(type.elementType)) return SIGNAL_LENGTH;
      // ONNX LSTM and GRU states are [directions, batch, hidden].
      if (dim === null && axis === 1 && shape.length === 3 && STATE.test(name)) return 'batch';
      return sizeOf(dim, axis, shape, dimensions);
    }),
  };
}

function sizeOf(
  dim: Dimension,
  axis: number,
  shape: Shape,
  dimensions: Readonly<Record<string, number>>,
): number | 'batch' {
  // Exporters write 0 or -1 for an open dimension, too.
  if (typeof dim === 'number' && dim > 0) return dim;
  if (typeof dim === 'string') {
    const given = Object.hasOwn(dimensions, dim) ? dimensions[dim] : undefined;
    if (given !== undefined) return given;
    if (/batch|^[nb]$|^bs$/i.test(dim)) return 'batch';
    if (axis > 0 || shape.length === 1) return sizeByName(dim, axis, shape);
  }
  if (axis === 0) return 'batch';
  return shape.length === 4 && axis >= 2 ? IMAGE_SIDE : OTHER_SIZE;
}

function sizeByName(symbol: string, axis: number, shape: Shape): number {
  if (/height|width|^[hw]$/i.test(symbol)) return IMAGE_SIDE;
  if (/seq|len|time|tokens|^[tls]$/i.test(symbol)) return SEQUENCE_LENGTH;
  return shape.length === 4 && axis >= 2 ? IMAGE_SIDE : OTHER_SIZE;
}

/** With no open axis a run is one sample, or as many as all first axes agree on. */
function commonFirstAxis(inputs: readonly GeneratedInput[]): number {
  const sizes = new Set(inputs.map(({ shape }) => shape[0]));
  const [only] = sizes;
  return sizes.size === 1 && typeof only === 'number' ? only : 1;
}

function generate(name: string, type: NumericType, dims: readonly number[], random: SeededRandom): NdArray {
  const data = allocate(type, elementCount(dims));
  const next = valueOf(name, type, random);
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    for (let i = 0; i < data.length; i += 1) data[i] = BigInt(next());
  } else {
    for (let i = 0; i < data.length; i += 1) data[i] = next();
  }
  return { type, dims, data };
}

function valueOf(name: string, type: NumericType, random: SeededRandom): () => number {
  if (isFloatType(type)) {
    const write = floatWriter(type);
    return STATE.test(name) ? () => 0 : () => write(random.normal());
  }
  if (/mask/i.test(name)) return () => 1;
  if (/type_ids|segment|position_offset/i.test(name)) return () => 0;
  if (/^sr$|sample_?rate/i.test(name)) return () => 16_000;
  if (type === 'bool') return () => random.uint32() & 1;
  if (type === 'uint8') return () => random.uint32() & 255;
  return () => Math.floor(random.uniform() * INTEGER_VALUES);
}
