import { GraphBuilder } from '../../onnx/graph-builder.ts';
import type { Model } from '../../onnx/model.ts';
import type { Attribute, AttributeInit } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { describeNode, makeNode, type Node } from '../../onnx/node.ts';
import { CompressionError } from '../../errors.ts';
import type { DenseLayer } from './layers.ts';

/** One convolution of the chain that takes a layer's place. */
export interface ConvPart {
  /** [outputs, inputs, ...kernel], float64, rounded when written. */
  readonly weight: Float64Array;
  readonly dims: readonly number[];
  /** Those of the replaced node that belong here: strides, pads, dilations, auto_pad. */
  readonly attributes: Readonly<Record<string, AttributeInit>>;
}

/** One matrix of the chain: [outputs, inputs]. */
export interface ProductPart {
  readonly weight: Float64Array;
  readonly outputs: number;
  readonly inputs: number;
}

export type Chain =
  | { readonly kind: 'conv'; readonly parts: readonly ConvPart[] }
  | { readonly kind: 'product'; readonly parts: readonly ProductPart[] };

/** Writes chains of layers where single ones stood. */
export class LayerReplacer {
  readonly #model: Model;
  readonly #builder: GraphBuilder;

  constructor(model: Model) {
    this.#model = model;
    this.#builder = new GraphBuilder(model.graph);
  }

  /**
   * The last part keeps the node's name, output and bias; the ones before get names of their own.
   *
   * @param biasChange - [outputs], added to the bias; only for layers that `canTakeBias` allows
   */
  replace(layer: DenseLayer, chain: Chain, biasChange: Float64Array | undefined): void {
    const { graph } = this.#model;
    const bias = biasChange === undefined ? layer.node.inputs[2] : this.#changedBias(layer, biasChange);
    const nodes = chain.kind === 'conv' ? this.#convs(layer, chain.parts) : this.#products(layer, chain.parts);
    const last = nodes.at(-1);
    if (last === undefined) throw new CompressionError('INTERNAL', `${describeNode(layer.node)} got an empty chain`);
    if (bias !== undefined && bias !== '') last.inputs.push(bias);
    const at = graph.nodes.indexOf(layer.node);
    graph.nodes.splice(at, 1, ...nodes);
    graph.initializers.delete(layer.weightName);
    graph.valueInfos.delete(layer.weightName);
  }

  #convs(layer: DenseLayer, parts: readonly ConvPart[]): Node[] {
    return this.#chain(layer, parts.length, (index, value, output) => {
      const part = parts[index];
      if (part === undefined) throw new CompressionError('INTERNAL', 'a part is missing');
      const weight = this.#weight(layer, index, part.weight, part.dims);
      return makeNode('Conv', [value, weight], [output], { attributes: part.attributes });
    });
  }

  #products(layer: DenseLayer, parts: readonly ProductPart[]): Node[] {
    return this.#chain(layer, parts.length, (index, value, output) => {
      const part = parts[index];
      if (part === undefined) throw new CompressionError('INTERNAL', 'a part is missing');
      const { weight, outputs, inputs } = part;
      if (layer.kind === 'Gemm') {
        const name = this.#weight(layer, index, weight, [outputs, inputs]);
        const isLast = index === parts.length - 1;
        const scales = isLast ? ['alpha', 'beta'] : [];
        const kept = Object.fromEntries([...layer.node.attributes].filter(([key]) => scales.includes(key)));
        return makeNode('Gemm', [value, name], [output], { attributes: { ...kept, transB: 1 } });
      }
      const turned = new Float64Array(weight.length);
      for (let i = 0; i < outputs; i += 1) {
        for (let j = 0; j < inputs; j += 1) turned[j * outputs + i] = weight[i * inputs + j] ?? 0;
      }
      return makeNode('MatMul', [value, this.#weight(layer, index, turned, [inputs, outputs])], [output]);
    });
  }

  #chain(layer: DenseLayer, count: number, part: (index: number, value: string, output: string) => Node): Node[] {
    const nodes: Node[] = [];
    let value = layer.node.inputs[0] ?? '';
    for (let index = 0; index < count; index += 1) {
      const isLast = index === count - 1;
      const output = isLast ? (layer.node.outputs[0] ?? '') : this.#builder.fresh(`${layer.label}_part${index}_output`);
      const node = part(index, value, output);
      node.name = isLast ? layer.node.name : this.#builder.fresh(`${layer.label}_part${index}`);
      if (isLast) {
        node.docString = layer.node.docString;
        node.metadata = layer.node.metadata;
      }
      nodes.push(node);
      value = output;
    }
    return nodes;
  }

  #weight(layer: DenseLayer, index: number, values: Float64Array, dims: readonly number[]): string {
    return this.#builder.initializer(Tensor.float(`${layer.weightName}_part${index}`, values, dims));
  }

  #changedBias(layer: DenseLayer, change: Float64Array): string {
    const { graph } = this.#model;
    const old = layer.node.inputs[2] ?? '';
    const before = old === '' ? undefined : graph.initializers.get(old)?.floats();
    const values = change.map((value, i) => value + (before?.[i] ?? 0));
    const name = this.#builder.initializer(Tensor.float(`${layer.weightName}_bias`, values));
    // A bias that nobody else reads goes with the layer; one that others read stays.
    const readers = graph.nodes.filter((node) => node.inputs.includes(old)).length;
    if (old !== '' && readers === 1 && !graph.outputs.some((output) => output.name === old)) {
      graph.initializers.delete(old);
      graph.valueInfos.delete(old);
    }
    return name;
  }
}

/** True when what the layer adds to its outputs may be changed: no bias yet, or a constant vector, and no scales. */
export function canTakeBias(model: Model, { node, kind, outputs }: DenseLayer): boolean {
  if (kind === 'MatMul') return false;
  if (node.float('alpha', 1) !== 1 || node.float('beta', 1) !== 1) return false;
  const bias = node.inputs[2] ?? '';
  if (bias === '') return true;
  const tensor = model.graph.initializers.get(bias);
  if (model.graph.inputs.some(({ name }) => name === bias)) return false;
  return tensor?.dataType === 'float' && tensor.elementCount === outputs && tensor.dims.at(-1) === outputs;
}

/** Attributes of a Conv that say how its window moves, as they are. */
export function windowAttributes(node: Node): Record<string, Attribute> {
  const kept = ['strides', 'pads', 'dilations', 'auto_pad'];
  return Object.fromEntries([...node.attributes].filter(([name]) => kept.includes(name)));
}
