import type { KernelCost } from '../../../src/passes/cost/kernel-cost-table.ts';
import { makeCostTable, type KernelCostTable } from '../../../src/passes/cost/kernel-cost-table.ts';

/**
 * A table of a CPU with blocks of 16 channels: blocked convolutions take 10 ns for 1,000 multiply-accumulates, of fewer input
 * channels 12, others 20; leaving and re-entering the layout 1 ns an element, other operators 0.5.
 */
export function blockedTable(): KernelCostTable {
  const conv = (kernel: KernelCost['kernel'], channels: number, rate: number): KernelCost => {
    const window = kernel.startsWith('pointwise') ? 1 : 9;
    const shape = [channels, channels * window, 64];
    const work = channels * channels * window * 64;
    // Blocks are filled up, and their time is that of whole ones.
    const up = channels < 16 ? channels * 16 : channels ** 2;
    return { kernel, shape, work, floatNs: (up * window * 64 * rate) / 1000, int8Ns: 1 };
  };
  const each = (kernel: KernelCost['kernel'], ns: number): KernelCost[] =>
    [1000, 100_000].map((work) => ({ kernel, shape: [work], work, floatNs: work * ns, int8Ns: 1 }));
  return makeCostTable({
    cpuKind: 'made by hand',
    runtimeVersion: 'none',
    threads: 1,
    convolutionBlock: 16,
    entries: [
      ...[16, 32, 64].map((channels) => conv('conv', channels, 10)),
      ...[4, 12].map((channels) => conv('conv-width', channels, 12)),
      ...[18, 30, 62].map((channels) => conv('conv-width', channels, 20)),
      ...[16, 64].map((channels) => conv('pointwise-conv', channels, 10)),
      ...[30, 62].map((channels) => conv('pointwise-conv-width', channels, 20)),
      ...each('add', 0.5),
      ...each('reorder', 1),
      ...[8, 64].map((size) => ({
        kernel: 'matmul' as const,
        shape: [size, size, size],
        work: size ** 3,
        floatNs: size ** 3 / 10,
        int8Ns: 1,
      })),
    ],
  });
}
