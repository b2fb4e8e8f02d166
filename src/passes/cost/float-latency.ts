import type { Graph } from '../../onnx/graph.ts';
import { typesAtBatchOne } from '../../onnx/cost/types-for-cost.ts';
import type { Model } from '../../onnx/model.ts';
import type { Node } from '../../onnx/node.ts';
import { asConvWorkload, convSizeOf, convWorkload, type ConvLayout } from './conv-layout.ts';
import { CostModel, type SizesOf, type Workload } from './cost-model.ts';
import { graphTime, type ConvolutionTime, type Latency, type OperatorTimes } from './graph-time.ts';
import type { KernelCostTable } from './kernel-cost-table.ts';

/** Operators with a kernel of their own that the table's float times do not speak of. */
const QUANTIZED =
  /^(QuantizeLinear|DequantizeLinear|DynamicQuantize.*|QLinear.*|ConvInteger|MatMulInteger.*|MatMulNBits)$/;

/** Estimated nanoseconds of one sample; undefined for a model that is not in float, and where the table is empty. */
export function estimateFloatNs(table: KernelCostTable, model: Model): number | undefined {
  const latency = new FloatLatency(table);
  if (latency.knowsNothing || model.graph.nodes.some(({ opType }) => QUANTIZED.test(opType))) return undefined;
  const types = typesAtBatchOne(model);
  return latency.of(model.graph)((value) => {
    const shape = types.shape(model.graph, value);
    return shape?.every((size) => typeof size === 'number') === true ? shape : undefined;
  });
}

/**
 * Estimated time of a float model in ONNX Runtime: each node by the kernel it gets, plus what it costs where values leave the
 * blocked layout of the fast convolutions and come back. So it knows that a width that fills no block costs as much as one
 * that does, and one that is no multiple of 4 more.
 */
export class FloatLatency implements Latency, OperatorTimes {
  readonly arithmetic = 'float';
  readonly fused = /^(Relu|Clip|LeakyRelu|Sigmoid|Tanh|HardSigmoid|BatchNormalization|Add)$/;
  readonly block: number;
  readonly #model: CostModel;

  constructor(table: Pick<KernelCostTable, 'entries' | 'convolutionBlock'>) {
    this.block = table.convolutionBlock ?? 1;
    const entries = table.entries.map((entry) => ({ ...entry, ...(asConvWorkload(entry, this.block) ?? {}) }));
    this.#model = new CostModel({ entries });
  }

  get knowsNothing(): boolean {
    return this.#model.isEmpty;
  }

  of(graph: Graph): (sizesOf: SizesOf) => number {
    return graphTime(graph, this);
  }

  convolution(node: Node, isConstant: (value: string) => boolean, sizesOf: SizesOf): ConvolutionTime | undefined {
    const size = convSizeOf(node, sizesOf);
    if (size === undefined) return undefined;
    // The blocked kernels need weights they can lay out ahead, and are for images.
    const block = isConstant(node.inputs[1] ?? '') && size.axes === 2 ? this.block : 1;
    const workload = convWorkload(size, block);
    const family = workload.kernel.split(' ')[0] ?? '';
    const others = LAYOUTS.flatMap((layout) => [`${family} ${layout}`, `window ${layout}`]);
    return { layout: workload.layout, ns: this.time(workload, others) };
  }

  time(workload: Workload, others: readonly string[] = []): number {
    return this.#model.estimateFirst(workload, others)?.floatNs ?? 0;
  }
}

const LAYOUTS: readonly ConvLayout[] = ['plain', 'blocked', 'narrow'];
