import type { NarrowFloat } from '../../../numerics/float-formats.ts';
import { NameScope, type Graph } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { makeNode, type Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import { raiseIrVersion } from '../../../onnx/upgrade/ir-version.ts';
import type { FloatWeight } from './find-floats.ts';
import type { NarrowedTensor } from './narrow-tensor.ts';

/** TensorProto.DataType of float. */
const FLOAT = 1;

/** Puts narrow tensors where float ones stood, with a Cast (float8: DequantizeLinear) under the old name, so that no reader changes. */
export class FloatWriter {
  readonly #type: NarrowFloat;
  readonly #model: Model;
  readonly #names: NameScope;
  readonly #nodes = new Map<Graph, Node[]>();

  constructor(model: Model, type: NarrowFloat) {
    this.#model = model;
    this.#type = type;
    this.#names = new NameScope(model.graph);
  }

  write({ tensor, owner }: FloatWeight, { storage, scale }: NarrowedTensor): void {
    const { name, dims } = tensor;
    const stored = this.#names.fresh(`${name}_${this.#type}`);
    owner.initializers.delete(name);
    owner.valueInfos.delete(name);
    owner.initializers.set(stored, new Tensor({ name: stored, dataType: this.#type, dims, storage }));
    const nodes = this.#nodes.get(owner) ?? [];
    this.#nodes.set(owner, nodes);
    const node = { name: this.#names.fresh(`${name}_to_float`) };
    if (this.#type !== 'float8e4m3fn') {
      nodes.push(makeNode('Cast', [stored], [name], { ...node, attributes: { to: FLOAT } }));
      return;
    }
    const factor = this.#names.fresh(`${name}_scale`);
    owner.initializers.set(factor, Tensor.float(factor, [scale], []));
    nodes.push(makeNode('DequantizeLinear', [stored, factor], [name], node));
  }

  /** Puts the nodes in front of their graphs. */
  finish(): void {
    for (const [graph, nodes] of this.#nodes) graph.nodes.unshift(...nodes);
    if (this.#nodes.size === 0) return;
    // float8 came with IR 9.
    if (this.#type === 'float8e4m3fn') raiseIrVersion(this.#model, 9);
  }
}
