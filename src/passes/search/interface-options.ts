import type { Model } from '../../onnx/model.ts';
import { inferTypes } from '../../onnx/inference/infer-types.ts';

/** Options of the zoo that fit a network to the inputs and outputs of a model: classes, inputSize, inputChannels, where it tells them. */
export function interfaceOptions(model: Model): Record<string, unknown> {
  const { graph } = model;
  const types = inferTypes(model);
  const shapeOf = (name: string): readonly unknown[] => types.shape(graph, name) ?? [];
  const input = graph.inputs.find(({ name }) => !graph.initializers.has(name));
  const [, channels, height, width] = input === undefined ? [] : shapeOf(input.name);
  const classes = graph.outputs[0] === undefined ? undefined : shapeOf(graph.outputs[0].name)[1];
  return {
    ...(typeof classes === 'number' ? { classes } : {}),
    ...(typeof channels === 'number' ? { inputChannels: channels } : {}),
    ...(typeof height === 'number' && typeof width === 'number'
      ? { inputSize: height === width ? height : [height, width] }
      : {}),
  };
}
