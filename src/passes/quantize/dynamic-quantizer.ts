import { NameScope, type Graph } from '../../onnx/graph.ts';
import type { Model } from '../../onnx/model.ts';
import { makeNode, type Node } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import type { Skipped } from '../pass.ts';
import { examineDynamic, layerValues, type DynamicLayer } from './dynamic-layers.ts';
import { quantizeAtRunTime, rescale, storeWeight, type DynamicValue, type StoredWeight } from './dynamic-rewrite.ts';
import { nodeLabel } from './node-filter.ts';
import { examineLstm, integerLstm, storeLstmWeight, type StoredLstmWeight } from './dynamic-lstm.ts';
import { dropUnread, type Constant, type Scope } from './scope.ts';
import { canSaturatePairs, channelLayout, quantizeWeight, weightParams, type WeightRange } from './weights.ts';

/** One quantized weight, for the step report. */
export interface DynamicLayerReport {
  readonly node: string;
  readonly operator: string;
  readonly weight: string;
  readonly shape: readonly number[];
  readonly bits: 8;
  readonly scaleMin: number;
  readonly scaleMax: number;
  /** Whether two products could saturate int16 on an x64 CPU without VNNI. */
  readonly canSaturate: boolean;
}

export interface DynamicSettings {
  readonly type: 'int8' | 'uint8';
  readonly perChannel: boolean;
  readonly range: WeightRange;
  /** undefined: quantize it; otherwise why not. */
  refuse(layer: { readonly node: Node }): string | undefined;
}

interface Stored {
  readonly weight: StoredWeight;
  readonly report: Omit<DynamicLayerReport, 'node' | 'operator'>;
}

/** Rewrites MatMul, Gemm, Conv and LSTM of a model, in its subgraphs too, to integer operators with run-time activations. */
export class DynamicQuantizer {
  readonly layers: DynamicLayerReport[] = [];
  readonly skipped: Skipped[] = [];
  readonly #model: Model;
  readonly #settings: DynamicSettings;
  readonly #names: NameScope;
  /** Weights already stored, by owner graph and layout: shared initializers are quantized once. */
  readonly #stored = new Map<Graph, Map<string, Stored>>();
  readonly #replaced = new Map<Graph, Set<string>>();
  readonly #lstmWeights = new Map<Tensor, StoredLstmWeight>();
  #changes = 0;
  #usesMicrosoft = false;

  constructor(model: Model, settings: DynamicSettings) {
    this.#model = model;
    this.#settings = settings;
    this.#names = new NameScope(model.graph);
  }

  /** @returns nodes that were replaced */
  run(): number {
    this.#rewrite({ graph: this.#model.graph });
    for (const [owner, names] of this.#replaced) dropUnread(owner, names);
    const { opsetImports } = this.#model;
    if (this.#usesMicrosoft && !opsetImports.has('com.microsoft')) opsetImports.set('com.microsoft', 1);
    return this.#changes;
  }

  #rewrite(scope: Scope): void {
    const nodes: Node[] = [];
    const values = new Map<string, DynamicValue>();
    for (const node of scope.graph.nodes) {
      for (const graph of node.subgraphs()) this.#rewrite({ graph, outer: scope });
      if (node.opType === 'LSTM' && node.domain === '') {
        nodes.push(this.#replaceLstm(node, scope));
        continue;
      }
      const examined = examineDynamic(node, scope);
      if (examined === undefined) {
        nodes.push(node);
        continue;
      }
      const reason = 'reason' in examined ? examined.reason : this.#settings.refuse(examined);
      if ('reason' in examined || reason !== undefined) {
        this.skipped.push({ node: nodeLabel(node), reason: reason ?? '' });
        nodes.push(node);
      } else nodes.push(...this.#replace(examined, scope.graph, values));
    }
    scope.graph.nodes = nodes;
  }

  #replace(layer: DynamicLayer, graph: Graph, values: Map<string, DynamicValue>): Node[] {
    const { node } = layer;
    const input = node.inputs[0] ?? '';
    const base = nodeLabel(node);
    const nodes: Node[] = [];
    let value = values.get(input);
    if (value === undefined) {
      const made = quantizeAtRunTime(input, this.#names);
      value = made.value;
      values.set(input, value);
      nodes.push(made.node);
    }
    const { weight, report } = this.#store(layer);
    const acc = this.#names.fresh(`${base}_acc`);
    const operands = [value.codes, weight.codes, value.zeroPoint];
    if (weight.zeroPoint !== '') operands.push(weight.zeroPoint);
    const isConv = node.opType === 'Conv';
    const integer = makeNode(isConv ? 'ConvInteger' : 'MatMulInteger', operands, [acc], {
      name: this.#names.fresh(`${base}_int8`),
    });
    if (isConv) integer.attributes = node.attributes;
    const to = { output: node.outputs[0] ?? '', bias: this.#bias(layer, graph), base };
    nodes.push(integer, ...rescale(acc, { x: value.scale, w: weight.scales }, to, this.#names));
    this.layers.push({ node: base, operator: node.opType, ...report });
    this.#changes += 1;
    return nodes;
  }

  /** The node itself where it stays in float. */
  #replaceLstm(node: Node, scope: Scope): Node {
    const label = nodeLabel(node);
    const examined = examineLstm(node, scope);
    const reason = 'reason' in examined ? examined.reason : this.#settings.refuse(examined);
    if ('reason' in examined || reason !== undefined) {
      this.skipped.push({ node: label, reason: reason ?? '' });
      return node;
    }
    const [input, state] = examined.weights.map((constant) => this.#storeLstm(constant, label));
    if (input === undefined || state === undefined) return node;
    this.#usesMicrosoft = true;
    this.#changes += 1;
    return integerLstm(node, [input, state], this.#names.fresh(`${label}_int8`));
  }

  #storeLstm(constant: Constant, node: string): StoredLstmWeight {
    const { owner, tensor } = constant;
    const known = this.#lstmWeights.get(tensor);
    const stored = known ?? storeLstmWeight(constant, this.#settings, this.#names);
    this.#lstmWeights.set(tensor, stored);
    for (const item of stored.tensors) owner.initializers.set(item.name, item);
    getOrMake(this.#replaced, owner, () => new Set<string>()).add(tensor.name);
    const { scaleMin, scaleMax, canSaturate } = stored;
    const shape = tensor.dims;
    this.layers.push({ node, operator: 'LSTM', weight: tensor.name, shape, bits: 8, scaleMin, scaleMax, canSaturate });
    return stored;
  }

  #store(layer: DynamicLayer): Stored {
    const { owner, tensor } = layer.constant;
    const stored = getOrMake(this.#stored, owner, () => new Map<string, Stored>());
    // The shape of the scales differs between operators, so it is part of what is shared.
    const key = JSON.stringify([tensor.name, layer.layout, layer.alpha, layer.channelDims]);
    const known = stored.get(key);
    if (known !== undefined) return known;
    const { type, perChannel, range } = this.#settings;
    const values = layerValues(layer);
    const layout = channelLayout(layer.dims, perChannel ? layer.axis : undefined);
    const params = weightParams(values, layout, { type, symmetric: true, range, powerOfTwo: false });
    const quantized = quantizeWeight(values, layout, type, params);
    const shape = { type, dims: layer.dims, scaleDims: perChannel ? layer.channelDims : [] };
    const made = storeWeight(tensor.name, quantized, shape, this.#names);
    for (const item of made.tensors) owner.initializers.set(item.name, item);
    getOrMake(this.#replaced, owner, () => new Set<string>()).add(tensor.name);
    const result: Stored = {
      weight: made.stored,
      report: {
        weight: tensor.name,
        shape: layer.dims,
        bits: 8,
        scaleMin: params.scales.reduce((a, b) => Math.min(a, b)),
        scaleMax: params.scales.reduce((a, b) => Math.max(a, b)),
        canSaturate: type === 'int8' && canSaturatePairs(quantized.codes, layout),
      },
    };
    stored.set(key, result);
    return result;
  }

  /** The name of what is added after rescaling; empty when nothing is. */
  #bias({ bias, node }: DynamicLayer, graph: Graph): string {
    switch (bias.kind) {
      case 'none':
        return '';
      case 'value':
        return bias.name;
      case 'constant': {
        const { owner, tensor } = bias.constant;
        getOrMake(this.#replaced, owner, () => new Set<string>()).add(tensor.name);
        const name = this.#names.fresh(`${nodeLabel(node)}_b`);
        const values = bias.factor === 1 ? tensor.floats() : tensor.floats().map((value) => value * bias.factor);
        graph.initializers.set(name, Tensor.fromArray(name, { type: 'float', dims: bias.dims, data: values }));
        return name;
      }
    }
  }
}

/** Every layer that could be quantized, with the graph it stands in, subgraphs included. */
export function* dynamicLayers(scope: Scope): Generator<{ readonly layer: DynamicLayer; readonly graph: Graph }> {
  for (const node of scope.graph.nodes) {
    for (const graph of node.subgraphs()) yield* dynamicLayers({ graph, outer: scope });
    const examined = examineDynamic(node, scope);
    if (examined !== undefined && !('reason' in examined)) yield { layer: examined, graph: scope.graph };
  }
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
