import type { Graph } from '../onnx/graph.ts';
import type { Model } from '../onnx/model.ts';
import { tensorValue, type ValueInfo } from '../onnx/value-type.ts';
import { sortTopologically } from '../onnx/verify/topological-order.ts';
import { copyModel } from './copy-model.ts';
import { releaseBatch } from './release-batch.ts';
import { StaticTypes } from './static-types.ts';
import { scoresOf } from './training-graph.ts';

/** A network with every size fixed, as it runs on the batches of a training run. */
export interface FixedNetwork {
  /** A copy; the batch is the first axis of every input. */
  readonly model: Model;
  readonly types: StaticTypes;
  /** The first output, or what goes into the Softmax or Sigmoid that makes it: losses take logits. */
  readonly scores: string;
}

/**
 * @param shapes - of a batch's arrays, by input name
 * @throws CompressionError MODEL_INVALID for a network without outputs; MODEL_UNSUPPORTED for one that takes no such batch
 */
export function fixNetwork(model: Model, shapes: Readonly<Record<string, readonly number[]>>): FixedNetwork {
  const fixed = copyModel(model);
  const { graph } = fixed;
  sortTopologically(graph);
  releaseBatch(fixed, shapesOfInputs(graph, shapes));
  graph.inputs = graph.inputs.filter(({ name }) => !graph.initializers.has(name)).map((input) => sized(input, shapes));
  // Declared shapes of inner values and outputs were made for other batch sizes.
  graph.valueInfos.clear();
  graph.outputs = graph.outputs.map(({ name, type }) =>
    type?.kind === 'tensor' ? tensorValue(name, type.elementType) : { name },
  );
  return { model: fixed, types: new StaticTypes(fixed), scores: scoresOf(graph) };
}

function shapesOfInputs(
  { inputs, initializers }: Graph,
  shapes: Readonly<Record<string, readonly number[]>>,
): Record<string, readonly number[]> {
  return Object.fromEntries(
    inputs.flatMap(({ name }) => {
      const shape = initializers.has(name) ? undefined : shapes[name];
      return shape === undefined ? [] : [[name, shape]];
    }),
  );
}

function sized(input: ValueInfo, shapes: Readonly<Record<string, readonly number[]>>): ValueInfo {
  const shape = shapes[input.name];
  return shape === undefined || input.type?.kind !== 'tensor'
    ? input
    : tensorValue(input.name, input.type.elementType, shape);
}
