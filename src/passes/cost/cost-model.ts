import type { Node } from '../../onnx/node.ts';
import { fitLaw } from './cost-law.ts';
import type { Kernel } from './kernel-benchmarks.ts';

export interface Estimate {
  readonly floatNs: number;
  readonly int8Ns: number;
}

/** What a kernel is given; see `KernelCostSchema`. The kernel is one of the table's names. */
export interface Workload {
  readonly kernel: string;
  readonly shape: readonly number[];
  readonly work: number;
}

export interface MeasuredWorkload extends Workload, Estimate {}

/**
 * Times of kernels at any shape, from those that were measured: a law `work`, results, gathered values and the call itself each take
 * their share of, fitted to all measured shapes of the kernel, times what the measured shapes near by deviate from it (averaged in
 * the logarithm, weighted by the inverse square of their distance in the logarithms of the shape). At a measured shape that
 * is the measured time. Half of the least measured time is the least.
 */
export class CostModel {
  readonly #kernels = new Map<string, KernelTimes>();
  readonly #known = new Map<string, Estimate | undefined>();

  constructor(table: { readonly entries: readonly MeasuredWorkload[] }) {
    const entries = new Map<string, MeasuredWorkload[]>();
    for (const entry of table.entries) {
      const list = entries.get(entry.kernel);
      if (list === undefined) entries.set(entry.kernel, [entry]);
      else list.push(entry);
    }
    for (const [kernel, list] of entries) this.#kernels.set(kernel, new KernelTimes(list));
  }

  /** A table without entries knows nothing. */
  get isEmpty(): boolean {
    return this.#kernels.size === 0;
  }

  /** Undefined when the kernel was not measured. */
  estimate(workload: Workload): Estimate | undefined {
    return this.#kernels.get(workload.kernel)?.estimate(workload);
  }

  /** By the workload's kernel, or the first of `others` that was measured. Known times are kept. */
  estimateFirst(workload: Workload, others: readonly string[]): Estimate | undefined {
    const key = `${workload.kernel} ${workload.shape.join(' ')} ${workload.work}`;
    if (!this.#known.has(key)) {
      const kernel = [workload.kernel, ...others].find((name) => this.#kernels.has(name));
      this.#known.set(key, kernel === undefined ? undefined : this.estimate({ ...workload, kernel }));
    }
    return this.#known.get(key);
  }
}

/** The measured shapes of one kernel, with the laws of both types. */
class KernelTimes {
  readonly #entries: readonly MeasuredWorkload[];
  readonly #float: Times;
  readonly #int8: Times;

  constructor(entries: readonly MeasuredWorkload[]) {
    this.#entries = entries;
    this.#float = timesOf(entries, ({ floatNs }) => floatNs);
    this.#int8 = timesOf(entries, ({ int8Ns }) => int8Ns);
  }

  estimate(workload: Workload): Estimate {
    const near = this.#entries.map(({ shape }) => 1 / (squaredDistance(shape, workload.shape) + 1e-6));
    return { floatNs: estimateBy(this.#float, near, workload), int8Ns: estimateBy(this.#int8, near, workload) };
  }
}

interface Times {
  readonly law: (workload: Workload) => number;
  /** Logarithm of measured over fitted, by entry. */
  readonly deviations: readonly number[];
  /** 0: the kernel was not measured in this type. */
  readonly least: number;
}

function timesOf(entries: readonly MeasuredWorkload[], of: (entry: MeasuredWorkload) => number): Times {
  const times = entries.map(of);
  if (times.every((time) => time === 0)) return { law: () => 0, deviations: [], least: 0 };
  const positive = times.map((time) => Math.max(time, 1));
  const law = fitLaw(entries, positive);
  const deviations = entries.map((entry, index) => Math.log((positive[index] ?? 1) / law(entry)));
  return { law, deviations, least: Math.min(...positive) };
}

function estimateBy({ law, deviations, least }: Times, near: readonly number[], workload: Workload): number {
  if (least === 0) return 0;
  const total = near.reduce((sum, weight) => sum + weight, 0);
  const deviation = deviations.reduce((sum, value, index) => sum + (near[index] ?? 0) * value, 0) / total;
  return Math.max(law(workload) * Math.exp(deviation), least / 2);
}

function squaredDistance(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (let axis = 0; axis < a.length; axis += 1) sum += Math.log2((a[axis] ?? 1) / Math.max(b[axis] ?? 1, 1)) ** 2;
  return sum;
}

/** Up to so many input channels the int8 kernel gathers windows that hardly fill its registers. */
const STEM_CHANNELS = 4;

/** Sizes of values, symbolic ones assumed. */
export type SizesOf = (value: string) => readonly number[] | undefined;

/** Work of a convolution or product by its weight's and its output's shape; undefined when a rank is not known. */
export function weightedWorkload(
  node: Node,
  weightDims: readonly number[],
  kernels: { readonly conv: Kernel; readonly product: Kernel },
  sizesOf: SizesOf,
): Workload | undefined {
  const output = sizesOf(node.outputs[0] ?? '');
  if (output === undefined) return undefined;
  const elements = product(output);
  if (node.opType === 'Conv') {
    const [channels = 1, perGroup = 1, ...window] = weightDims;
    const reduction = perGroup * product(window);
    const kernel = kernels.conv === 'conv' ? convKernel(node, perGroup, product(window)) : kernels.conv;
    return { kernel, shape: [channels, reduction, Math.max(elements / channels, 1)], work: elements * reduction };
  }
  const columns = output.at(-1) ?? 1;
  const reduction = product(weightDims) / Math.max(columns, 1);
  return {
    kernel: kernels.product,
    shape: [columns, reduction, Math.max(elements / columns, 1)],
    work: elements * reduction,
  };
}

function convKernel(node: Node, perGroup: number, window: number): Kernel {
  if (node.int('group', 1) > 1 && perGroup === 1) return 'depthwise-conv';
  if (perGroup <= STEM_CHANNELS) return 'stem-conv';
  return window === 1 ? 'pointwise-conv' : 'conv';
}

/** Work of an operator that touches each element of its output. */
export function elementwiseWorkload(kernel: Kernel, value: string, sizesOf: SizesOf): Workload | undefined {
  const sizes = sizesOf(value);
  if (sizes === undefined) return undefined;
  const elements = Math.max(product(sizes), 1);
  return { kernel, shape: [elements], work: elements };
}

function product(sizes: readonly number[]): number {
  return sizes.reduce((result, size) => result * size, 1);
}
