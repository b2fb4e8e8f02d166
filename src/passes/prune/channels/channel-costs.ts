import { macRuleOf } from '../../../onnx/cost/mac-rules.ts';
import { macsOf } from '../../../onnx/cost/macs.ts';
import { typesAtBatchOne } from '../../../onnx/cost/types-for-cost.ts';
import { countWeightElements } from '../../../onnx/print/summarize-model.ts';
import type { Node } from '../../../onnx/node.ts';
import type { Shape } from '../../../onnx/value-type.ts';
import type { ChannelAnalysis } from '../groups/analyze-channels.ts';

export interface Costs {
  readonly macs: number;
  readonly parameters: number;
}

/**
 * Counts multiply-accumulates and weights of the model as it would be without some channels, from sizes alone: what
 * `macsOf` and `countWeightElements` say of the file after `removeChannels`. O(positions) a count.
 */
export class ChannelCosts {
  readonly before: Costs;
  readonly #analysis: ChannelAnalysis;
  readonly #nodes: readonly { readonly node: Node; readonly macs: number }[];
  readonly #shapeOf: (value: string) => Shape | undefined;

  constructor(analysis: ChannelAnalysis) {
    const { model } = analysis;
    const types = typesAtBatchOne(model);
    const macs = macsOf(model, types);
    this.#analysis = analysis;
    this.before = { macs: macs.total, parameters: countWeightElements(model) };
    this.#nodes = macs.nodes.filter(({ graph }) => graph === model.graph);
    this.#shapeOf = (value) => types.shape(model.graph, value);
  }

  /** @param removed - by root atom: 1 where the channel goes */
  without(removed: Uint8Array): Costs {
    const { axes, atoms, model } = this.#analysis;
    const counts = new Map<Int32Array, number>();
    const kept = (positions: Int32Array): number => {
      const known = counts.get(positions);
      if (known !== undefined) return known;
      let count = 0;
      for (const atom of positions) if (removed[atoms.root(atom)] !== 1) count += 1;
      counts.set(positions, count);
      return count;
    };
    const shapeOf = (value: string | undefined): Shape | undefined => {
      const own = axes.get(value ?? '');
      return this.#shapeOf(value ?? '')?.map((size, at) => {
        const axis = own?.[at];
        return axis?.kind === 'channels' ? kept(axis.atoms) : size;
      });
    };
    let { macs, parameters } = this.before;
    for (const { node, macs: before } of this.#nodes) {
      const after = macRuleOf(node)?.macs({
        node,
        input: (index) => shapeOf(node.inputs[index]),
        output: (index) => shapeOf(node.outputs[index]),
      });
      macs += (after ?? before) - before;
    }
    for (const [name, tensor] of model.graph.initializers) {
      const own = axes.get(name);
      if (own === undefined || !/^(float|double|float16|bfloat16|u?int8)$/.test(tensor.dataType)) continue;
      let after = 1;
      for (const [at, axis] of own.entries())
        after *= axis.kind === 'channels' ? kept(axis.atoms) : (tensor.dims[at] ?? 1);
      parameters += after - tensor.elementCount;
    }
    return { macs, parameters };
  }
}
