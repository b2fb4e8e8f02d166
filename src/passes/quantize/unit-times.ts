import { CostModel, elementwiseWorkload, weightedWorkload, type Estimate, type Workload } from '../cost/cost-model.ts';
import { FloatLatency } from '../cost/float-latency.ts';
import { Int8Latency } from '../cost/int8-latency.ts';
import type { KernelCostTable } from '../cost/kernel-cost-table.ts';
import type { GraphView } from './graph-view.ts';
import type { ComputeUnit } from './units.ts';

/** Estimated times of single units in float and in int8, by the kernel cost table. */
export class UnitTimes {
  readonly #view: GraphView;
  readonly #model: CostModel;
  readonly #float: FloatLatency;
  readonly #int8: Int8Latency;

  constructor(table: KernelCostTable, view: GraphView) {
    this.#view = view;
    this.#model = new CostModel(table);
    this.#float = new FloatLatency(table);
    this.#int8 = new Int8Latency(table);
  }

  /** Undefined where the kernel was not measured or sizes are not known. What a convolution takes depends on how its channels fill blocks. */
  of(unit: ComputeUnit): Estimate | undefined {
    const workload = workloadOf(unit, this.#view);
    const estimate = workload === undefined ? undefined : this.#model.estimate(workload);
    if (estimate === undefined || unit.node.opType !== 'Conv') return estimate;
    const isConstant = (value: string): boolean => this.#view.constantOf(value) !== undefined;
    const float = this.#float.convolution(unit.node, isConstant, this.#view.sizesOf);
    const int8 = this.#int8.convolution(unit.node, isConstant, this.#view.sizesOf);
    return { floatNs: float?.ns ?? estimate.floatNs, int8Ns: int8?.ns ?? estimate.int8Ns };
  }
}

/** What a unit's kernel is given. */
function workloadOf(unit: ComputeUnit, view: GraphView): Workload | undefined {
  const { node, placement } = unit;
  if (placement.kind === 'pointwise') return elementwiseWorkload(placement.kernel, node.outputs[0] ?? '', view.sizesOf);
  return weightedWorkload(node, operandDims(unit, view), { conv: 'conv', product: 'matmul' }, view.sizesOf);
}

/** The second operand's dimensions; of a batch of matrices only the last two take part in each product. */
function operandDims({ node, weight }: ComputeUnit, view: GraphView): readonly number[] {
  if (weight !== undefined && node.opType !== 'MatMul') return weight.tensor.dims;
  const dims = weight?.tensor.dims ?? view.sizesOf(node.inputs[1] ?? '') ?? [1, 1];
  return dims.slice(-2);
}
