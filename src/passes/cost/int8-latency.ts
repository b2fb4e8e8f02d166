import type { Graph } from '../../onnx/graph.ts';
import type { Node } from '../../onnx/node.ts';
import { convSizeOf, measuredConvSize, type ConvSize } from './conv-layout.ts';
import { CostModel, type MeasuredWorkload, type SizesOf, type Workload } from './cost-model.ts';
import { graphTime, type ConvolutionTime, type Latency, type OperatorTimes } from './graph-time.ts';
import type { KernelCostTable } from './kernel-cost-table.ts';

/**
 * How well channels fill what the int8 kernels work on at a time: outputs in whole `blocks` of 8; in `halves` of them; or
 * neither, `loose`, with parts of any length. Inputs are read by fours: others are loose, too. With `few` outputs, less than
 * 16, reading the inputs is what takes the time, whatever their number.
 */
const FILLS = ['blocks', 'halves', 'loose', 'few'] as const;
type Fill = (typeof FILLS)[number];
const BLOCK = 8;
const HALF = 4;
const FEW = 16;

/** Up to so many input channels the int8 kernel gathers windows that hardly fill its registers, whatever their number. */
const STEM_CHANNELS = 4;

/**
 * Estimated time of a float model as it would be in ONNX Runtime once quantize.static has brought it to int8: every
 * convolution, product, sum and pool by its int8 kernel, activations as part of what is ahead of them. What enters and leaves
 * int8 at the ends of the graph is not counted: it is the same for any number of channels between.
 */
export class Int8Latency implements Latency, OperatorTimes {
  readonly arithmetic = 'int8';
  readonly fused = /^(Relu|Clip|BatchNormalization)$/;
  /** Values in integers have one layout for all. */
  readonly block = 1;
  readonly #model: CostModel;
  /** Outputs that the kernels work on at a time: as many as are a block in float, both fill a register. */
  readonly #width: number;

  constructor(table: Pick<KernelCostTable, 'entries' | 'convolutionBlock'>) {
    this.#width = table.convolutionBlock ?? 1;
    const entries = table.entries.filter(({ int8Ns }) => int8Ns > 0);
    this.#model = new CostModel({ entries: entries.map((entry) => asInt8Conv(entry, this.#width) ?? entry) });
  }

  get knowsNothing(): boolean {
    return this.#model.isEmpty;
  }

  of(graph: Graph): (sizesOf: SizesOf) => number {
    return graphTime(graph, this);
  }

  convolution(node: Node, _isConstant: unknown, sizesOf: SizesOf): ConvolutionTime | undefined {
    const size = convSizeOf(node, sizesOf);
    if (size === undefined) return undefined;
    const workload = int8Workload(size, this.#width);
    const family = workload.kernel.split(' ')[0] ?? '';
    const others = FILLS.flatMap((fill) => [`${family} ${fill}`, `window ${fill}`]);
    return { layout: 'plain', ns: this.time(workload, others) };
  }

  time(workload: Workload, others: readonly string[] = []): number {
    return this.#model.estimateFirst(workload, others)?.int8Ns ?? 0;
  }
}

/** What the kernel really does: outputs are filled up to its width. */
function int8Workload({ outputs, inputs, group, window, pixels }: ConvSize, width: number): Workload {
  const isDepthwise = group > 1 && inputs === 1;
  const isStem = !isDepthwise && inputs <= STEM_CHANNELS;
  const family = isDepthwise ? 'depthwise' : isStem ? 'stem' : window === 1 ? 'pointwise' : 'window';
  const written = outputs / group;
  const fill = isDepthwise || isStem ? fillOf(outputs, HALF) : written < FEW ? 'few' : fillOf(written, inputs);
  const filled = isDepthwise || isStem ? outputs : group * width * Math.ceil(written / width);
  const reduction = inputs * window;
  return { kernel: `${family} ${fill}`, shape: [filled, reduction, pixels], work: filled * reduction * pixels };
}

function fillOf(written: number, read: number): Fill {
  if (read % HALF !== 0 || written % HALF !== 0) return 'loose';
  return written % BLOCK === 0 ? 'blocks' : 'halves';
}

/** A measured convolution under the kernel that its channels make it; undefined for what is none. */
function asInt8Conv(entry: KernelCostTable['entries'][number], width: number): MeasuredWorkload | undefined {
  const size = measuredConvSize(entry);
  return size === undefined ? undefined : { ...entry, ...int8Workload(size, width) };
}
