import { DATA_TYPES } from '../../../onnx/data-type.ts';
import { macsOf } from '../../../onnx/cost/macs.ts';
import type { Model } from '../../../onnx/model.ts';
import { CostModel, elementwiseWorkload } from '../../cost/cost-model.ts';
import type { KernelCostTable } from '../../cost/kernel-cost-table.ts';
import { fileBytes } from '../../cost/file-bytes.ts';
import type { GraphView } from '../graph-view.ts';
import type { LayerChoice } from '../static-request.ts';
import { UnitTimes } from '../unit-times.ts';
import type { MixedLayer } from './layers.ts';

/** What a budget is counted in. */
export type CostUnit = 'weightBits' | 'bytes' | 'bops' | 'latencyNs';

const FLOAT_BITS = 32;
const FLOAT_BYTES = 4;

/** What a layer costs as a candidate, a whole number. Other nodes are not counted. */
export type LayerCost = (layer: MixedLayer, choice: LayerChoice) => number;

export function weightBits(choice: LayerChoice): number {
  return choice === 'float' ? FLOAT_BITS : DATA_TYPES[choice.weights].bits;
}

/** @param table - for latencyNs; one that knows nothing gives no times */
export function layerCosts(unit: CostUnit, view: GraphView, table: KernelCostTable): LayerCost {
  switch (unit) {
    case 'weightBits':
      return ({ elements }, choice) => elements * weightBits(choice);
    case 'bytes':
      return bytesOf;
    case 'bops':
      return ({ macs }, choice) => {
        const activationBits = choice === 'float' ? FLOAT_BITS : DATA_TYPES[choice.activations].bits;
        return macs * weightBits(choice) * activationBits;
      };
    case 'latencyNs':
      return latencies(view, table);
  }
}

/** Codes and scales; a scale beside each bias; 2-bit codes have their scales in a Mul, which is a node more. */
function bytesOf({ elements, units }: MixedLayer, choice: LayerChoice): number {
  if (choice === 'float') return elements * FLOAT_BYTES;
  const weight = units[0]?.weight;
  const channels = weight?.axis === undefined ? 1 : (weight.tensor.dims[weight.axis] ?? 1);
  const biases = units.filter(({ bias }) => bias !== undefined).length;
  const isTwoBit = weightBits(choice) === 2;
  return (
    Math.ceil((elements * weightBits(choice)) / 8) +
    FLOAT_BYTES * channels * (1 + biases) +
    (isTwoBit ? TWO_BIT_NODE_BYTES : 0)
  );
}

/** A Mul with the names of its values, about. */
const TWO_BIT_NODE_BYTES = 128;

/**
 * 8-bit weights with 8-bit activations run on int8 kernels; everything else computes in float, behind a quantizer of its input where it
 * has one. What borders between layers cost besides is not counted.
 */
function latencies(view: GraphView, table: KernelCostTable): LayerCost {
  const [times, model] = [new UnitTimes(table, view), new CostModel(table)];
  return ({ units }, choice) => {
    let ns = 0;
    for (const unit of units) {
      const estimate = times.of(unit);
      if (estimate === undefined) continue;
      if (choice !== 'float' && weightBits(choice) === 8 && choice.activations.endsWith('int8')) ns += estimate.int8Ns;
      else ns += estimate.floatNs + (choice === 'float' ? 0 : quantizerNs(unit.node.inputs[0] ?? '', view, model));
    }
    return Math.ceil(ns);
  };
}

function quantizerNs(value: string, view: GraphView, model: CostModel): number {
  const workload = elementwiseWorkload('boundary', value, view.sizesOf);
  return workload === undefined ? 0 : (model.estimate(workload)?.int8Ns ?? 0);
}

/**
 * What a whole model costs, where that is more than its layers: bytes of the file (at most), bit operations. Undefined: the layers are all
 * that counts.
 */
export function modelCost(unit: CostUnit, model: Model): number | undefined {
  switch (unit) {
    case 'bytes':
      return fileBytes(model);
    case 'bops':
      return macsOf(model).bitOperations;
    case 'weightBits':
    case 'latencyNs':
      return undefined;
  }
}
