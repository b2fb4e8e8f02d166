import { NameScope, type Graph } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { makeNode, type AttributeInit, type Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import { raiseIrVersion } from '../../../onnx/upgrade/ir-version.ts';
import { nodeLabel } from '../node-filter.ts';
import { importMicrosoft } from '../qoperator-writer.ts';
import { constantOf } from '../scope.ts';
import type { StoredCodes } from './stored-codes.ts';
import type { WeightSite } from './weight-site.ts';

const MICROSOFT = 'com.microsoft';

export interface WriterOptions {
  readonly format: 'matmulnbits' | 'qdq';
  readonly bits: number;
  /** MatMulNBits' attribute: 0 computes in float, 4 quantizes the inputs to int8 while running. */
  readonly accuracyLevel: number;
}

/** Names of a stored weight's initializers; an absent zero point is ''. */
interface Names {
  readonly codes: string;
  readonly scales: string;
  readonly zeroPoints: string;
}

/** Puts quantized weights where float ones stood. After each weight the model is whole again. */
export class WeightWriter {
  readonly #model: Model;
  readonly #options: WriterOptions;
  readonly #names: NameScope;

  constructor(model: Model, options: WriterOptions) {
    this.#model = model;
    this.#options = options;
    this.#names = new NameScope(model.graph);
  }

  /** @param sites - all that read one weight, in graph order */
  write(sites: readonly WeightSite[], stored: StoredCodes): void {
    const [first] = sites;
    if (first === undefined) return;
    const { owner, tensor } = first.constant;
    const names = this.#addTensors(owner, stored);
    owner.initializers.delete(tensor.name);
    owner.valueInfos.delete(tensor.name);
    const dequantized = new Map<Graph, string>();
    for (const site of sites) {
      const { graph } = site.scope;
      const nodes = this.#replacement(site, names, dequantized);
      graph.nodes = graph.nodes.flatMap((node) => (node === site.node ? nodes : [node]));
    }
    importMicrosoft(this.#model);
    // 4-bit element types came with IR 10, 2-bit ones with 13.
    const types = [stored.codes, stored.zeroPoints].map((part) => part?.dataType ?? '');
    if (types.some((type) => type.endsWith('int4'))) raiseIrVersion(this.#model, 10);
    if (types.some((type) => type.endsWith('int2'))) raiseIrVersion(this.#model, 13);
  }

  #addTensors(owner: Graph, { codes, scales, zeroPoints }: StoredCodes): Names {
    const add = (tensor: Tensor): string => {
      const name = this.#names.fresh(tensor.name);
      owner.initializers.set(name, tensor.renamed(name));
      return name;
    };
    return { codes: add(codes), scales: add(scales), zeroPoints: zeroPoints === undefined ? '' : add(zeroPoints) };
  }

  #replacement(site: WeightSite, names: Names, dequantized: Map<Graph, string>): readonly Node[] {
    if (this.#options.format === 'qdq') return this.#dequantized(site, names, dequantized);
    return site.kind === 'embedding' ? [this.#gather(site, names)] : this.#product(site, names);
  }

  /** DequantizeLinear before the node, once for all nodes of a graph. */
  #dequantized(site: WeightSite, names: Names, dequantized: Map<Graph, string>): readonly Node[] {
    const { node, scope, inputIndex } = site;
    const known = dequantized.get(scope.graph);
    const value = known ?? this.#names.fresh(`${names.codes}_dequantized`);
    dequantized.set(scope.graph, value);
    node.inputs[inputIndex] = value;
    if (known !== undefined) return [node];
    const attributes: Record<string, AttributeInit> = {
      axis: site.axis,
      ...(site.isBlocked ? { block_size: site.view.blockSize } : {}),
    };
    const name = this.#names.fresh(`${nodeLabel(node)}_dequantize`);
    return [makeNode('DequantizeLinear', inputsOf(names), [value], { attributes, name }), node];
  }

  #gather({ node, view }: WeightSite, names: Names): Node {
    const inputs = [names.codes, node.inputs[1] ?? '', names.scales];
    if (names.zeroPoints !== '') inputs.push(names.zeroPoints);
    return makeNode('GatherBlockQuantized', inputs, node.outputs, {
      domain: MICROSOFT,
      name: node.name,
      attributes: { gather_axis: 0, quantize_axis: 1, block_size: view.blockSize, bits: this.#options.bits },
    });
  }

  /** MatMulNBits; of a Gemm, with its factor and its bias behind it. */
  #product({ node, scope, view }: WeightSite, names: Names): readonly Node[] {
    const { bits, accuracyLevel } = this.#options;
    const [output = ''] = node.outputs;
    const columns = view.outer * view.inner;
    const inputs = [node.inputs[0] ?? '', names.codes, names.scales];
    if (names.zeroPoints !== '') inputs.push(names.zeroPoints);
    const attributes = { K: view.size, N: columns, bits, block_size: view.blockSize, accuracy_level: accuracyLevel };
    const nbits = makeNode('MatMulNBits', inputs, [output], { domain: MICROSOFT, name: node.name, attributes });
    const nodes = [nbits];
    if (node.opType !== 'Gemm') return nodes;
    const label = nodeLabel(node);
    const { graph } = scope;
    const append = (opType: string, other: string): void => {
      const last = nodes.at(-1);
      if (last === undefined) return;
      const between = this.#names.fresh(`${label}_product`);
      last.outputs[0] = between;
      nodes.push(
        makeNode(opType, [between, other], [output], { name: this.#names.fresh(`${label}_${opType.toLowerCase()}`) }),
      );
    };
    const scalar = (name: string, value: number): string => {
      const unique = this.#names.fresh(name);
      graph.initializers.set(unique, Tensor.float(unique, [value], []));
      return unique;
    };
    const alpha = node.float('alpha', 1);
    if (alpha !== 1) append('Mul', scalar(`${label}_alpha`, alpha));
    const bias = node.inputs[2] ?? '';
    const beta = node.float('beta', 1);
    if (bias === '' || beta === 0) return nodes;
    const constant = constantOf(scope, bias)?.tensor;
    if (alpha === 1 && beta === 1 && constant?.dims.length === 1 && constant.dims[0] === columns) {
      nbits.inputs = [...inputs, ...Array<string>(5 - inputs.length).fill(''), bias];
      return nodes;
    }
    if (beta === 1) {
      append('Add', bias);
      return nodes;
    }
    const scaled = this.#names.fresh(`${label}_bias`);
    const factor = makeNode('Mul', [bias, scalar(`${label}_beta`, beta)], [scaled], {
      name: this.#names.fresh(`${label}_bias_mul`),
    });
    append('Add', scaled);
    return [factor, ...nodes];
  }
}

function inputsOf({ codes, scales, zeroPoints }: Names): string[] {
  return zeroPoints === '' ? [codes, scales] : [codes, scales, zeroPoints];
}
