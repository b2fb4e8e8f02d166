import { macRuleOf } from '../../onnx/cost/mac-rules.ts';
import { usesOf, type Graph, type Use } from '../../onnx/graph.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import type { Node } from '../../onnx/node.ts';
import type { ConvLayout } from './conv-layout.ts';
import type { SizesOf, Workload } from './cost-model.ts';

/** Estimated time of a model in one arithmetic, by the kernel cost table alone. The same table gives the same times. */
export interface Latency {
  readonly arithmetic: 'float' | 'int8';
  /** An empty table. */
  readonly knowsNothing: boolean;
  /** Prepares a graph; the same graph is then estimated at any sizes. @returns nanoseconds of one run */
  of(graph: Graph): (sizesOf: SizesOf) => number;
}

/** What single operators cost in one arithmetic. */
export interface OperatorTimes {
  /** Channels of a block in the layout that fast convolutions have besides the plain one; 1 where there is none. */
  readonly block: number;
  /** Operators that are part of the convolution or product ahead of them, where nobody else reads that. */
  readonly fused: RegExp;
  /**
   * A convolution of a graph on images, in the layout that it gets; undefined where sizes are not known.
   *
   * @param isConstant - whether a value is known before the first run
   */
  convolution(node: Node, isConstant: (value: string) => boolean, sizesOf: SizesOf): ConvolutionTime | undefined;
  /** Nanoseconds of a kernel, or of the first of `others` that was measured; 0 where none was. */
  time(workload: Workload, others?: readonly string[]): number;
}

export interface ConvolutionTime {
  readonly layout: ConvLayout;
  readonly ns: number;
}

/** Its result is its input under another shape, or known before the first run. */
const FREE = /^(Identity|Reshape|Flatten|Squeeze|Unsqueeze|Dropout|Shape|Size|Constant|ConstantOfShape|Range)$/;
/** As many elements come out as go in. */
const KEEPS_ELEMENTS = /^(Identity|Reshape|Flatten|Squeeze|Unsqueeze|Transpose)$/;
/** Work on blocked values as they are. */
const BLOCKED_TOO =
  /^(Relu|Clip|LeakyRelu|Sigmoid|Tanh|HardSigmoid|BatchNormalization|Add|Sum|Mul|MaxPool|AveragePool|GlobalMaxPool|GlobalAveragePool|Concat)$/;
/** Some exponential or root for each element. */
const TRANSCENDENTAL =
  /^(Sigmoid|Tanh|Exp|Erf|Gelu|Softmax|LogSoftmax|LayerNormalization|InstanceNormalization|Mish|Elu)$/;

/** Estimated nanoseconds of one run of a graph, at any sizes: each node by the kernel it gets, and what changes of layout take. */
export function graphTime(graph: Graph, times: OperatorTimes): (sizesOf: SizesOf) => number {
  const uses = usesOf(graph);
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  return (sizesOf) => new GraphTime({ graph, uses, outputs, sizesOf, times }).total();
}

interface Sized {
  readonly graph: Graph;
  readonly uses: ReadonlyMap<string, readonly Use[]>;
  readonly outputs: ReadonlySet<string>;
  readonly sizesOf: SizesOf;
  readonly times: OperatorTimes;
}

/** One walk through the graph. A node whose sizes are not known takes no time: it does not decide about widths. */
class GraphTime {
  readonly #of: Sized;
  /** Values in the blocked layout; and those that were brought into the other one already. */
  readonly #blocked = new Set<string>();
  readonly #reordered = new Set<string>();
  readonly #makers = new Map<string, Node>();
  #sum = 0;

  constructor(of: Sized) {
    this.#of = of;
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
    const { graph, sizesOf, times } = this.#of;
    const time = times.convolution(node, (value) => graph.initializers.has(value), sizesOf);
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
    if (node.opType === 'Concat') return channels.every((count) => count % this.#of.times.block === 0);
    return channels.every((count) => count === channels[0]);
  }

  /** The convolution or product ahead takes it up: an activation, or a sum of what it makes with another value. */
  #isFused(node: Node, values: readonly string[]): boolean {
    if (node.domain !== '' || !this.#of.times.fused.test(node.opType)) return false;
    return values.some((name) => {
      const maker = this.#makers.get(name);
      if (maker === undefined || this.#of.uses.get(name)?.length !== 1 || this.#of.outputs.has(name)) return false;
      return /^(Conv|ConvTranspose|Gemm|MatMul)$/.test(maker.opType) || this.#isFusedSum(node, maker);
    });
  }

  /** Convolution, sum, activation. */
  #isFusedSum(node: Node, maker: Node): boolean {
    const isSum = maker.opType === 'Add' || maker.opType === 'BatchNormalization';
    const isOfConv = (name: string): boolean => /^(Conv|BatchNormalization)/.test(this.#makers.get(name)?.opType ?? '');
    return isSum && maker.inputs.some(isOfConv) && node !== maker;
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
    return this.#of.times.time({ kernel: 'matmul', shape, work });
  }

  #elementwise(kernel: string, elements: number): number {
    return elements === 0 ? 0 : this.#of.times.time({ kernel, shape: [elements], work: elements }, ['add']);
  }
}
