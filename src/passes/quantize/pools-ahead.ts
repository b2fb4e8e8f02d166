import type { NameScope } from '../../onnx/graph.ts';
import type { Node } from '../../onnx/node.ts';
import type { WriteJob } from './code-writer.ts';
import { placementOf } from './placement.ts';

/**
 * Moves Relu and Clip from ahead of a MaxPool in float to behind it, where the pool's result is quantized; the result is the same,
 * for neither changes which of two values is the larger. ONNX Runtime moves a QuantizeLinear that follows a MaxPool ahead
 * of it: the pool then works on codes in the plain layout, in four times the time that it takes in float behind a convolution, and all
 * that goes into it is quantized. It does not move it past an activation, which costs nothing itself: the quantizer clips.
 * Changes the graph; the view and the plan stay true, but for the value between the two nodes.
 */
export function moveActivationsBehindPools({ model: { graph }, view, plan }: WriteJob, names: NameScope): void {
  for (const pool of view.nodes) {
    const [between = ''] = pool.inputs;
    const activation = view.producerOf(between);
    const [pooled = ''] = pool.outputs;
    if (!isFloat(pool) || pool.opType !== 'MaxPool' || pool.outputs.length !== 1 || !plan.roots.has(pooled)) continue;
    if (activation === undefined || !isFloat(activation) || placementOf(activation)?.kind !== 'clips') continue;
    if (view.isOutput(between) || view.readersOf(between).length !== 1) continue;
    const [made = ''] = activation.inputs;
    const name = names.fresh(`${made}_pooled`);
    [pool.inputs[0], pool.outputs[0]] = [made, name];
    [activation.inputs[0], activation.outputs[0]] = [name, pooled];
    const [first, second] = [graph.nodes.indexOf(activation), graph.nodes.indexOf(pool)];
    [graph.nodes[first], graph.nodes[second]] = [pool, activation];
  }

  function isFloat(node: Node): boolean {
    return !plan.units.has(node);
  }
}
