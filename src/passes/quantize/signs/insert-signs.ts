import { defined } from '../../../errors.ts';
import { producersOf } from '../../../onnx/graph.ts';
import type { GraphBuilder } from '../../../onnx/graph-builder.ts';
import { elementCount } from '../../../onnx/nd-array.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { Bounds, ForwardRewrite, OwnParameter } from '../../../training/forward-rewrite.ts';
import { FAKE_QUANTIZE, SCALE_GRADIENT, fakeQuantizeFunction } from '../../../training/quantizers/fake-quantize.ts';
import { declareFunctions, TERSOR } from '../../../training/quantizers/marked-function.ts';
import {
  BINARIZE,
  PASSES,
  TERNARIZE,
  binarizeFunction,
  ternarizeFunction,
  type WindowGradient,
} from '../../../training/quantizers/signs.ts';
import type { SignMethod } from './options.ts';
import { writeScaledProducts } from './scaled-products.ts';
import type { SignLayer } from './sign-layers.ts';
import { TTQ_THRESHOLD, TWN_THRESHOLD, ternaryNames, type SignWeights } from './sign-weights.ts';

/**
 * Puts signs in the place of the layers' weights, and of their inputs where the method says so, in a graph whose normalizations are folded
 * or in training form.
 *
 * @param start - of each layer, by weight: where TTQ's magnitudes begin
 */
export function insertSigns(
  b: GraphBuilder,
  model: Model,
  layers: readonly SignLayer[],
  given: { readonly method: SignMethod; readonly start: ReadonlyMap<string, SignWeights> },
): ForwardRewrite {
  declareFunctions(model, [binarizeFunction, ternarizeFunction, fakeQuantizeFunction]);
  const { method, start } = given;
  const producers = producersOf(model.graph);
  const parameters: OwnParameter[] = [];
  const bounds = new Map<string, Bounds>();
  for (const layer of layers) {
    const node = layerBehind(producers, layer);
    if (method === 'ttq') {
      const { high, low } = defined(start.get(layer.weight), `start of "${layer.weight}"`);
      const names = ternaryNames(layer);
      for (const [name, values] of [
        [names.high, high],
        [names.low, low],
      ] as const) {
        b.initializer(Tensor.float(name, values, []));
        // Every weight pulls at it: as with LSQ's steps, by the root of their number.
        parameters.push({ name, gradientScale: 1 / Math.sqrt(elementCount(layer.dims)), l2: 0 });
        bounds.set(name, { low: 0 });
      }
    }
    if (method === 'binaryconnect') bounds.set(layer.weight, { low: -1, high: 1 });
    const values = node.inputs[1] ?? '';
    node.inputs[1] = new WeightSigns(b, layer, method).write(values);
    if (layer.signsInputs) signInputs(b, node, { method, kernel: layer.dims.slice(2) });
  }
  return {
    parameters,
    bounds,
    replaced: new Map(),
    // Decay would draw every weight to the edge where its sign turns.
    withoutDecay: new Set(layers.map(({ weight }) => weight)),
  };
}

function layerBehind(producers: ReadonlyMap<string, Node>, { key, label }: SignLayer): Node {
  const node = defined(producers.get(key), `the node that makes "${key}"`);
  if (node.opType !== 'BatchNormalization') return node;
  return defined(producers.get(node.inputs[0] ?? ''), `layer "${label}"`);
}

/** Writes the weights of one layer. */
class WeightSigns {
  readonly #b: GraphBuilder;
  readonly #layer: SignLayer;
  readonly #method: SignMethod;

  constructor(b: GraphBuilder, layer: SignLayer, method: SignMethod) {
    this.#b = b;
    this.#layer = layer;
    this.#method = method;
  }

  write(w: string): string {
    switch (this.#method) {
      case 'binaryconnect':
        return this.#signs(w, 'all');
      case 'bwn':
      case 'bireal':
      case 'dorefa':
        return this.#op('Mul', [this.#signs(w, 'window'), this.#mean(this.#op('Abs', [w]))]);
      case 'xnor': {
        const centred = this.#centred(w);
        return this.#op('Mul', [this.#signs(centred, 'window'), this.#mean(this.#op('Abs', [centred]))]);
      }
      case 'twn':
        return this.#ternaryWeights(w);
      case 'ttq': {
        const { high, low } = ternaryNames(this.#layer);
        const largest = this.#b.op('ReduceMax', [this.#op('Abs', [w])], { attributes: { keepdims: 0 } });
        const threshold = this.#op('Mul', [largest, this.#b.float('threshold_share', TTQ_THRESHOLD)]);
        return this.#ternarize([w, threshold, high, low], 'scaled');
      }
    }
  }

  #ternaryWeights(w: string): string {
    const magnitude = this.#op('Abs', [w]);
    const threshold = this.#op('Mul', [this.#mean(magnitude), this.#b.float('threshold_share', TWN_THRESHOLD)]);
    const isLarge = this.#b.op('Cast', [this.#op('Greater', [magnitude, threshold])], { attributes: { to: FLOAT } });
    const sum = (value: string): string => this.#reduce('ReduceSum', value);
    const count = this.#op('Max', [sum(isLarge), this.#b.float('one', 1)]);
    const scale = this.#op('Div', [sum(this.#op('Mul', [magnitude, isLarge])), count]);
    return this.#ternarize([w, threshold, scale, scale], 'all');
  }

  #ternarize(inputs: readonly string[], passes: 'all' | 'scaled'): string {
    return this.#b.op(TERNARIZE, inputs, {
      domain: TERSOR,
      name: `${this.#layer.weight}.ternarize`,
      attributes: { [PASSES]: passes },
    });
  }

  #signs(w: string, passes: WindowGradient): string {
    return binarized(this.#b, w, passes, `${this.#layer.weight}.signs`);
  }

  /** Filters minus their mean over the input channels. */
  #centred(w: string): string {
    if (this.#layer.dims.length < 3) return w;
    const mean = this.#b.op('ReduceMean', [w, this.#b.ints('input_axis', [1])], { attributes: { keepdims: 1 } });
    return this.#op('Sub', [w, mean]);
  }

  #mean(magnitude: string): string {
    return this.#reduce('ReduceMean', magnitude);
  }

  /** Over all axes but that of the filters, which stay as axes of size 1. */
  #reduce(opType: 'ReduceMean' | 'ReduceSum', value: string): string {
    const { dims, axis } = this.#layer;
    const axes = dims.flatMap((_, at) => (at === axis ? [] : [at]));
    return this.#b.op(opType, [value, this.#b.ints('filter_axes', axes)], { attributes: { keepdims: 1 } });
  }

  #op(opType: string, inputs: readonly string[]): string {
    return this.#b.op(opType, inputs);
  }
}

/** TensorProto.DataType of float. */
const FLOAT = 1;

function binarized(b: GraphBuilder, value: string, passes: WindowGradient, name: string): string {
  return b.op(BINARIZE, [value], { domain: TERSOR, name, attributes: { [PASSES]: passes } });
}

/** Makes what a layer reads signs, or zeros and ones; XNOR-Net's layers are multiplied by the size of what they read. */
function signInputs(
  b: GraphBuilder,
  node: Node,
  { method, kernel }: { readonly method: SignMethod; readonly kernel: readonly number[] },
): void {
  const [x = ''] = node.inputs;
  const name = `${node.name}.input`;
  if (method === 'dorefa') {
    const [one, zero] = [b.float(`${name}.one`, 1), b.float(`${name}.zero`, 0)];
    node.inputs[0] = b.op(FAKE_QUANTIZE, [x, one, zero, one], {
      domain: TERSOR,
      name,
      attributes: { [SCALE_GRADIENT]: 'none' },
    });
    return;
  }
  node.inputs[0] = binarized(b, x, method === 'bireal' ? 'polynomial' : 'window', name);
  if (method === 'xnor') writeScaledProducts(b, node, { x, kernel });
}
