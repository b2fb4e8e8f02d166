import { Graph, outerNames } from '../../onnx/graph.ts';
import type { Model } from '../../onnx/model.ts';
import { makeNode, type Node } from '../../onnx/node.ts';
import { tensorValue } from '../../onnx/value-type.ts';
import { copyNode } from '../../training/copy-model.ts';
import type { LayerPair } from '../layer-match.ts';
import type { Beside } from './beside.ts';
import { partModel } from './part-model.ts';

/** The float model with a switch at each layer: off, the layer computes in float; on, as the result has it. */
export interface SwitchedModel {
  readonly model: Model;
  /** The boolean input of each layer; undefined where it could not get one. */
  readonly switches: readonly (string | undefined)[];
  /** Names of the outputs, in the order asked for. */
  readonly outputs: readonly string[];
}

/**
 * Puts an If behind each layer, with the quantized form in one branch: only the branch that is asked for runs. With every switch on,
 * each layer reads what the quantized layers before it made, as in the result.
 *
 * @param layers - in graph order, each with a side (see `Beside.layer`)
 * @param outputs - float outputs of the model
 */
export function switched(beside: Beside, layers: readonly LayerPair[], outputs: readonly string[]): SwitchedModel {
  const { graph } = beside.model;
  const readWithin = new Set(
    graph.nodes.flatMap((node) => node.subgraphs().flatMap((inner) => [...outerNames(inner)])),
  );
  const current = new Map<string, string>();
  const read = (value: string): string => current.get(value) ?? value;
  const behind = new Map<number, number[]>();
  for (const [index, { output }] of layers.entries()) {
    const place = beside.placeOf(output);
    behind.set(place, [...(behind.get(place) ?? []), index]);
  }
  const nodes: Node[] = [];
  const switches = new Map<number, string>();
  for (const [place, node] of graph.nodes.entries()) {
    nodes.push(Object.assign(copyNode(node), { inputs: node.inputs.map(read) }));
    for (const index of behind.get(place) ?? []) {
      const layer = layers[index];
      if (layer === undefined || current.has(layer.output) || readWithin.has(layer.output)) continue;
      const side = beside.layer(layer, read);
      if (typeof side === 'string') continue;
      const [name, made] = [beside.fresh('quantize_layer'), beside.fresh(`${layer.output}_switched`)];
      const float = beside.fresh(`${layer.output}_float`);
      const branch = (title: string, inner: readonly Node[], output: string): Graph =>
        new Graph({ name: title, nodes: [...inner], outputs: [tensorValue(output, 'float')] });
      const attributes = {
        then_branch: { kind: 'graph', value: branch(`${name}_on`, side.nodes, side.output) },
        else_branch: {
          kind: 'graph',
          value: branch(`${name}_off`, [makeNode('Identity', [layer.output], [float], { name: float })], float),
        },
      } as const;
      nodes.push(makeNode('If', [name], [made], { name: made, attributes }));
      current.set(layer.output, made);
      switches.set(index, name);
    }
  }
  const made = outputs.map((name) => read(name));
  const model = partModel(
    beside.model,
    nodes,
    made.map((name) => ({ name })),
  );
  model.graph.inputs = [...model.graph.inputs, ...[...switches.values()].map((name) => tensorValue(name, 'bool', []))];
  return { model, switches: layers.map((_, index) => switches.get(index)), outputs: made };
}
