import { typesAtBatchOne } from '../../../src/onnx/cost/types-for-cost.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import type { Latency } from '../../../src/passes/cost/graph-time.ts';
import type { KernelCost } from '../../../src/passes/cost/kernel-cost-table.ts';
import { makeCostTable, type KernelCostTable } from '../../../src/passes/cost/kernel-cost-table.ts';
import { net } from '../quantize/helpers.ts';

const tableOf = (entries: KernelCost[], convolutionBlock = 16): KernelCostTable =>
  makeCostTable({ cpuKind: 'made by hand', runtimeVersion: 'none', threads: 1, convolutionBlock, entries });

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
  return tableOf([
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
  ]);
}

const INT8_WIDTH = 8;

/**
 * In int8 1 ns for 1,000 products, outputs filled up to 8: 2 where they are a multiple of 4 alone, 4 for other numbers, 8 for few
 * outputs. In float a product a ns; sums 1 ns an element.
 */
export function int8Table(): KernelCostTable {
  const conv = (kernel: KernelCost['kernel'], channels: number, rate: number): KernelCost => {
    const work = channels * channels * 9 * 64;
    const filled = (work * Math.ceil(channels / INT8_WIDTH) * INT8_WIDTH) / channels;
    return { kernel, shape: [channels, channels * 9, 64], work, floatNs: work, int8Ns: (filled * rate) / 1000 };
  };
  const entries = [
    ...[16, 32, 64].map((channels) => conv('conv', channels, 1)),
    ...[20, 28, 60].map((channels) => conv('conv-width', channels, 2)),
    ...[18, 31, 62].map((channels) => conv('conv-width', channels, 4)),
    ...[8, 12, 14].map((channels) => conv('conv-width', channels, 8)),
    { ...conv('conv-width', 24, 1), int8Ns: 0 },
    ...[1000, 100_000].map((work) => ({ kernel: 'add' as const, shape: [work], work, floatNs: work, int8Ns: work })),
  ];
  return tableOf(entries, INT8_WIDTH);
}

/** Height and width of what `convs` works on. */
export const IMAGE_SIZE = 8;

/** Convolutions 3x3 one after the other with a ReLU behind each, from `widths[0]` channels over the next ones. */
export function convs(...widths: readonly number[]): Model {
  const layers = widths.slice(1).map((outputs, index) => ({ outputs, inputs: widths[index] ?? 1, index }));
  return net({
    nodes: layers.flatMap(({ index }) => [
      makeNode('Conv', [index === 0 ? 'x' : `r${index - 1}`, `w${index}`], [`c${index}`], {
        attributes: { pads: [1, 1, 1, 1] },
        name: `conv${index}`,
      }),
      makeNode('Relu', [`c${index}`], [index === layers.length - 1 ? 'y' : `r${index}`]),
    ]),
    tensors: layers.map(({ outputs, inputs, index }) =>
      Tensor.float(`w${index}`, new Float32Array(outputs * inputs * 9), [outputs, inputs, 3, 3]),
    ),
    inputs: { x: [1, widths[0] ?? 1, IMAGE_SIZE, IMAGE_SIZE] },
    outputs: { y: [1, widths.at(-1) ?? 1, IMAGE_SIZE, IMAGE_SIZE] },
  });
}

/** Estimated nanoseconds of one sample. */
export function timeOf(model: Model, latency: Latency): number {
  const types = typesAtBatchOne(model);
  return latency.of(model.graph)((value) => types.shape(model.graph, value) as number[] | undefined);
}
