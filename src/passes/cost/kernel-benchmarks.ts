import { elementCount, float32Array } from '../../onnx/nd-array.ts';
import type { AttributeInit } from '../../onnx/node.ts';
import type { Feeds, Runtime, Session } from '../../runtime/session.ts';
import { chainModel, type ChainForm } from './kernel-chain.ts';
import type { KernelCost } from './kernel-cost-table.ts';

export const KERNELS = [
  'conv',
  /** A convolution of at most four input channels: the first of a network. */
  'stem-conv',
  'pointwise-conv',
  'depthwise-conv',
  'matmul',
  'add',
  'average-pool',
  'max-pool',
  'sigmoid',
  /** A QuantizeLinear with a DequantizeLinear: what a value costs that leaves int8 and comes back. */
  'boundary',
  /** The same between a convolution in int8 and one in float, which want other layouts in memory. */
  'conv-boundary',
  'dynamic-conv',
  'dynamic-matmul',
  /** The convolutions again, at numbers of channels that fill no blocks of ONNX Runtime's fast kernels. */
  'conv-width',
  'pointwise-conv-width',
  'depthwise-conv-width',
  /** What a value costs that leaves the layout of fast convolutions and comes back, with an operator in between. */
  'reorder',
] as const;
export type Kernel = (typeof KERNELS)[number];

/** An operator whose result has the shape of its input, so that links chain. */
export type ChainLink =
  | {
      readonly kind: 'weighted';
      readonly opType: 'Conv' | 'MatMul';
      readonly weightDims: readonly number[];
      readonly attributes: Readonly<Record<string, AttributeInit>>;
    }
  | { readonly kind: 'unary'; readonly opType: string; readonly attributes: Readonly<Record<string, AttributeInit>> }
  | { readonly kind: 'binary'; readonly opType: string }
  /** A convolution of the chain's input, added to what the links before it made. */
  | {
      readonly kind: 'stem';
      readonly weightDims: readonly number[];
      readonly attributes: Readonly<Record<string, AttributeInit>>;
    }
  /** A pool behind a pointwise convolution: int8 pools are fast in the layout that convolutions leave, and only there. */
  | {
      readonly kind: 'pool';
      readonly opType: 'MaxPool' | 'AveragePool';
      readonly weightDims: readonly number[];
      readonly attributes: Readonly<Record<string, AttributeInit>>;
    };

/** One kernel at one shape; see `KernelCostSchema` for the meaning of `shape` and `work`. */
export interface KernelBenchmark {
  readonly kernel: Kernel;
  readonly shape: readonly number[];
  readonly work: number;
  readonly inputDims: readonly number[];
  readonly link: ChainLink;
  /** Chains whose time per link is measured in float, and in integers; without `int8` that time is 0 in the table. */
  readonly float: ChainForm;
  readonly int8?: ChainForm;
  /** What a link holds besides the kernel, in the same forms: its time is taken away. */
  readonly base?: {
    readonly link: ChainLink;
    readonly inputDims: readonly number[];
    readonly float?: ChainForm;
    readonly int8?: ChainForm;
  };
}

function convChain(channels: number, size: number, kernel: number, group: number) {
  const pad = (kernel - 1) / 2;
  const reduction = (channels / group) * kernel * kernel;
  return {
    shape: [channels, reduction, size * size],
    work: channels * reduction * size * size,
    inputDims: [1, channels, size, size],
    link: {
      kind: 'weighted',
      opType: 'Conv',
      weightDims: [channels, channels / group, kernel, kernel],
      attributes: { pads: [pad, pad, pad, pad], group },
    },
    float: 'float',
  } as const;
}

function conv(channels: number, size: number, kernel: number, group = 1): KernelBenchmark[] {
  const common = convChain(channels, size, kernel, group);
  return [
    { ...common, kernel: convName(kernel, group), int8: 'int8' },
    { ...common, kernel: 'dynamic-conv', int8: 'dynamic' },
  ];
}

function convWidth(channels: number, size: number, kernel: number, group = 1): KernelBenchmark {
  return { ...convChain(channels, size, kernel, group), kernel: `${convName(kernel, group)}-width`, int8: 'int8' };
}

function convName(kernel: number, group: number) {
  return group > 1 ? 'depthwise-conv' : kernel === 1 ? 'pointwise-conv' : 'conv';
}

/** Neg is none of the operators that the fast layout has. */
function reorder(channels: number, size: number): KernelBenchmark {
  const { inputDims, link } = convChain(channels, size, 1, 1);
  const shape = [elementCount(inputDims)];
  const work = elementCount(inputDims);
  const base = { link, inputDims, float: 'float' } as const;
  return { kernel: 'reorder', shape, work, inputDims, link, float: 'reordered', base };
}

/** A convolution that need not have as many outputs as inputs: all links read the chain's input, and are joined. */
function fromInput(
  kernel: Kernel,
  window: number,
  [inputs, outputs]: readonly [number, number],
  size: number,
): KernelBenchmark {
  const pads = new Array<number>(4).fill((window - 1) / 2);
  const reduction = inputs * window * window;
  return {
    kernel,
    shape: [outputs, reduction, size * size],
    work: outputs * reduction * size * size,
    inputDims: [1, inputs, size, size],
    link: { kind: 'stem', weightDims: [outputs, inputs, window, window], attributes: { pads } },
    float: 'float',
    int8: 'int8',
    // They are joined by Add, which float fuses into the convolution and int8 does not.
    base: { link: { kind: 'binary', opType: 'Add' }, inputDims: [1, outputs, size, size], int8: 'int8' },
  };
}

const stem = (channels: number, size: number): KernelBenchmark => fromInput('stem-conv', 3, [3, channels], size);
const unequalWidths = (inputs: number, outputs: number, size: number, window = 3): KernelBenchmark =>
  fromInput(`${convName(window, 1)}-width`, window, [inputs, outputs], size);

function matMul(rows: number, size: number): KernelBenchmark[] {
  const common = {
    shape: [size, size, rows],
    work: rows * size * size,
    inputDims: [rows, size],
    link: { kind: 'weighted', opType: 'MatMul', weightDims: [size, size], attributes: {} },
    float: 'float',
  } as const;
  return [
    { ...common, kernel: 'matmul', int8: 'int8' },
    { ...common, kernel: 'dynamic-matmul', int8: 'dynamic' },
  ];
}

function elementwise(channels: number, size: number): KernelBenchmark[] {
  const inputDims = [1, channels, size, size];
  const common = {
    shape: [elementCount(inputDims)],
    work: elementCount(inputDims),
    inputDims,
    float: 'float',
    int8: 'int8',
  } as const;
  const unary = (opType: string, attributes: Readonly<Record<string, AttributeInit>> = {}) =>
    ({ kind: 'unary', opType, attributes }) as const;
  const attributes = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
  const pool = { kind: 'pool', weightDims: [channels, channels, 1, 1], attributes } as const;
  const conv = { kind: 'weighted', opType: 'Conv', weightDims: pool.weightDims, attributes: {} } as const;
  const behindConv = { link: conv, inputDims, float: 'float', int8: 'int8' } as const;
  return [
    { ...common, kernel: 'add', link: { kind: 'binary', opType: 'Add' } },
    { ...common, kernel: 'average-pool', link: { ...pool, opType: 'AveragePool' }, base: behindConv },
    { ...common, kernel: 'max-pool', link: { ...pool, opType: 'MaxPool' }, base: behindConv },
    { ...common, kernel: 'sigmoid', link: unary('Sigmoid') },
    { ...common, kernel: 'boundary', link: unary('Neg'), int8: 'boundary' },
    { ...common, kernel: 'conv-boundary', link: conv, int8: 'boundary', base: { link: conv, inputDims, int8: 'int8' } },
  ];
}

/** Sizes of small and of ImageNet networks; what lies between is interpolated. */
export const KERNEL_BENCHMARKS: readonly KernelBenchmark[] = [
  ...[stem(8, 16), stem(16, 32), stem(32, 56)],
  ...[conv(8, 8, 3), conv(16, 8, 3), conv(32, 4, 3), conv(8, 28, 3), conv(16, 32, 3), conv(32, 16, 3)].flat(),
  ...[conv(64, 8, 3), conv(64, 28, 3), conv(128, 14, 3)].flat(),
  ...[conv(16, 8, 1), conv(16, 16, 1), conv(32, 56, 1), conv(64, 14, 1), conv(128, 28, 1), conv(256, 7, 1)].flat(),
  ...[conv(16, 32, 3, 16), conv(64, 28, 3, 64), conv(256, 7, 3, 256)].flat(),
  ...[matMul(1, 16), matMul(1, 64), matMul(1, 512), matMul(16, 48), matMul(16, 192), matMul(64, 512)].flat(),
  ...[elementwise(16, 16), elementwise(32, 56)].flat(),
  // Fewer channels than a block; then such as are no multiple of 4, which ONNX Runtime runs on its general kernel.
  ...[convWidth(6, 32, 3), convWidth(12, 32, 3), convWidth(14, 32, 3), convWidth(12, 16, 1)],
  ...[convWidth(18, 16, 3), convWidth(31, 16, 3), convWidth(50, 8, 3), convWidth(62, 8, 3), convWidth(126, 14, 3)],
  ...[convWidth(30, 16, 1), convWidth(62, 14, 1), convWidth(127, 14, 1)],
  // Outputs in halves of 8, which int8 is slower with; then in whole ones that fill no 16.
  ...[convWidth(20, 16, 3), convWidth(28, 16, 3), convWidth(60, 14, 3), convWidth(28, 28, 1), convWidth(60, 14, 1)],
  ...[convWidth(40, 16, 3), convWidth(56, 8, 3)],
  // Few outputs of many inputs and the other way round: reading a window takes its time however little comes of it.
  ...[
    unequalWidths(16, 2, 32),
    unequalWidths(2, 16, 32),
    unequalWidths(16, 4, 32),
    unequalWidths(4, 16, 32),
    unequalWidths(32, 6, 16),
    unequalWidths(6, 32, 16),
  ],
  ...[unequalWidths(32, 8, 16), unequalWidths(8, 32, 16), unequalWidths(32, 16, 16), unequalWidths(16, 32, 16)],
  ...[unequalWidths(64, 24, 8), unequalWidths(24, 64, 8), unequalWidths(64, 16, 8), unequalWidths(16, 64, 8)],
  ...[unequalWidths(32, 8, 28, 1), unequalWidths(8, 32, 28, 1), unequalWidths(64, 16, 14, 1)],
  ...[unequalWidths(16, 64, 14, 1), unequalWidths(96, 24, 7, 1), unequalWidths(24, 96, 7, 1)],
  ...[unequalWidths(64, 12, 28, 1), unequalWidths(12, 64, 28, 1), unequalWidths(128, 10, 7, 1)],
  ...[convWidth(31, 16, 3, 31), convWidth(62, 28, 3, 62)],
  ...[reorder(32, 8), reorder(32, 32), reorder(64, 56)],
];

/** A link's time is the difference between a long and a short chain: what a run costs besides cancels out. */
const SHORT = 1;
const LONG = 6;
const WARM_UP = 2;
const RUNS = 25;
/** Attempts where a difference came out negative: something else used the cores. */
const ATTEMPTS = 4;

/** Measures each benchmark, its chains in turns. Deterministic in everything but the times. */
export async function measureBenchmarks(
  runtime: Runtime,
  benchmarks: readonly KernelBenchmark[],
  threads: number,
): Promise<KernelCost[]> {
  const costs: KernelCost[] = [];
  for (const benchmark of benchmarks) costs.push(await measure(runtime, benchmark, threads));
  return costs;
}

interface MeasuredChain {
  readonly part: string;
  readonly links: number;
  readonly session: Session;
  readonly feeds: Feeds;
  readonly times: number[];
}

interface ChainPart {
  readonly part: 'float' | 'int8' | 'base-float' | 'base-int8';
  readonly link: ChainLink;
  readonly form: ChainForm;
  readonly inputDims: readonly number[];
}

/** The chains to measure: the kernel's own and, where a link holds more than the kernel, the rest to take away. */
function partsOf({ link, inputDims, base, float, int8 }: KernelBenchmark): ChainPart[] {
  const parts: ChainPart[] = [{ part: 'float', link, inputDims, form: float }];
  if (int8 !== undefined) parts.push({ part: 'int8', link, inputDims, form: int8 });
  if (base?.float !== undefined) parts.push({ ...base, part: 'base-float', form: base.float });
  if (base?.int8 !== undefined) parts.push({ ...base, part: 'base-int8', form: base.int8 });
  return parts;
}

async function measure(runtime: Runtime, benchmark: KernelBenchmark, threads: number): Promise<KernelCost> {
  const chains: MeasuredChain[] = [];
  try {
    for (const { part, link, form, inputDims } of partsOf(benchmark)) {
      const values = new Float32Array(elementCount(inputDims)).map((_, i) => ((i * 37) % 200) / 100 - 1);
      const feeds = { x: float32Array(values, inputDims) };
      for (const links of [SHORT, LONG]) {
        const session = await runtime.createSession(chainModel(link, inputDims, form, links), { threads });
        chains.push({ part, links, session, feeds, times: [] });
      }
    }
    const { kernel, shape, work } = benchmark;
    let [floatNs, int8Ns] = [0, 0];
    const isBoundary = benchmark.int8 === 'boundary';
    const hasInt8 = benchmark.int8 !== undefined;
    const isOff = (): boolean => (hasInt8 && int8Ns <= 0) || (floatNs <= 0 && !isBoundary);
    for (let attempt = 0; attempt < ATTEMPTS && isOff(); attempt += 1) {
      for (let run = 0; run < WARM_UP + RUNS; run += 1) {
        for (const { session, feeds, times } of chains) {
          const started = performance.now();
          await session.run(feeds);
          if (run >= WARM_UP) times.push(performance.now() - started);
        }
      }
      floatNs = perLink(chains, 'float') - perLink(chains, 'base-float');
      // A link of a boundary chain holds the float operator, too.
      int8Ns = perLink(chains, 'int8') - perLink(chains, 'base-int8') - (isBoundary ? floatNs : 0);
    }
    return {
      kernel,
      shape: [...shape],
      work,
      floatNs: isBoundary ? 0 : Math.max(floatNs, 1),
      int8Ns: hasInt8 ? Math.max(int8Ns, 1) : 0,
    };
  } finally {
    for (const { session } of chains) await session.release();
  }
}

/** Nanoseconds a link of a part takes; 0 for a part that is not measured. Noise only ever adds, so the least time counts. */
function perLink(chains: readonly MeasuredChain[], part: ChainPart['part']): number {
  const least = (links: number): number =>
    Math.min(...(chains.find((chain) => chain.part === part && chain.links === links)?.times ?? [0]));
  return Math.round((1e6 * (least(LONG) - least(SHORT))) / (LONG - SHORT));
}
