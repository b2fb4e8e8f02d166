import { defined } from '../../../errors.ts';
import { NameScope, type Graph } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { makeNode, type Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { allocateQuantized, codesTensor } from '../quant-type.ts';
import { dequantized } from '../repair/simulation.ts';
import type { StaticPlan } from '../static-run.ts';
import type { ComputeUnit } from '../units.ts';
import type { MixedLayer } from './layers.ts';

/**
 * The model with one layer alone quantized as a plan has it: its weight as the codes stand for it, its input through a quantizer;
 * everything else in float. The model is not changed.
 *
 * @param planned - of a copy of the model, with the layer in it
 */
export function withLayerQuantized(model: Model, layer: MixedLayer, planned: StaticPlan): Model {
  const copy = copyModel(model);
  const { graph } = copy;
  const names = new NameScope(graph);
  const units = new Map([...planned.plan.units].map(([node, unit]) => [node.outputs[0] ?? '', unit]));
  const added = new Map<Node, readonly Node[]>();
  for (const node of graph.nodes) {
    const output = node.outputs[0] ?? '';
    if (!layer.outputs.includes(output)) continue;
    const unit = units.get(output);
    if (unit?.kind !== 'compute' || unit.weight === undefined) continue;
    const weight = planned.weights.weightOf(unit);
    // The node keeps its factor, which the codes hold already.
    const values = dequantized(weight).map((value) => value / (unit.weight?.factor ?? 1));
    const name = names.fresh(`${weight.tensor.name}_rounded`);
    graph.initializers.set(name, Tensor.float(name, values, weight.tensor.dims));
    node.inputs[unit.weight.index] = name;
    added.set(node, quantizeInput({ node, unit }, planned, graph, names));
  }
  graph.nodes = graph.nodes.flatMap((node) => [...(added.get(node) ?? []), node]);
  return copy;
}

/** Makes the node read its input as codes and back. */
function quantizeInput(
  { node, unit }: { readonly node: Node; readonly unit: ComputeUnit },
  { plan, params }: StaticPlan,
  graph: Graph,
  names: NameScope,
): readonly Node[] {
  const index = unit.activations[0] ?? 0;
  const quantizer = plan.quantizerOf(unit, index);
  const { scale, zeroPoint, type } = defined(params.get(quantizer), `parameters of "${quantizer}"`);
  const value = node.inputs[index] ?? '';
  const [scaleName, zeroPointName] = [names.fresh(`${value}_s`), names.fresh(`${value}_z`)];
  const [codes, back] = [names.fresh(`${value}_q`), names.fresh(`${value}_dq`)];
  graph.initializers.set(scaleName, Tensor.float(scaleName, [scale], []));
  graph.initializers.set(
    zeroPointName,
    codesTensor(zeroPointName, type, [], allocateQuantized(type, 1).fill(zeroPoint)),
  );
  node.inputs[index] = back;
  return [
    makeNode('QuantizeLinear', [value, scaleName, zeroPointName], [codes]),
    makeNode('DequantizeLinear', [codes, scaleName, zeroPointName], [back]),
  ];
}
