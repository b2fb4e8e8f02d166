import { CompressionError } from '../errors.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import type { Model, ModelFunction } from '../onnx/model.ts';
import { elementCount } from '../onnx/nd-array.ts';
import type { AttributeInit } from '../onnx/node.ts';
import { Tensor } from '../onnx/tensor.ts';
import type { Initialization, WeightSource } from './weights.ts';

const ZOO_OPSET = 21;
/** Symbol of the batch axis. */
const BATCH = 'batch';

/** An activation [batch, channels, height, width]; after `flatten` height and width are 1 and the value has two axes. */
export interface Feature {
  readonly value: string;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** 2 GB of float weights: what one ONNX file can hold. */
const MAX_PARAMETERS = 500_000_000;

export interface ConvOptions {
  /** Output channels. */
  readonly channels: number;
  readonly kernel: number;
  readonly stride?: number;
  /** On every side; default `(kernel - 1) / 2`, which keeps the size at stride 1. */
  readonly padding?: number;
  readonly groups?: number;
  readonly bias?: boolean;
  /** Default: He normal over fan-out, for ReLU. Biases start at 0. */
  readonly initialization?: Initialization;
}

export type Activation = 'relu' | 'relu6' | 'hardswish';

export interface NormOptions {
  /** Start of gamma; default 1. */
  readonly gamma?: number;
}

export interface BatchNormDefaults {
  readonly epsilon: number;
  /** In ONNX terms: the share of the old running statistics that is kept (PyTorch's momentum is 1 minus it). */
  readonly momentum: number;
}

export interface PoolOptions {
  readonly kernel: number;
  readonly stride: number;
  readonly padding?: number;
  /** Round the output size up instead of down. */
  readonly ceil?: boolean;
}

/** PyTorch's BatchNorm2d. */
const TORCH_BATCH_NORM: BatchNormDefaults = { epsilon: 1e-5, momentum: 0.9 };

/**
 * Writes a network layer by layer and keeps track of sizes. `name` is the layer's path in the network
 * (`stage2.block1.conv1`): its node has this name, its initializers are `<name>.weight`, `<name>.bias`,
 * `<name>.running_mean` and `<name>.running_var`. Weights are drawn in the order of the calls.
 */
export class NetworkBuilder {
  readonly graph: GraphBuilder;
  readonly #weights: WeightSource;
  readonly #batchNorm: BatchNormDefaults;
  readonly #functions = new Map<string, ModelFunction>();
  readonly #domains = new Map<string, number>();
  readonly #constants = new Map<string, string>();
  #elements = 0;
  /** What the size of maps goes by. */
  #sizeOption: 'inputSize' | 'resolution' = 'inputSize';

  constructor(name: string, weights: WeightSource, batchNorm: BatchNormDefaults = TORCH_BATCH_NORM) {
    this.graph = new GraphBuilder(name);
    this.#weights = weights;
    this.#batchNorm = batchNorm;
  }

  /** The network's input, float [batch, channels, height, width]. */
  input(channels: number, height: number, width: number): Feature {
    const value = this.graph.input('input', 'float', [BATCH, channels, height, width]);
    return { value, channels, height, width };
  }

  /** Bilinear, with a filter widened by the scale where a side shrinks: as images of data sets are resized. Nothing where the size is the same. */
  resize(name: string, x: Feature, height: number, width: number): Feature {
    if (height === x.height && width === x.width) return x;
    this.#sizeOption = 'resolution';
    const inputs = [x.value, '', '', this.ints([height, width])];
    const value = this.op('Resize', inputs, name, {
      mode: 'linear',
      coordinate_transformation_mode: 'half_pixel',
      axes: [2, 3],
      ...(height < x.height || width < x.width ? { antialias: 1, exclude_outside: 1 } : {}),
    });
    return { ...x, value, height, width };
  }

  /** @throws CompressionError RECIPE_INVALID before memory is taken for a network of more than MAX_PARAMETERS */
  weight(name: string, dims: readonly number[], initialization: Initialization): string {
    this.#elements += elementCount(dims);
    if (this.#elements > MAX_PARAMETERS) {
      throw new CompressionError(
        'RECIPE_INVALID',
        `the network has more than ${MAX_PARAMETERS} parameters (passed at "${name}"); take less width, depth or inputSize`,
        { places: [{ pointer: '', message: `has more than ${MAX_PARAMETERS} parameters` }] },
      );
    }
    return this.graph.initializer(this.#weights.tensor(name, dims, initialization));
  }

  op(
    opType: string,
    inputs: readonly string[],
    name: string,
    attributes: Readonly<Record<string, AttributeInit>> = {},
  ) {
    return this.graph.op(opType, inputs, { name, attributes });
  }

  /** A float scalar shared by all who ask for the same name. */
  scalar(name: string, value: number): string {
    return this.#shared(name, () => this.graph.float(name, value));
  }

  /** An int64 vector shared by all who ask for the same values. */
  ints(values: readonly number[]): string {
    const name = `shape_${values.map((value) => String(value).replace('-', 'm')).join('_')}`;
    return this.#shared(name, () => this.graph.ints(name, values));
  }

  /** An int64 scalar shared by all who ask for the same name. */
  index(name: string, value: number): string {
    return this.#shared(name, () => this.graph.initializer(Tensor.int64(name, [value], [])));
  }

  #shared(name: string, make: () => string): string {
    const value = this.#constants.get(name) ?? make();
    this.#constants.set(name, value);
    return value;
  }

  conv(name: string, x: Feature, options: ConvOptions): Feature {
    const { channels, kernel, stride = 1, groups = 1, bias = false } = options;
    const padding = options.padding ?? (kernel - 1) / 2;
    const dims = [channels, x.channels / groups, kernel, kernel];
    if (x.channels % groups !== 0 || channels % groups !== 0) {
      throw new CompressionError('INTERNAL', `${name}: ${x.channels} -> ${channels} channels in ${groups} groups`);
    }
    const inputs = [x.value, this.weight(`${name}.weight`, dims, options.initialization ?? heFanOut(dims, groups))];
    if (bias) inputs.push(this.weight(`${name}.bias`, [channels], ZERO));
    const value = this.op('Conv', inputs, name, {
      kernel_shape: [kernel, kernel],
      strides: [stride, stride],
      pads: [padding, padding, padding, padding],
      ...(groups === 1 ? {} : { group: groups }),
    });
    return this.resized(name, { ...x, value, channels }, { kernel, stride, padding });
  }

  /** Inference form with fresh running statistics: mean 0, variance 1. */
  batchNorm(name: string, x: Feature, { gamma = 1 }: NormOptions = {}): Feature {
    const constant = (part: string, value: number): string =>
      this.weight(`${name}.${part}`, [x.channels], { kind: 'constant', value });
    const inputs = [
      x.value,
      constant('weight', gamma),
      constant('bias', 0),
      constant('running_mean', 0),
      constant('running_var', 1),
    ];
    const { epsilon, momentum } = this.#batchNorm;
    return { ...x, value: this.op('BatchNormalization', inputs, name, { epsilon, momentum }) };
  }

  relu(name: string, x: Feature): Feature {
    return { ...x, value: this.op('Relu', [x.value], name) };
  }

  /** Clip to 0..6. */
  relu6(name: string, x: Feature): Feature {
    const bounds = [this.scalar('relu6.min', 0), this.scalar('relu6.max', 6)];
    return { ...x, value: this.op('Clip', [x.value, ...bounds], name) };
  }

  activation(name: string, x: Feature, activation: Activation): Feature {
    switch (activation) {
      case 'relu':
        return this.relu(name, x);
      case 'relu6':
        return this.relu6(name, x);
      case 'hardswish':
        return { ...x, value: this.op('HardSwish', [x.value], name) };
    }
  }

  add(name: string, a: Feature, b: Feature): Feature {
    return { ...a, value: this.op('Add', [a.value, b.value], name) };
  }

  /** Along the channels. */
  concat(name: string, parts: readonly Feature[]): Feature {
    const [first] = parts;
    if (first === undefined) throw new CompressionError('INTERNAL', `${name}: nothing to concatenate`);
    const value = this.op(
      'Concat',
      parts.map((part) => part.value),
      name,
      { axis: 1 },
    );
    return { ...first, value, channels: parts.reduce((sum, part) => sum + part.channels, 0) };
  }

  maxPool(name: string, x: Feature, options: PoolOptions): Feature {
    const value = this.op('MaxPool', [x.value], name, poolAttributes(options));
    return this.resized(name, { ...x, value }, options);
  }

  /** Padding counts into the average, as in PyTorch. */
  averagePool(name: string, x: Feature, options: PoolOptions): Feature {
    const attributes = { ...poolAttributes(options), count_include_pad: 1 };
    return this.resized(name, { ...x, value: this.op('AveragePool', [x.value], name, attributes) }, options);
  }

  globalAveragePool(name: string, x: Feature): Feature {
    return { ...x, value: this.op('GlobalAveragePool', [x.value], name), height: 1, width: 1 };
  }

  flatten(name: string, x: Feature): Feature {
    const value = this.op('Flatten', [x.value], name, { axis: 1 });
    return { value, channels: x.channels * x.height * x.width, height: 1, width: 1 };
  }

  /** Gemm on a flat feature; the weight is [channels, inputs]. Default start: uniform within 1/sqrt(inputs), as in PyTorch; `bias: null` leaves it out. */
  linear(
    name: string,
    x: Feature,
    options: {
      readonly channels: number;
      readonly initialization?: Initialization;
      readonly bias?: Initialization | null;
    },
  ): Feature {
    const uniform: Initialization = { kind: 'uniform', bound: 1 / Math.sqrt(x.channels) };
    const {
      channels,
      initialization = uniform,
      bias = options.initialization === undefined ? uniform : ZERO,
    } = options;
    const inputs = [x.value, this.weight(`${name}.weight`, [channels, x.channels], initialization)];
    if (bias !== null) inputs.push(this.weight(`${name}.bias`, [channels], bias));
    return { ...x, value: this.op('Gemm', inputs, name, { transB: 1 }), channels };
  }

  /** Acts in training only. A share of 0 adds nothing. */
  dropout(name: string, x: Feature, ratio: number): Feature {
    if (ratio === 0) return x;
    return { ...x, value: this.op('Dropout', [x.value, this.scalar(`dropout.ratio_${ratio}`, ratio)], name) };
  }

  /** Declares a model-local operator; a second declaration under the same name changes nothing. */
  declareFunction(definition: ModelFunction, domainVersion: number): void {
    this.#functions.set(`${definition.domain}:${definition.name}`, definition);
    this.#domains.set(definition.domain, domainVersion);
  }

  /** Ends the network: `logits` [batch, classes]. */
  finish(logits: Feature): Model {
    const producer = this.graph.graph.nodes.at(-1);
    // The last node writes the output itself: an Identity behind it would only be in the way of later passes.
    if (producer?.outputs[0] !== logits.value) throw new CompressionError('INTERNAL', 'logits come from the last node');
    producer.outputs[0] = this.graph.fresh('logits');
    this.graph.output('logits', 'logits', 'float', [BATCH, logits.channels]);
    const model = this.graph.model(ZOO_OPSET, Object.fromEntries(this.#domains));
    model.functions = [...this.#functions.values()];
    return model;
  }

  /** `x` with the height and width behind a sliding window. @throws CompressionError RECIPE_INVALID when nothing is left */
  resized(name: string, x: Feature, { kernel, stride, padding = 0, ceil = false }: PoolOptions): Feature {
    const size = (length: number): number => {
      const steps = (length + 2 * padding - kernel) / stride;
      const count = (ceil ? Math.ceil(steps) : Math.floor(steps)) + 1;
      // A window that would start in the padding behind the end is left out (ONNX, PyTorch).
      return ceil && (count - 1) * stride >= length + padding ? count - 1 : count;
    };
    const [height, width] = [size(x.height), size(x.width)];
    if (height < 1 || width < 1) {
      throw new CompressionError(
        'RECIPE_INVALID',
        `${name}: a window of ${kernel} pixels does not fit the ${x.height}x${x.width} map; use a larger ${this.#sizeOption}`,
        { places: [{ pointer: `/${this.#sizeOption}`, message: 'is too small for this architecture' }] },
      );
    }
    return { ...x, height, width };
  }
}

export const ZERO: Initialization = { kind: 'constant', value: 0 };

/** He normal over fan-in, gain for ReLU. */
export function heFanIn(fanIn: number): Initialization {
  return { kind: 'normal', std: Math.sqrt(2 / fanIn) };
}

/**
 * He normal over fan-out, gain for ReLU. A grouped convolution sends each input to the outputs of its group only, so its
 * fan-out is that of the group (equation 14 of the paper); PyTorch counts all outputs there, which lets the signal of
 * depthwise layers die until BatchNormalization sees batches.
 *
 * @see He et al., "Delving Deep into Rectifiers", ICCV 2015
 */
function heFanOut(dims: readonly number[], groups = 1): Initialization {
  const [channels = 1, , ...kernel] = dims;
  const fanOut = (channels / groups) * kernel.reduce((product, size) => product * size, 1);
  return { kind: 'normal', std: Math.sqrt(2 / fanOut) };
}

function poolAttributes({ kernel, stride, padding = 0, ceil = false }: PoolOptions): Record<string, AttributeInit> {
  return {
    kernel_shape: [kernel, kernel],
    strides: [stride, stride],
    pads: [padding, padding, padding, padding],
    ...(ceil ? { ceil_mode: 1 } : {}),
  };
}
