import { DATA_TYPES } from '../../onnx/data-type.ts';
import { Graph } from '../../onnx/graph.ts';
import { Model } from '../../onnx/model.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import { makeNode, type Node } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { tensorValue } from '../../onnx/value-type.ts';
import type { ChainLink } from './kernel-benchmarks.ts';

/**
 * How the links of a chain compute: in float; in int8 (each between DequantizeLinear and QuantizeLinear, which ONNX
 * Runtime fuses); with activations quantized at run time; or so that each value leaves int8 and comes back.
 */
export type ChainForm = 'float' | 'int8' | 'dynamic' | 'boundary';

const SCALE = 1 / 64;
const ZERO_POINT = 128;

/** A model of `links` equal operators one after the other, from "x" to "y", both float of `dims`. */
export function chainModel(link: ChainLink, dims: readonly number[], form: ChainForm, links: number): Model {
  const chain = new Chain(link, dims, form);
  return chain.build(links);
}

class Chain {
  readonly #link: ChainLink;
  readonly #dims: readonly number[];
  readonly #form: ChainForm;
  readonly #graph: Graph;

  constructor(link: ChainLink, dims: readonly number[], form: ChainForm) {
    this.#link = link;
    this.#dims = dims;
    this.#form = form;
    const inputs = [tensorValue('x', 'float', dims)];
    this.#graph = new Graph({ name: 'chain', inputs, outputs: [tensorValue('y', 'float', dims)] });
  }

  build(links: number): Model {
    this.#addConstants();
    let value = 'x';
    if (this.#form === 'int8') value = this.#quantize(value, 'x_q');
    for (let index = 0; index < links; index += 1) value = this.#addLink(value, `l${index}`);
    const last = this.#form === 'int8' ? this.#dequantize(value, 'last') : value;
    this.#push(makeNode('Identity', [last], ['y']));
    return new Model({ graph: this.#graph, irVersion: 10, opsetImports: new Map([['', 21]]) });
  }

  #addConstants(): void {
    const link = this.#link;
    const add = (tensor: Tensor): void => void this.#graph.initializers.set(tensor.name, tensor);
    add(Tensor.float('s', [SCALE], []));
    add(Tensor.fromArray('z', { type: 'uint8', dims: [], data: Uint8Array.of(ZERO_POINT) }));
    if (link.kind === 'binary') add(Tensor.float('other', new Float32Array(elementCount(this.#dims)), this.#dims));
    if (link.kind !== 'weighted') return;
    const { weightDims, opType } = link;
    const count = elementCount(weightDims);
    if (this.#form === 'float') {
      const values = new Float32Array(count).map((_, i) => ((i % 7) - 3) / count ** 0.5);
      add(Tensor.float('w', values, weightDims));
      return;
    }
    const codes = new Int8Array(count).map((_, i) => (i % 127) - 63);
    add(Tensor.fromArray('w_q', { type: 'int8', dims: weightDims, data: codes }));
    const channels = (opType === 'Conv' ? weightDims[0] : weightDims.at(-1)) ?? 1;
    const scaleDims = this.#form === 'dynamic' && opType === 'Conv' ? [channels, 1, 1] : [channels];
    add(Tensor.float('w_s', new Float32Array(channels).fill(2 ** -12), scaleDims));
  }

  #addLink(value: string, name: string): string {
    const link = this.#link;
    switch (this.#form) {
      case 'float':
        return this.#compute(value, link.kind === 'weighted' ? 'w' : 'other', name);
      case 'int8':
        // Max pooling moves codes and nothing else, so it stands between no pair of quantizers.
        if (link.kind === 'unary' && link.opType === 'MaxPool') return this.#compute(value, '', name);
        return this.#quantize(this.#int8Body(value, name), `${name}_q`);
      case 'boundary': {
        if (link.kind !== 'weighted') {
          return this.#dequantize(this.#quantize(this.#compute(value, '', name), `${name}_q`), name);
        }
        const codes = this.#quantize(this.#int8Body(this.#quantize(value, `${name}_i`), name), `${name}_q`);
        return this.#push(makeNode('Neg', [this.#dequantize(codes, `${name}_o`)], [`${name}_neg`]));
      }
      case 'dynamic':
        return this.#dynamicLink(value, name);
    }
  }

  #int8Body(codes: string, name: string): string {
    const link = this.#link;
    const input = this.#dequantize(codes, `${name}_x`);
    if (link.kind === 'binary') {
      const other = this.#dequantize(this.#quantize('other', `${name}_other_q`), `${name}_other`);
      return this.#compute(input, other, name);
    }
    if (link.kind === 'unary') return this.#compute(input, '', name);
    const axis = link.opType === 'Conv' ? 0 : 1;
    const weight = this.#push(makeNode('DequantizeLinear', ['w_q', 'w_s'], [`${name}_w`], { attributes: { axis } }));
    return this.#compute(input, weight, name);
  }

  #dynamicLink(value: string, name: string): string {
    const link = this.#link;
    if (link.kind !== 'weighted') return value;
    const [codes, scale, zeroPoint] = [`${name}_q`, `${name}_s`, `${name}_z`];
    this.#push(makeNode('DynamicQuantizeLinear', [value], [codes, scale, zeroPoint]));
    const opType = link.opType === 'Conv' ? 'ConvInteger' : 'MatMulInteger';
    const { attributes } = link;
    const acc = this.#push(makeNode(opType, [codes, 'w_q', zeroPoint], [`${name}_acc`], { attributes }));
    const float = this.#push(makeNode('Cast', [acc], [`${name}_f`], { attributes: { to: DATA_TYPES.float.code } }));
    const factor = this.#push(makeNode('Mul', [scale, 'w_s'], [`${name}_m`]));
    return this.#push(makeNode('Mul', [float, factor], [`${name}_y`]));
  }

  #compute(value: string, other: string, name: string): string {
    const link = this.#link;
    const inputs = link.kind === 'unary' ? [value] : [value, other];
    const attributes = link.kind === 'binary' ? {} : link.attributes;
    return this.#push(makeNode(link.opType, inputs, [`${name}_r`], { attributes }));
  }

  #quantize(value: string, output: string): string {
    return this.#push(makeNode('QuantizeLinear', [value, 's', 'z'], [output]));
  }

  #dequantize(codes: string, name: string): string {
    return this.#push(makeNode('DequantizeLinear', [codes, 's', 'z'], [`${name}_d`]));
  }

  #push(node: Node): string {
    this.#graph.nodes.push(node);
    return node.outputs[0] ?? '';
  }
}
