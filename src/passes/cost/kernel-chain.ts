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
 * Runtime fuses); with activations quantized at run time; so that each value leaves int8 and comes back; or in float with
 * an operator in between that takes no blocked layout.
 */
export type ChainForm = 'float' | 'int8' | 'dynamic' | 'boundary' | 'reordered';

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
    const outputDims = link.kind === 'stem' ? [dims[0] ?? 1, link.weightDims[0] ?? 1, ...dims.slice(2)] : dims;
    this.#graph = new Graph({ name: 'chain', inputs, outputs: [tensorValue('y', 'float', outputDims)] });
  }

  build(links: number): Model {
    this.#addConstants(links);
    const input = this.#form === 'int8' ? this.#quantize('x', 'x_q') : 'x';
    let value = input;
    for (let index = 0; index < links; index += 1) {
      if (this.#link.kind !== 'stem') value = this.#addLink(value, `l${index}`, 'w0');
      else {
        const made = this.#addLink(input, `l${index}`, `w${index}`);
        value = index === 0 ? made : this.#join(value, made, `j${index}`);
      }
    }
    const last = this.#form === 'int8' ? this.#dequantize(value, 'last') : value;
    this.#push(makeNode('Identity', [last], ['y']));
    return new Model({ graph: this.#graph, irVersion: 10, opsetImports: new Map([['', 21]]) });
  }

  #join(before: string, made: string, name: string): string {
    if (this.#form === 'float') return this.#push(makeNode('Add', [before, made], [name]));
    const operands = [this.#dequantize(before, `${name}_a`), this.#dequantize(made, `${name}_b`)];
    return this.#quantize(this.#push(makeNode('Add', operands, [name])), `${name}_q`);
  }

  #addConstants(links: number): void {
    const link = this.#link;
    this.#add(Tensor.float('s', [SCALE], []));
    this.#add(Tensor.fromArray('z', { type: 'uint8', dims: [], data: Uint8Array.of(ZERO_POINT) }));
    if (link.kind === 'binary') {
      this.#add(Tensor.float('other', new Float32Array(elementCount(this.#dims)), this.#dims));
    }
    if (link.kind === 'unary' || link.kind === 'binary') return;
    // Stems read the same input, so equal weights would make them one: each has its own.
    for (let index = 0; index < (link.kind === 'stem' ? links : 1); index += 1) this.#addWeight(link, index);
  }

  #addWeight(link: Exclude<ChainLink, { kind: 'unary' | 'binary' }>, index: number): void {
    const { weightDims } = link;
    const opType = link.kind === 'weighted' ? link.opType : 'Conv';
    const count = elementCount(weightDims);
    if (this.#form !== 'int8' && this.#form !== 'dynamic') {
      // No row sums to zero: what is left of rounding would become denormal numbers down the chain, and those take 20x as long.
      const values = new Float32Array(count).map((_, i) => (((i + index) % 7) - 2.5) / count ** 0.5);
      this.#add(Tensor.float(`w${index}`, values, weightDims));
    }
    if (this.#form === 'float' || this.#form === 'reordered') return;
    const codes = new Int8Array(count).map((_, i) => ((i + index) % 127) - 63);
    this.#add(Tensor.fromArray(`w${index}_q`, { type: 'int8', dims: weightDims, data: codes }));
    const channels = (opType === 'Conv' ? weightDims[0] : weightDims.at(-1)) ?? 1;
    const scaleDims = this.#form === 'dynamic' && opType === 'Conv' ? [channels, 1, 1] : [channels];
    this.#add(Tensor.float(`w${index}_s`, new Float32Array(channels).fill(2 ** -12), scaleDims));
  }

  #addLink(value: string, name: string, weight: string): string {
    const link = this.#link;
    switch (this.#form) {
      case 'float': {
        const made = this.#compute(value, link.kind === 'binary' ? 'other' : weight, name);
        return link.kind === 'pool' ? this.#push(pool(link, made, name)) : made;
      }
      case 'int8': {
        const codes = this.#quantize(this.#int8Body(value, name, weight), `${name}_q`);
        if (link.kind !== 'pool') return codes;
        // Max pooling moves codes and nothing else, so it stands between no pair of quantizers.
        if (link.opType === 'MaxPool') return this.#push(pool(link, codes, name));
        const pooled = this.#push(pool(link, this.#dequantize(codes, `${name}_p`), name));
        return this.#quantize(pooled, `${name}_pq`);
      }
      case 'boundary': {
        if (link.kind !== 'weighted') {
          return this.#dequantize(this.#quantize(this.#compute(value, '', name), `${name}_q`), name);
        }
        const codes = this.#quantize(this.#int8Body(this.#quantize(value, `${name}_i`), name, weight), `${name}_q`);
        // A float operator that cares for the layout: transpositions would be moved through any other and cancel out. Neg
        // keeps ONNX Runtime from quantizing the float convolution by itself.
        const float = this.#compute(this.#dequantize(codes, `${name}_o`), weight, `${name}_float`);
        return this.#push(makeNode('Neg', [float], [`${name}_neg`]));
      }
      case 'reordered':
        return this.#push(makeNode('Neg', [this.#compute(value, weight, name)], [`${name}_neg`]));
      case 'dynamic':
        return this.#dynamicLink(value, name);
    }
  }

  #int8Body(codes: string, name: string, weight: string): string {
    const link = this.#link;
    const input = this.#dequantize(codes, `${name}_x`);
    if (link.kind === 'binary') {
      const other = this.#dequantize(this.#quantize('other', `${name}_other_q`), `${name}_other`);
      return this.#compute(input, other, name);
    }
    if (link.kind === 'unary') return this.#compute(input, '', name);
    const axis = link.kind === 'weighted' && link.opType === 'MatMul' ? 1 : 0;
    const inputs = [`${weight}_q`, `${weight}_s`];
    return this.#compute(
      input,
      this.#push(makeNode('DequantizeLinear', inputs, [`${name}_w`], { attributes: { axis } })),
      name,
    );
  }

  #dynamicLink(value: string, name: string): string {
    const link = this.#link;
    if (link.kind !== 'weighted') return value;
    const [codes, scale, zeroPoint] = [`${name}_q`, `${name}_s`, `${name}_z`];
    this.#push(makeNode('DynamicQuantizeLinear', [value], [codes, scale, zeroPoint]));
    const opType = link.opType === 'Conv' ? 'ConvInteger' : 'MatMulInteger';
    const { attributes } = link;
    const acc = this.#push(makeNode(opType, [codes, 'w0_q', zeroPoint], [`${name}_acc`], { attributes }));
    const float = this.#push(makeNode('Cast', [acc], [`${name}_f`], { attributes: { to: DATA_TYPES.float.code } }));
    const factor = this.#push(makeNode('Mul', [scale, 'w0_s'], [`${name}_m`]));
    return this.#push(makeNode('Mul', [float, factor], [`${name}_y`]));
  }

  #compute(value: string, other: string, name: string): string {
    const link = this.#link;
    const inputs = link.kind === 'unary' ? [value] : [value, other];
    const opType = link.kind === 'stem' || link.kind === 'pool' ? 'Conv' : link.opType;
    const attributes = link.kind === 'binary' || link.kind === 'pool' ? {} : link.attributes;
    return this.#push(makeNode(opType, inputs, [`${name}_r`], { attributes }));
  }

  #quantize(value: string, output: string): string {
    return this.#push(makeNode('QuantizeLinear', [value, 's', 'z'], [output]));
  }

  #dequantize(codes: string, name: string): string {
    return this.#push(makeNode('DequantizeLinear', [codes, 's', 'z'], [`${name}_d`]));
  }

  #add(tensor: Tensor): void {
    this.#graph.initializers.set(tensor.name, tensor);
  }

  #push(node: Node): string {
    this.#graph.nodes.push(node);
    return node.outputs[0] ?? '';
  }
}

function pool(link: Extract<ChainLink, { kind: 'pool' }>, value: string, name: string): Node {
  return makeNode(link.opType, [value], [`${name}_pool`], { attributes: link.attributes });
}
