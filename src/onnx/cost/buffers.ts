import type { Graph, Use } from '../graph.ts';
import type { Node } from '../node.ts';

/** The output is the input's memory under another shape or name. */
const VIEWS = new Set(['Flatten', 'Identity', 'Reshape', 'Squeeze', 'Unsqueeze']);

/** Works element by element on one tensor: in place when nobody else reads the input. */
const IN_PLACE = new Set([
  'Abs',
  'Clip',
  'Dropout',
  'Elu',
  'Exp',
  'Gelu',
  'HardSigmoid',
  'HardSwish',
  'LeakyRelu',
  'Mish',
  'Neg',
  'Relu',
  'Selu',
  'Sigmoid',
  'Softplus',
  'Sqrt',
  'Tanh',
]);

/** Operators that ONNX Runtime runs on the integers between DequantizeLinear and QuantizeLinear. */
const QUANTIZED = new Set([
  'Add',
  'ArgMax',
  'AveragePool',
  'Clip',
  'Concat',
  'Conv',
  'Expand',
  'Flatten',
  'Gather',
  'Gemm',
  'GlobalAveragePool',
  'LeakyRelu',
  'MatMul',
  'MaxPool',
  'Mul',
  'QuantizeLinear',
  'Relu',
  'Reshape',
  'Resize',
  'Sigmoid',
  'Slice',
  'Softmax',
  'Split',
  'Squeeze',
  'Tile',
  'Transpose',
  'Unsqueeze',
  'Where',
]);

/** Which values of a graph share memory. A buffer is named by its first value. */
export class Buffers {
  readonly #first = new Map<string, string>();
  readonly #members = new Map<string, string[]>();
  /** Values that are never written out themselves, because a fused kernel reads or writes the quantized value. */
  readonly #fused = new Set<string>();

  constructor(graph: Graph, uses: ReadonlyMap<string, readonly Use[]>) {
    const outputs = new Set(graph.outputs.map((output) => output.name));
    const inputs = new Set(graph.inputs.map((input) => input.name));
    const made = new Map<string, Node>();
    const sources = new Map<string, string>();
    const isOnlyReadBy = (name: string, node: Node): boolean =>
      uses.get(name)?.length === 1 && uses.get(name)?.[0]?.node === node && !outputs.has(name);
    for (const node of graph.nodes) {
      const [source = '', result = ''] = [node.inputs[0], node.outputs[0]];
      // The caller owns the inputs: a view of one is possible, writing into it is not.
      const mayOverwrite = made.has(source) && isOnlyReadBy(source, node);
      for (const name of node.outputs) made.set(name, node);
      const isView = VIEWS.has(node.opType) && node.domain === '' && (made.has(source) || inputs.has(source));
      const isInPlace = IN_PLACE.has(node.opType) && node.domain === '' && mayOverwrite;
      const isConsumedAsIntegers =
        !outputs.has(result) && (uses.get(result) ?? []).every((use) => QUANTIZED.has(use.node.opType));
      if (node.opType === 'DequantizeLinear' && isConsumedAsIntegers && (made.has(source) || inputs.has(source))) {
        this.#join(source, result);
        this.#fused.add(result);
      } else if (node.opType === 'QuantizeLinear' && mayOverwrite && QUANTIZED.has(made.get(source)?.opType ?? '')) {
        // What the chain of single readers leads back to is never written as float.
        for (let name: string | undefined = source; name !== undefined; name = sources.get(name)) this.#fused.add(name);
        this.#join(source, result);
      } else if (isView || isInPlace) {
        this.#join(source, result);
        if (mayOverwrite) sources.set(result, source);
      }
    }
  }

  of(name: string): string {
    return this.#first.get(name) ?? name;
  }

  /** The values of a buffer that decide its size. */
  sizedBy(buffer: string): readonly string[] {
    const members = this.#members.get(buffer) ?? [buffer];
    const written = members.filter((name) => !this.#fused.has(name));
    return written.length > 0 ? written : members;
  }

  #join(source: string, name: string): void {
    const buffer = this.of(source);
    this.#first.set(name, buffer);
    const members = this.#members.get(buffer);
    if (members === undefined) this.#members.set(buffer, [buffer, name]);
    else members.push(name);
  }
}
