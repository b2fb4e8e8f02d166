import { macRuleOf } from '../../../onnx/cost/mac-rules.ts';
import { macsOf } from '../../../onnx/cost/macs.ts';
import { typesAtBatchOne } from '../../../onnx/cost/types-for-cost.ts';
import { DATA_TYPES } from '../../../onnx/data-type.ts';
import { countWeightElements } from '../../../onnx/print/summarize-model.ts';
import type { Node } from '../../../onnx/node.ts';
import type { Shape } from '../../../onnx/value-type.ts';
import { mostFileBytes } from '../../cost/file-bytes.ts';
import type { SizesOf } from '../../cost/cost-model.ts';
import type { Latency } from '../../cost/graph-time.ts';
import type { ChannelAnalysis } from '../groups/analyze-channels.ts';

export interface Costs {
  readonly macs: number;
  readonly parameters: number;
  /** Of the file, at most: names and structure count as they are before. */
  readonly bytes: number;
  /** Estimated time of one sample; 0 where the kernel cost table knows nothing. */
  readonly latencyNs: number;
}

/**
 * Counts multiply-accumulates, weights, bytes and time of the model as it would be without some channels, from sizes alone:
 * what `macsOf` and `countWeightElements` say of the file after `removeChannels`. O(positions) a count.
 */
export class ChannelCosts {
  readonly before: Costs;
  readonly #latency: (sizesOf: SizesOf) => number;
  readonly #analysis: ChannelAnalysis;
  readonly #nodes: readonly { readonly node: Node; readonly macs: number }[];
  readonly #shapeOf: (value: string) => Shape | undefined;

  /** @param latency - of the kernel cost table */
  constructor(analysis: ChannelAnalysis, latency: Latency) {
    const { model } = analysis;
    const types = typesAtBatchOne(model);
    const macs = macsOf(model, types);
    this.#analysis = analysis;
    this.#nodes = macs.nodes.filter(({ graph }) => graph === model.graph);
    this.#shapeOf = (value) => types.shape(model.graph, value);
    this.#latency = latency.knowsNothing ? () => 0 : latency.of(model.graph);
    this.before = {
      macs: macs.total,
      parameters: countWeightElements(model),
      bytes: mostFileBytes(model),
      latencyNs: this.latencyNs(new Uint8Array(analysis.atoms.count)),
    };
  }

  /** Estimated time alone, in nanoseconds. */
  latencyNs(removed: Uint8Array): number {
    const shapeOf = this.#shapesWithout(removed).shapeOf;
    return this.#latency((value) => {
      const shape = shapeOf(value);
      return shape?.every((size) => typeof size === 'number') === true ? shape : undefined;
    });
  }

  /** @param removed - by root atom: 1 where the channel goes */
  without(removed: Uint8Array): Costs {
    const { axes, model } = this.#analysis;
    const { kept, shapeOf } = this.#shapesWithout(removed);
    let { macs, parameters, bytes } = this.before;
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
      if (own === undefined || tensor.dataType === 'string') continue;
      let after = 1;
      for (const [at, axis] of own.entries())
        after *= axis.kind === 'channels' ? kept(axis.atoms) : (tensor.dims[at] ?? 1);
      const change = after - tensor.elementCount;
      bytes += Math.ceil((change * DATA_TYPES[tensor.dataType].bits) / 8);
      if (/^(float|double|float16|bfloat16|u?int8)$/.test(tensor.dataType)) parameters += change;
    }
    return { macs, parameters, bytes, latencyNs: this.latencyNs(removed) };
  }

  #shapesWithout(removed: Uint8Array) {
    const { axes, atoms } = this.#analysis;
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
    return { kept, shapeOf };
  }
}
