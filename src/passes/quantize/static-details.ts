import { DATA_TYPES } from '../../onnx/data-type.ts';
import type { ActivationParams } from './activation-params.ts';
import type { Node } from '../../onnx/node.ts';
import type { GraphView } from './graph-view.ts';
import { nodeLabel } from './node-filter.ts';
import { placementOf } from './placement.ts';
import type { QuantPlan } from './plan.ts';
import type { WeightType } from './quant-type.ts';
import type { ComputeUnit } from './units.ts';
import type { WeightPlan } from './weight-plan.ts';
import { canSaturatePairs } from './weights.ts';

/** One quantized layer in the step report. */
export interface LayerDetails {
  readonly node: string;
  readonly operator: string;
  readonly weight?: {
    readonly name: string;
    readonly shape: readonly number[];
    readonly type: WeightType;
    readonly bits: number;
    readonly min: number;
    readonly max: number;
    readonly scaleMin: number;
    readonly scaleMax: number;
    /** Whether two products could saturate int16 on an x64 CPU without VNNI. */
    readonly canSaturate: boolean;
  };
}

export function describeLayers(units: readonly ComputeUnit[], weights: WeightPlan): LayerDetails[] {
  return units.map((unit) => {
    const layer = { node: nodeLabel(unit.node), operator: unit.node.opType };
    if (unit.weight === undefined) return layer;
    const { tensor, scales, codes, layout, type } = weights.weightOf(unit);
    const values = tensor.floats();
    return {
      ...layer,
      weight: {
        name: tensor.name,
        shape: tensor.dims,
        type,
        bits: DATA_TYPES[type].bits,
        min: smallest(values),
        max: largest(values),
        scaleMin: smallest(scales),
        scaleMax: largest(scales),
        canSaturate: type === 'int8' && canSaturatePairs(codes, layout),
      },
    };
  });
}

/** A node that computes in float although the target has integers only. */
export interface FloatNode {
  readonly node: string;
  readonly operator: string;
}

/** What stays in float: nodes with a float result that no unit stands for. What only moves values computes nothing. */
export function describeFloatNodes(view: GraphView, plan: QuantPlan): FloatNode[] {
  const isQuantizer = ({ opType }: Node): boolean => opType === 'QuantizeLinear' || opType === 'DequantizeLinear';
  return view.nodes
    .filter((node) => node.outputs.some((output) => view.typeOf(output) === 'float'))
    .filter((node) => !plan.units.has(node) && !isQuantizer(node) && placementOf(node)?.kind !== 'moves')
    .map((node) => ({ node: nodeLabel(node), operator: node.opType }));
}

/** Range and parameters of every root value, with the values that share them; behind them quantizers of a narrower type. */
export function describeValues(plan: QuantPlan, params: ReadonlyMap<string, ActivationParams>): unknown[] {
  return [...params].map(([quantizer, { interval, scale, zeroPoint, clippedShare, type }]) => {
    const root = plan.narrower.get(quantizer)?.root ?? quantizer;
    const sharedBy =
      quantizer !== root
        ? []
        : [...plan.roots].filter(([value, of]) => of === root && value !== root).map(([value]) => value);
    return {
      value: plan.rangeValueOf(root),
      type,
      min: interval.min,
      max: interval.max,
      scale,
      zeroPoint,
      ...(clippedShare === undefined ? {} : { clippedShare }),
      ...(sharedBy.length === 0 ? {} : { sharedBy }),
    };
  });
}

function smallest(values: Float32Array): number {
  return values.reduce((a, b) => Math.min(a, b));
}

function largest(values: Float32Array): number {
  return values.reduce((a, b) => Math.max(a, b));
}
