import type { Node } from '../../onnx/node.ts';
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
 * Times of kernels at any shape, from those that were measured: the time per unit of work is averaged in the logarithm
 * over the measured shapes of the kernel, weighted by the inverse square of their distance in the logarithms of the shape.
 * Below the smallest measured time a call itself costs, so half of that is the least.
 */
export class CostModel {
  readonly #entries = new Map<string, MeasuredWorkload[]>();

  constructor(table: { readonly entries: readonly MeasuredWorkload[] }) {
    for (const entry of table.entries) {
      const list = this.#entries.get(entry.kernel);
      if (list === undefined) this.#entries.set(entry.kernel, [entry]);
      else list.push(entry);
    }
  }

  /** A table without entries knows nothing. */
  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  /** Undefined when the kernel was not measured. */
  estimate({ kernel, shape, work }: Workload): Estimate | undefined {
    const entries = this.#entries.get(kernel);
    if (entries === undefined) return undefined;
    const weights = entries.map((entry) => 1 / (squaredDistance(entry.shape, shape) + 1e-6));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const time = (of: (entry: MeasuredWorkload) => number): number => {
      const times = entries.map(of);
      if (times.every((value) => value === 0)) return 0;
      const rate = entries.reduce((sum, entry, index) => {
        return sum + (weights[index] ?? 0) * Math.log(Math.max(of(entry), 1) / entry.work);
      }, 0);
      return Math.max(work * Math.exp(rate / total), Math.min(...times) / 2);
    };
    return { floatNs: time((entry) => entry.floatNs), int8Ns: time((entry) => entry.int8Ns) };
  }
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
