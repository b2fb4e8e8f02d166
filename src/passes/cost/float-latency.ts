import { macRuleOf } from '../../onnx/cost/mac-rules.ts';
import { usesOf, type Graph, type Use } from '../../onnx/graph.ts';
import { typesAtBatchOne } from '../../onnx/cost/types-for-cost.ts';
import type { Model } from '../../onnx/model.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import type { Node } from '../../onnx/node.ts';
import { asConvWorkload, convWorkload, type ConvLayout } from './conv-layout.ts';
import { CostModel, type SizesOf, type Workload } from './cost-model.ts';
import type { KernelCostTable } from './kernel-cost-table.ts';

/** Its result is its input under another shape, or known before the first run. */
const FREE = /^(Identity|Reshape|Flatten|Squeeze|Unsqueeze|Dropout|Shape|Size|Constant|ConstantOfShape|Range)$/;
/** As many elements come out as go in. */
const KEEPS_ELEMENTS = /^(Identity|Reshape|Flatten|Squeeze|Unsqueeze|Transpose)$/;
/** Part of the convolution or product ahead of it, where nobody else reads that. */
const FUSED = /^(Relu|Clip|LeakyRelu|Sigmoid|Tanh|HardSigmoid|BatchNormalization)$/;
/** Work on blocked values as they are. */
const BLOCKED_TOO =
  /^(Relu|Clip|LeakyRelu|Sigmoid|Tanh|HardSigmoid|BatchNormalization|Add|Sum|Mul|MaxPool|AveragePool|GlobalMaxPool|GlobalAveragePool|Concat)$/;
/** Some exponential or root for each element. */
const TRANSCENDENTAL =
  /^(Sigmoid|Tanh|Exp|Erf|Gelu|Softmax|LogSoftmax|LayerNormalization|InstanceNormalization|Mish|Elu)$/;

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
 * Estimated time of a float model in ONNX Runtime, from the kernel cost table alone: each node by the kernel it gets, plus
 * what it costs where values leave the blocked layout of the fast convolutions and come back. So it knows that a width that
 * fills no block costs as much as one that does, and one that is no multiple of 4 more. The same table gives the same times.
 */
export class FloatLatency {
  readonly #model: CostModel;
  readonly #block: number;
  readonly #known = new Map<string, number>();

  constructor(table: Pick<KernelCostTable, 'entries' | 'convolutionBlock'>) {
    this.#block = table.convolutionBlock ?? 1;
    const entries = table.entries.map((entry) => ({ ...entry, ...(asConvWorkload(entry, this.#block) ?? {}) }));
    this.#model = new CostModel({ entries });
  }

  /** An empty table. */
  get knowsNothing(): boolean {
    return this.#model.isEmpty;
  }

  /** Prepares a graph; the same graph is then estimated at any sizes. */
  of(graph: Graph): (sizesOf: SizesOf) => number {
    const uses = usesOf(graph);
    const outputs = new Set(graph.outputs.map(({ name }) => name));
    return (sizesOf) =>
      new GraphTime({ graph, uses, outputs, sizesOf, block: this.#block, latency: this }, this.#time).total();
  }

  /**
   * A convolution of a graph on images, in the layout that it gets; undefined where sizes are not known.
   *
   * @param isConstant - whether a value is known before the first run
   */
  convolution(node: Node, isConstant: (value: string) => boolean, sizesOf: SizesOf): ConvolutionTime | undefined {
    const [data = '', weight = ''] = node.inputs;
    const dims = sizesOf(weight);
    const result = sizesOf(node.outputs[0] ?? '');
    if (dims === undefined || result === undefined) return undefined;
    const [outputs = 1, inputs = 1, ...window] = dims;
    // The blocked kernels need weights they can lay out ahead, and are for images.
    const block = isConstant(weight) && window.length === 2 ? this.#block : 1;
    const pixels = Math.max(1, Math.round(elementCount(result) / outputs));
    // Not the attribute: a depthwise layer has fewer groups where it is estimated with fewer channels.
    const group = Math.max(1, Math.round((sizesOf(data)?.[1] ?? inputs) / inputs));
    const workload = convWorkload({ outputs, inputs, group, window: elementCount(window), pixels }, block);
    const family = workload.kernel.split(' ')[0] ?? '';
    const others = LAYOUTS.flatMap((layout) => [`${family} ${layout}`, `window ${layout}`]);
    return { layout: workload.layout, ns: this.#time(workload, others) };
  }

  readonly #time = (workload: Workload, others: readonly string[] = []): number => {
    const key = `${workload.kernel} ${workload.shape.join(' ')} ${workload.work}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    let ns = 0;
    for (const kernel of [workload.kernel, ...others]) {
      const estimate = this.#model.estimate({ ...workload, kernel });
      if (estimate === undefined) continue;
      ns = estimate.floatNs;
      break;
    }
    this.#known.set(key, ns);
    return ns;
  };
}

const LAYOUTS: readonly ConvLayout[] = ['plain', 'blocked', 'narrow'];

export interface ConvolutionTime {
  readonly layout: ConvLayout;
  readonly ns: number;
}

type TimeOf = (workload: Workload, others?: readonly string[]) => number;

interface Sized {
  readonly graph: Graph;
  readonly uses: ReadonlyMap<string, readonly Use[]>;
  readonly outputs: ReadonlySet<string>;
  readonly sizesOf: SizesOf;
  readonly block: number;
  readonly latency: FloatLatency;
}

/** One walk through the graph. A node whose sizes are not known takes no time: it does not decide about widths. */
class GraphTime {
  readonly #of: Sized;
  readonly #time: TimeOf;
  /** Values in the blocked layout; and those that were brought into the other one already. */
  readonly #blocked = new Set<string>();
  readonly #reordered = new Set<string>();
  readonly #makers = new Map<string, Node>();
  #sum = 0;

  constructor(of: Sized, time: TimeOf) {
    this.#of = of;
    this.#time = time;
  }

  total(): number {
    for (const node of this.#of.graph.nodes) {
      this.#visit(node);
      for (const output of node.outputs) this.#makers.set(output, node);
    }
    for (const name of this.#of.outputs) this.#want(name, false);
    return this.#sum;
  }

  #visit(node: Node): void {
    const [data = ''] = node.inputs;
    const [output = ''] = node.outputs;
    if (node.domain === '' && node.opType === 'Conv') this.#convolution(node);
    else if (node.domain === '' && FREE.test(node.opType)) {
      if (this.#blocked.has(data) && node.opType === 'Identity') this.#blocked.add(output);
      else this.#want(data, false);
    } else {
      const values = node.inputs.filter((name) => !this.#of.graph.initializers.has(name) && name !== '');
      const isBlocked = this.#staysBlocked(node, values);
      for (const name of values) this.#want(name, isBlocked);
      if (isBlocked) for (const name of node.outputs) this.#blocked.add(name);
      if (!this.#isFused(node, values)) this.#sum += this.#other(node, values);
    }
  }

  #convolution(node: Node): void {
    const { graph, sizesOf, latency } = this.#of;
    const time = latency.convolution(node, (value) => graph.initializers.has(value), sizesOf);
    if (time === undefined) return;
    this.#want(node.inputs[0] ?? '', time.layout === 'blocked');
    if (time.layout !== 'plain') this.#blocked.add(node.outputs[0] ?? '');
    this.#sum += time.ns;
  }

  /** A value in the layout that its reader wants; once brought there, it is at hand. Constants are laid out ahead. */
  #want(name: string, blocked: boolean): void {
    if (this.#blocked.has(name) === blocked || this.#reordered.has(name)) return;
    if (name === '' || this.#of.graph.initializers.has(name)) return;
    const elements = elementCount(this.#of.sizesOf(name) ?? [0]);
    if (elements === 0) return;
    this.#reordered.add(name);
    this.#sum += this.#elementwise('reorder', elements) / 2;
  }

  #staysBlocked(node: Node, values: readonly string[]): boolean {
    if (node.domain !== '' || !BLOCKED_TOO.test(node.opType) || values.length === 0) return false;
    if (!values.every((name) => this.#blocked.has(name))) return false;
    const channels = values.map((name) => this.#of.sizesOf(name)?.[1] ?? 1);
    if (node.opType === 'Concat') return channels.every((count) => count % this.#of.block === 0);
    return channels.every((count) => count === channels[0]);
  }

  /** The convolution or product ahead takes it up: an activation, or a sum of what it makes with another value. */
  #isFused(node: Node, values: readonly string[]): boolean {
    if (node.domain !== '' || !(FUSED.test(node.opType) || node.opType === 'Add')) return false;
    return values.some((name) => {
      const maker = this.#makers.get(name);
      if (maker === undefined || this.#of.uses.get(name)?.length !== 1 || this.#of.outputs.has(name)) return false;
      return /^(Conv|ConvTranspose|Gemm|MatMul)$/.test(maker.opType) || this.#isFusedSum(node, maker);
    });
  }

  /** Convolution, sum, activation. */
  #isFusedSum(node: Node, maker: Node): boolean {
    const isSum = maker.opType === 'Add' || maker.opType === 'BatchNormalization';
    return (
      isSum && maker.inputs.some((name) => (this.#makers.get(name)?.opType ?? '').startsWith('Conv')) && node !== maker
    );
  }

  #other(node: Node, values: readonly string[]): number {
    const sizes = (name: string | undefined) => this.#of.sizesOf(name ?? '');
    const output = sizes(node.outputs[0]);
    if (output === undefined) return 0;
    const rule = macRuleOf(node);
    if (rule !== undefined) return this.#product(node, output);
    const read = values.map((name) => this.#elements(name));
    const elements = KEEPS_ELEMENTS.test(node.opType) ? Math.max(...read, 0) : Math.max(elementCount(output), ...read);
    const kernel = /^(Max|Average)Pool$/.test(node.opType)
      ? `${node.opType === 'MaxPool' ? 'max' : 'average'}-pool`
      : TRANSCENDENTAL.test(node.opType)
        ? 'sigmoid'
        : 'add';
    return this.#elementwise(kernel, elements);
  }

  /** Counted where the value was made: the inside of a channel shuffle has no sizes of its own for fewer channels. */
  #elements(name: string): number {
    const maker = this.#makers.get(name);
    const [from] = maker !== undefined && KEEPS_ELEMENTS.test(maker.opType) ? maker.inputs : [];
    return from === undefined ? elementCount(this.#of.sizesOf(name) ?? [0]) : this.#elements(from);
  }

  /** Matrix products by their sizes; everything else that multiplies and accumulates like a product of as much work. */
  #product(node: Node, output: readonly number[]): number {
    const work = macRuleOf(node)?.macs({
      node,
      input: (index) => this.#of.sizesOf(node.inputs[index] ?? ''),
      output: (index) => this.#of.sizesOf(node.outputs[index] ?? ''),
    });
    if (work === undefined || work === 0) return 0;
    const elements = Math.max(1, elementCount(output));
    const columns = Math.max(1, output.at(-1) ?? 1);
    const shape = [columns, Math.max(1, work / elements), Math.max(1, elements / columns)];
    return this.#time({ kernel: 'matmul', shape, work });
  }

  #elementwise(kernel: string, elements: number): number {
    return elements === 0 ? 0 : this.#time({ kernel, shape: [elements], work: elements }, ['add']);
  }
}
