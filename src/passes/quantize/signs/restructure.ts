import { inferTypes } from '../../../onnx/inference/infer-types.ts';
import { producersOf, usesOf, NameScope, type Graph } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { makeNode, type Node } from '../../../onnx/node.ts';
import type { SignMethod } from './options.ts';
import type { SignLayer } from './sign-layers.ts';

/** What was changed around the layers, by kind. */
export interface Restructured {
  readonly rectifiersPassed: number;
  readonly shortcuts: number;
}

/**
 * Puts what a layer of signs needs around it: its inputs come from before a Relu, for behind one all signs are +1 (BatchNormalization,
 * sign, convolution: XNOR-Net's order). Bi-Real: the Relu goes altogether, and real values pass each layer by on a shortcut where
 * shapes allow and no sum is there yet.
 *
 * @returns the layers: a key may now be the output of a sum
 */
export function restructure(model: Model, layers: readonly SignLayer[], method: SignMethod): Restructured {
  if (method !== 'xnor' && method !== 'bireal') return { rectifiersPassed: 0, shortcuts: 0 };
  const { graph } = model;
  const nodes = layers.map((layer) => layerNode(graph, layer));
  let rectifiersPassed = 0;
  for (const node of nodes) {
    const producers = producersOf(graph);
    const rectifier = producers.get(node.inputs[0] ?? '');
    if (rectifier?.domain !== '' || rectifier.opType !== 'Relu') continue;
    passBy(graph, rectifier, method === 'bireal' ? undefined : node);
    rectifiersPassed += 1;
  }
  return { rectifiersPassed, shortcuts: method === 'bireal' ? addShortcuts(model, layers) : 0 };
}

/** The node of a layer, whose output may stand behind a normalization. */
export function layerNode(graph: Graph, { weight, label }: SignLayer): Node {
  const node = graph.nodes.find(({ inputs }) => inputs[1] === weight);
  if (node === undefined) throw new RangeError(`there is no layer "${label}"`);
  return node;
}

/** Lets `reader` (or all readers) read what goes into a Relu instead of what comes out. */
function passBy(graph: Graph, rectifier: Node, reader: Node | undefined): void {
  const [before = ''] = rectifier.inputs;
  const [after = ''] = rectifier.outputs;
  for (const node of reader === undefined ? graph.nodes : [reader]) {
    node.inputs = node.inputs.map((input) => (input === after ? before : input));
  }
  const isRead = usesOf(graph).has(after) || graph.outputs.some(({ name }) => name === after);
  if (!isRead) graph.nodes = graph.nodes.filter((node) => node !== rectifier);
}

function addShortcuts(model: Model, layers: readonly SignLayer[]): number {
  const { graph } = model;
  const names = new NameScope(graph);
  const types = inferTypes(model);
  let added = 0;
  for (const layer of layers) {
    const node = layerNode(graph, layer);
    const [input = ''] = node.inputs;
    const [from, to] = [types.shape(graph, input), types.shape(graph, layer.key)];
    const readers = usesOf(graph).get(layer.key) ?? [];
    const isSummed = readers.some(({ node: reader }) => reader.opType === 'Add' && reader.domain === '');
    const keepsShape = from !== undefined && from.join() === to?.join();
    if (isSummed || !keepsShape || graph.outputs.some(({ name }) => name === layer.key)) continue;
    const sum = names.fresh(`${layer.key}_shortcut`);
    for (const { node: reader, inputIndex } of readers) if (inputIndex >= 0) reader.inputs[inputIndex] = sum;
    const producer = producersOf(graph).get(layer.key);
    graph.nodes = graph.nodes.flatMap((one) =>
      one === producer ? [one, makeNode('Add', [layer.key, input], [sum], { name: sum })] : [one],
    );
    added += 1;
  }
  return added;
}
