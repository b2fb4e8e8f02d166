import { GraphBuilder } from '../../onnx/graph-builder.ts';
import type { Model } from '../../onnx/model.ts';
import { makeNode, type Node } from '../../onnx/node.ts';
import { packIntegers } from '../../onnx/packed-integers.ts';
import { Tensor } from '../../onnx/tensor.ts';
import type { Clusters } from '../../numerics/k-means.ts';

/** Where a weight's numbers are now. */
export interface WrittenCodebook {
  /** Initializer of the centroids, float. */
  readonly codebook: string;
  readonly bits: 4 | 8;
  readonly packed: Uint8Array;
  readonly indices: Uint8Array;
  readonly gather: Node;
}

/** Two indices a byte where they fit into four bits and the opset has uint4 (21 and later). */
export function indexBits(centroids: number, opset: number): 4 | 8 {
  return centroids <= 16 && opset >= 21 ? 4 : 8;
}

/** Bytes in the file of indices and centroids, with two nodes and two names. */
export function codebookBytes(elements: number, centroids: number, opset: number): number {
  return Math.ceil((elements * indexBits(centroids, opset)) / 8) + 4 * centroids + NODES_BYTES;
}

/** What the two nodes, their names and the two headers take, roughly. */
const NODES_BYTES = 320;

/** Puts codebooks where weights stood: indices -> Cast -> Gather, under the weight's own name, so that no reader changes. */
export class CodebookWriter {
  readonly #model: Model;
  readonly #builder: GraphBuilder;
  readonly #opset: number;
  readonly #nodes: Node[] = [];

  constructor(model: Model, opset: number) {
    this.#model = model;
    this.#builder = new GraphBuilder(model.graph);
    this.#opset = opset;
  }

  write(tensor: Tensor, { centroids, indices }: Clusters): WrittenCodebook {
    const { graph } = this.#model;
    const bits = indexBits(centroids.length, this.#opset);
    const packed = bits === 4 ? packIntegers('uint4', indices) : indices;
    const { name, dims } = tensor;
    graph.initializers.delete(name);
    graph.valueInfos.delete(name);
    const codebook = this.#builder.initializer(Tensor.float(`${name}_codebook`, centroids));
    const stored = this.#builder.array(`${name}_indices`, { type: bits === 4 ? 'uint4' : 'uint8', dims, data: packed });
    const wide = this.#builder.fresh(`${name}_indices_int32`);
    const cast = makeNode('Cast', [stored], [wide], {
      attributes: { to: INT32 },
      name: this.#builder.fresh(`${name}_cast`),
    });
    const gather = makeNode('Gather', [codebook, wide], [name], { name: this.#builder.fresh(`${name}_gather`) });
    this.#nodes.push(cast, gather);
    return { codebook, bits, packed, indices, gather };
  }

  /** Puts the nodes in front of the graph. */
  finish(): void {
    this.#model.graph.nodes.unshift(...this.#nodes);
  }
}

/** TensorProto.DataType of int32. */
const INT32 = 6;
