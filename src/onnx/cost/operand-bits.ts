import { DATA_TYPES } from '../data-type.ts';
import { producersOf, type Graph } from '../graph.ts';
import type { TypeTable } from '../inference/type-table.ts';
import type { Node } from '../node.ts';

/** Operators that move elements without computing: the width on both sides is the same. */
const MOVING = new Set(['Flatten', 'Identity', 'Pad', 'Reshape', 'Slice', 'Squeeze', 'Transpose', 'Unsqueeze']);
const MAX_STEPS = 16;

/**
 * Finds the width in bits in which an operand of a product is held: behind a DequantizeLinear it is that of the quantized
 * tensor, since ONNX Runtime computes on the integers.
 */
export class OperandBits {
  readonly #graph: Graph;
  readonly #types: TypeTable;
  readonly #producers: ReadonlyMap<string, Node>;

  constructor(graph: Graph, types: TypeTable) {
    this.#graph = graph;
    this.#types = types;
    this.#producers = producersOf(graph);
  }

  of(valueName: string): number | undefined {
    let name = valueName;
    for (let step = 0; step < MAX_STEPS; step += 1) {
      const producer = this.#producers.get(name);
      if (producer === undefined) break;
      if (producer.opType === 'DequantizeLinear') {
        name = producer.inputs[0] ?? '';
        break;
      }
      if (producer.domain !== '' || !(MOVING.has(producer.opType) || this.#isScaling(producer))) break;
      name = producer.inputs[0] ?? '';
    }
    const type = this.#types.of(this.#graph, name);
    return type?.kind === 'tensor' ? DATA_TYPES[type.elementType].bits : undefined;
  }

  /** Scales beside a DequantizeLinear instead of in it. */
  #isScaling({ opType, inputs: [value = '', factor = ''] }: Node): boolean {
    const isDequantized = this.#producers.get(value)?.opType === 'DequantizeLinear';
    return opType === 'Mul' && isDequantized && this.#graph.initializers.has(factor);
  }
}
