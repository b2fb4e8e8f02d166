import type { Model } from '../../../src/onnx/model.ts';
import { noise } from './helpers.ts';

/** Running statistics that are none: of another size in each channel, and scales of either sign. */
export function withStatistics(model: Model): Model {
  for (const [seed, node] of model.graph.nodes.entries()) {
    if (node.opType !== 'BatchNormalization') continue;
    for (const [index, name] of node.inputs.entries()) {
      const tensor = model.graph.initializers.get(name);
      if (index === 0 || tensor === undefined) continue;
      const values = noise(tensor.elementCount, seed + index);
      const changed = values.map((value) =>
        index === 4 ? 1 + value * value : index === 1 ? 1.5 * value : 0.4 * value,
      );
      model.graph.initializers.set(name, Object.assign(tensor.renamed(name), { storage: floats(changed) }));
    }
  }
  return model;
}

function floats(values: Float32Array): { kind: 'bytes'; bytes: Uint8Array } {
  return { kind: 'bytes', bytes: new Uint8Array(values.buffer.slice(0)) };
}
