import { defined } from '../../errors.ts';
import { elementCount, float32Array } from '../../onnx/nd-array.ts';
import type { AttributeInit } from '../../onnx/node.ts';
import type { Runtime, Session } from '../../runtime/session.ts';
import { chainModel, type ChainForm } from './kernel-chain.ts';
import type { KernelCost } from './kernel-cost-table.ts';

export const KERNELS = [
  'conv',
  'pointwise-conv',
  'depthwise-conv',
  'matmul',
  'add',
  'average-pool',
  'max-pool',
  'sigmoid',
  /** A QuantizeLinear with a DequantizeLinear: what a value costs that leaves int8 and comes back. */
  'boundary',
  /** The same beside convolutions, whose int8 kernels want another layout in memory. */
  'conv-boundary',
  'dynamic-conv',
  'dynamic-matmul',
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
  | { readonly kind: 'binary'; readonly opType: string };

/** One kernel at one shape; see `KernelCostSchema` for the meaning of `shape` and `work`. */
export interface KernelBenchmark {
  readonly kernel: Kernel;
  readonly shape: readonly number[];
  readonly work: number;
  readonly inputDims: readonly number[];
  readonly link: ChainLink;
  /** Chains whose time per link is measured in float, and in integers. */
  readonly float: ChainForm;
  readonly int8: ChainForm;
}

function conv(channels: number, size: number, kernel: number, group = 1): KernelBenchmark[] {
  const pad = (kernel - 1) / 2;
  const reduction = (channels / group) * kernel * kernel;
  const common = {
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
  const name = group > 1 ? 'depthwise-conv' : kernel === 1 ? 'pointwise-conv' : 'conv';
  return [
    { ...common, kernel: name, int8: 'int8' },
    { ...common, kernel: 'dynamic-conv', int8: 'dynamic' },
  ];
}

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
  const window = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
  const pointwise = {
    kind: 'weighted',
    opType: 'Conv',
    weightDims: [channels, channels, 1, 1],
    attributes: {},
  } as const;
  return [
    { ...common, kernel: 'add', link: { kind: 'binary', opType: 'Add' } },
    { ...common, kernel: 'average-pool', link: unary('AveragePool', window) },
    { ...common, kernel: 'max-pool', link: unary('MaxPool', window) },
    { ...common, kernel: 'sigmoid', link: unary('Sigmoid') },
    { ...common, kernel: 'boundary', link: unary('Neg'), int8: 'boundary' },
    { ...common, kernel: 'conv-boundary', link: pointwise, float: 'int8', int8: 'boundary' },
  ];
}

/** Sizes of small and of ImageNet networks; what lies between is interpolated. */
export const KERNEL_BENCHMARKS: readonly KernelBenchmark[] = [
  ...[
    conv(8, 8, 3),
    conv(8, 28, 3),
    conv(16, 32, 3),
    conv(32, 16, 3),
    conv(64, 8, 3),
    conv(64, 28, 3),
    conv(128, 14, 3),
  ].flat(),
  ...[conv(16, 28, 1), conv(64, 14, 1), conv(128, 28, 1), conv(256, 7, 1)].flat(),
  ...[conv(16, 32, 3, 16), conv(64, 28, 3, 64), conv(256, 7, 3, 256)].flat(),
  ...[matMul(1, 16), matMul(1, 64), matMul(1, 512), matMul(16, 48), matMul(16, 192), matMul(64, 512)].flat(),
  ...[elementwise(16, 16), elementwise(32, 56)].flat(),
];

/** A link's time is the difference between a long and a short chain: what a run costs besides cancels out. */
const SHORT = 1;
const LONG = 6;
const WARM_UP = 2;
const RUNS = 19;
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
  readonly form: 'float' | 'int8';
  readonly links: number;
  readonly session: Session;
  readonly times: number[];
}

async function measure(runtime: Runtime, benchmark: KernelBenchmark, threads: number): Promise<KernelCost> {
  const chains: MeasuredChain[] = [];
  try {
    for (const form of ['float', 'int8'] as const) {
      for (const links of [SHORT, LONG]) {
        const model = chainModel(benchmark.link, benchmark.inputDims, benchmark[form], links);
        chains.push({ form, links, session: await runtime.createSession(model, { threads }), times: [] });
      }
    }
    const values = new Float32Array(elementCount(benchmark.inputDims)).map((_, i) => ((i * 37) % 200) / 100 - 1);
    const feeds = { x: float32Array(values, benchmark.inputDims) };
    const { kernel, shape, work } = benchmark;
    let [floatNs, int8Ns] = [0, 0];
    for (let attempt = 0; attempt < ATTEMPTS && (floatNs <= 0 || int8Ns <= 0); attempt += 1) {
      for (let run = 0; run < WARM_UP + RUNS; run += 1) {
        for (const { session, times } of chains) {
          const started = performance.now();
          await session.run(feeds);
          if (run >= WARM_UP) times.push(performance.now() - started);
        }
      }
      [floatNs, int8Ns] = [perLink(chains, 'float'), perLink(chains, 'int8')];
    }
    [floatNs, int8Ns] = [Math.max(floatNs, 1), Math.max(int8Ns, 1)];
    // A boundary costs what its chain takes beyond the same chain without it.
    if (benchmark.int8 === 'boundary')
      return { kernel, shape: [...shape], work, floatNs: 0, int8Ns: Math.max(1, int8Ns - floatNs) };
    return { kernel, shape: [...shape], work, floatNs, int8Ns };
  } finally {
    for (const { session } of chains) await session.release();
  }
}

function perLink(chains: readonly MeasuredChain[], form: 'float' | 'int8'): number {
  const time = (links: number): number => {
    const chain = chains.find((candidate) => candidate.form === form && candidate.links === links);
    return lowerQuartile(defined(chain, `${form} chain of ${links}`).times);
  };
  return Math.round((1e6 * (time(LONG) - time(SHORT))) / (LONG - SHORT));
}

/** Noise only ever adds: the lower quartile is steadier than the median, and less a matter of luck than the least. */
function lowerQuartile(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 2] ?? 0;
}
