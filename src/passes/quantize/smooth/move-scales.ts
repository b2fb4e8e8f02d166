import { NameScope, usesOf } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { makeNode, type Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { WeightTarget } from '../../layer-inputs/weight-targets.ts';
import { visitKernels } from '../equalize/scalable-layer.ts';
import { foldDivisor } from './fold-divisor.ts';

/** Products that read one value: they share its scales. */
export interface Branches {
  readonly value: string;
  readonly targets: readonly WeightTarget[];
}

/**
 * Divides a value by s_j, channel by channel on its last axis, and multiplies the weights that meet channel j by s_j: the products
 * stay what they were. The division goes into the constants of the operator before, where nobody else reads its result; else
 * a Mul is added in front of the products. Changes the model.
 *
 * @param scales - s > 0, one a channel
 * @returns the Mul that was added; undefined where the division went into constants
 */
export function moveScales(model: Model, branches: Branches, scales: Float64Array): Node | undefined {
  const multiplier = divide(model, branches, scales);
  for (const target of branches.targets) multiplyWeight(model, target, scales);
  return multiplier;
}

function divide(model: Model, { value, targets }: Branches, scales: Float64Array): Node | undefined {
  const { graph } = model;
  const readers = new Set(targets.flatMap(({ nodes }) => nodes));
  const isOutput = graph.outputs.some(({ name }) => name === value);
  const othersRead = (usesOf(graph).get(value) ?? []).some(
    ({ node, inputIndex }) => !readers.has(node) || inputIndex !== 0,
  );
  if (!isOutput && !othersRead && foldDivisor(model, value, scales)) return undefined;
  const names = new NameScope(graph);
  const [factors, smoothed] = [names.fresh(`${value}_smooth`), names.fresh(`${value}_smoothed`)];
  graph.initializers.set(
    factors,
    Tensor.float(
      factors,
      scales.map((scale) => 1 / scale),
    ),
  );
  const multiplier = makeNode('Mul', [value, factors], [smoothed], { name: smoothed });
  graph.nodes.splice(
    graph.nodes.findIndex((node) => readers.has(node)),
    0,
    multiplier,
  );
  for (const node of readers) node.inputs[0] = smoothed;
  return multiplier;
}

function multiplyWeight({ graph }: Model, { name, dims, layout }: WeightTarget, scales: Float64Array): void {
  const tensor = graph.initializers.get(name);
  if (tensor === undefined) return;
  const values = Float32Array.from(tensor.floats());
  visitKernels(layout, (input, _output, from) => {
    values[from] = (values[from] ?? 0) * (scales[input] ?? 1);
  });
  graph.initializers.set(name, Tensor.float(name, values, dims));
}
