import type { Node } from '../../onnx/node.ts';
import type { Skipped } from '../pass.ts';
import { CostModel, elementwiseWorkload, type Estimate } from '../cost/cost-model.ts';
import type { GraphView } from './graph-view.ts';
import type { KernelCostTable } from '../cost/kernel-cost-table.ts';
import { nodeLabel } from './node-filter.ts';
import { placementOf } from './placement.ts';
import { makePlan, type Candidates, type PlanSettings, type QuantPlan } from './plan.ts';
import { UnitTimes } from './unit-times.ts';
import type { ComputeUnit } from './units.ts';

/** Nodes go back to float when that saves this share of the model's estimated time; less is within the estimate's error. */
const WORTHWHILE = 0.05;
/** What int8 must save of a region's time: estimates err, and int8 that brings nothing only costs accuracy. */
const REGION_MARGIN = 0.1;
/** Of more runs, and more single nodes, only the first are tried. */
const MAX_TRIALS = 400;

export interface Choice {
  readonly plan: QuantPlan;
  readonly skipped: readonly Skipped[];
  /** Estimated time of the quantizable part, before and after; absent when the table knows nothing. */
  readonly estimate?: Estimate;
}

type ChoiceSettings = PlanSettings & {
  readonly kept: ReadonlySet<Node>;
  readonly costTable: KernelCostTable;
  /** Nodes that are quantized to types without kernels because the recipe says so: the table has no say in them. */
  readonly isPinned?: (node: Node) => boolean;
};

/**
 * Chooses which candidates become int8, by the kernel cost table alone: first nodes that int8 makes slower than leaving and
 * re-entering int8 around them costs, those that follow each other together and then one by one, then whole regions that cost
 * more in int8 than in float. The same table gives the same choice.
 */
export function chooseUnits(view: GraphView, candidates: Candidates, settings: ChoiceSettings): Choice {
  const { kept, costTable, isPinned = () => false } = settings;
  const planWithout = (left: ReadonlySet<Node>): QuantPlan => {
    const compute = new Map([...candidates.units].filter(([node]) => !left.has(node)));
    return makePlan(view, compute, settings, new Set([...kept].filter((node) => !left.has(node))));
  };
  const model = new CostModel(costTable);
  const everything = planWithout(new Set());
  if (model.isEmpty || candidates.units.size === 0) return { plan: everything, skipped: [] };
  const costs = new PlanCosts(view, candidates, { model, unitTimes: new UnitTimes(costTable, view), isPinned });
  const search = new Search(costs, planWithout, everything);
  const slow = costs.slowNodes(everything);
  search.removeSlow(runsOf(slow, view));
  search.removeSlow(slow.map((node) => [node]));
  search.removeSlowRegions();
  search.removeAllUnlessWorthwhile();
  const skipped = [...search.left].map((node) => ({
    node: nodeLabel(node),
    reason: `int8 would not be faster here${detailOf(costs.of(node))}, by kernel cost table ${costTable.hash.slice(0, 12)}`,
  }));
  return { plan: search.plan, skipped, estimate: { floatNs: costs.floatNs, int8Ns: search.cost } };
}

/** A node may be quicker in int8 and yet not pay for entering and leaving int8 around it and its neighbours. */
function detailOf(estimate: Estimate | undefined): string {
  if (estimate === undefined) return '';
  const times = `${micros(estimate.int8Ns)} in int8, ${micros(estimate.floatNs)} in float`;
  return estimate.int8Ns < estimate.floatNs
    ? ` with the quantizers that int8 needs around its region (estimated for the node alone ${times})`
    : ` (estimated ${times})`;
}

function micros(ns: number): string {
  return `${(ns / 1000).toFixed(1)} µs`;
}

/** Greedy descent over the set of nodes left in float. */
class Search {
  readonly left = new Set<Node>();
  plan: QuantPlan;
  cost: number;
  readonly #costs: PlanCosts;
  readonly #planWithout: (left: ReadonlySet<Node>) => QuantPlan;

  constructor(costs: PlanCosts, planWithout: (left: ReadonlySet<Node>) => QuantPlan, start: QuantPlan) {
    this.#costs = costs;
    this.#planWithout = planWithout;
    this.plan = start;
    this.cost = costs.total(start);
  }

  removeSlow(suspects: readonly (readonly Node[])[]): void {
    for (const nodes of suspects.slice(0, MAX_TRIALS)) this.#tryWithout(nodes, WORTHWHILE * this.#costs.floatNs);
  }

  removeSlowRegions(): void {
    for (const region of regionsOf(this.plan)) {
      const float = region.reduce((sum, node) => sum + (this.#costs.of(node)?.floatNs ?? 0), 0);
      this.#tryWithout(region, -REGION_MARGIN * float);
    }
  }

  /** What the regions gain together must be more than the estimates' error, too. */
  removeAllUnlessWorthwhile(): void {
    const units = [...this.plan.units.values()].filter((unit) => unit.kind === 'compute').map(({ node }) => node);
    const float = units.reduce((sum, node) => sum + (this.#costs.of(node)?.floatNs ?? 0), 0);
    if (this.#costs.floatNs - this.cost < REGION_MARGIN * float) this.#tryWithout(units, -Infinity);
  }

  #tryWithout(from: readonly Node[], atLeast: number): void {
    const nodes = from.filter((node) => !this.#costs.isPinned(node) && !this.left.has(node));
    if (nodes.length === 0) return;
    const left = new Set([...this.left, ...nodes]);
    const plan = this.#planWithout(left);
    const cost = this.#costs.total(plan);
    if (cost > this.cost - atLeast) return;
    nodes.forEach((node) => this.left.add(node));
    this.plan = plan;
    this.cost = cost;
  }
}

/** Estimated times of a graph's quantizable part under a plan. */
class PlanCosts {
  readonly floatNs: number;
  readonly isPinned: (node: Node) => boolean;
  readonly #view: GraphView;
  readonly #candidates: Candidates['units'];
  readonly #model: CostModel;
  readonly #unitTimes: UnitTimes;
  readonly #estimates = new Map<Node, Estimate>();

  constructor(
    view: GraphView,
    candidates: Candidates,
    {
      model,
      unitTimes,
      isPinned,
    }: {
      readonly model: CostModel;
      readonly unitTimes: UnitTimes;
      readonly isPinned: (node: Node) => boolean;
    },
  ) {
    this.#view = view;
    this.#candidates = candidates.units;
    this.isPinned = isPinned;
    this.#unitTimes = unitTimes;
    this.#model = model;
    let floatNs = 0;
    for (const node of view.nodes) {
      const estimate = this.#estimateNode(node, candidates.units.get(node));
      if (estimate === undefined) continue;
      this.#estimates.set(node, estimate);
      floatNs += estimate.floatNs;
    }
    this.floatNs = floatNs;
  }

  of(node: Node): Estimate | undefined {
    return this.#estimates.get(node);
  }

  /** Nodes of a plan that take longer in int8, the worst first. */
  slowNodes(plan: QuantPlan): Node[] {
    const slow = [...this.#estimates].filter(([node, { floatNs, int8Ns }]) => plan.units.has(node) && int8Ns > floatNs);
    return slow.sort(([, a], [, b]) => b.int8Ns - b.floatNs - (a.int8Ns - a.floatNs)).map(([node]) => node);
  }

  total(plan: QuantPlan): number {
    let sum = 0;
    for (const [node, estimate] of this.#estimates) {
      sum += this.#isOnCodes(node, plan) ? estimate.int8Ns : estimate.floatNs;
    }
    for (const value of plan.roots.keys()) sum += this.#boundary(value, plan);
    return sum;
  }

  /**
   * A plan's node, or one without weights that the plan leaves in float between codes on all sides: ONNX Runtime fuses it with
   * the quantizers around it all the same.
   */
  #isOnCodes(node: Node, plan: QuantPlan): boolean {
    if (plan.units.has(node)) return true;
    const unit = this.#candidates.get(node);
    const [output = ''] = node.outputs;
    if (unit?.placement.kind !== 'pointwise' || unit.constants.length > 0 || this.#view.isOutput(output)) return false;
    const makers = unit.activations.map((index) => this.#view.producerOf(node.inputs[index] ?? ''));
    if (!makers.every((maker) => maker !== undefined && plan.makesCodes(maker))) return false;
    const readers = this.#view.readersOf(output);
    return readers.length > 0 && readers.every((use) => use.inputIndex >= 0 && plan.units.has(use.node));
  }

  /** A QuantizeLinear where a float node made the value, a DequantizeLinear where one reads it: half a boundary each. */
  #boundary(value: string, plan: QuantPlan): number {
    const producer = this.#view.producerOf(value);
    const isFused = producer !== undefined && !plan.units.has(producer) && this.#isOnCodes(producer, plan);
    const madeAsCodes = producer !== undefined && (plan.makesCodes(producer) || isFused);
    const readers = this.#view.readersOf(value);
    const readInFloat =
      this.#view.isOutput(value) ||
      readers.some(({ node, inputIndex }) => inputIndex < 0 || !this.#isOnCodes(node, plan));
    if (madeAsCodes && !readInFloat) return 0;
    const beside = madeAsCodes ? [producer] : readers.map(({ node }) => node).filter((node) => plan.units.has(node));
    const kernel = beside.some((node) => node.opType === 'Conv') ? 'conv-boundary' : 'boundary';
    const workload = elementwiseWorkload(kernel, value, this.#view.sizesOf);
    return workload === undefined ? 0 : (this.#model.estimate(workload)?.int8Ns ?? 0) / 2;
  }

  #estimateNode(node: Node, unit: ComputeUnit | undefined): Estimate | undefined {
    const placement = placementOf(node);
    if (placement === undefined) return undefined;
    if (unit === undefined) {
      if (placement.kind !== 'moves' || placement.kernel === undefined) return undefined;
      const workload = elementwiseWorkload(placement.kernel, node.outputs[0] ?? '', this.#view.sizesOf);
      return workload === undefined ? undefined : this.#model.estimate(workload);
    }
    const estimate = this.#unitTimes.of(unit);
    // Such a node computes in float between its quantizers.
    if (estimate !== undefined && this.isPinned(node)) return { floatNs: estimate.floatNs, int8Ns: estimate.floatNs };
    if (estimate === undefined || !this.#isBias(unit)) return estimate;
    return { floatNs: 0, int8Ns: estimate.int8Ns };
  }

  /** A constant added to what a convolution or product makes: in float it becomes its bias and costs nothing. */
  #isBias(unit: ComputeUnit): boolean {
    if (unit.node.opType !== 'Add' || unit.constants.length === 0) return false;
    const producer = this.#view.producerOf(unit.node.inputs[unit.activations[0] ?? 0] ?? '');
    return producer !== undefined && ['Conv', 'MatMul', 'Gemm'].includes(producer.opType);
  }
}

/** Two and more of the nodes that follow each other, with nothing in between but what moves or clips codes. */
function runsOf(nodes: readonly Node[], view: GraphView): Node[][] {
  const runOf = new Map(nodes.map((node) => [node, new Set([node])]));
  for (const node of nodes) {
    for (const input of node.inputs) {
      let before = view.producerOf(input);
      while (before !== undefined && /^(moves|clips)$/.test(placementOf(before)?.kind ?? '')) {
        before = view.producerOf(before.inputs[0] ?? '');
      }
      const [run, other] = [runOf.get(node), before === undefined ? undefined : runOf.get(before)];
      if (run === undefined || other === undefined || run === other) continue;
      for (const member of other) {
        run.add(member);
        runOf.set(member, run);
      }
    }
  }
  return [...new Set(runOf.values())].filter((run) => run.size > 1).map((run) => [...run]);
}

/** Compute units that are connected by values in codes. */
export function regionsOf(plan: QuantPlan): Node[][] {
  const regionOfRoot = new Map<string, Set<Node>>();
  const regions = new Set<Set<Node>>();
  for (const [node, unit] of plan.units) {
    if (unit.kind !== 'compute') continue;
    const region = new Set<Node>([node]);
    regions.add(region);
    const values = unit.activations.map((index) => node.inputs[index] ?? '');
    if (plan.makesCodes(node)) values.push(node.outputs[0] ?? '');
    for (const value of values) {
      const root = plan.roots.get(value) ?? value;
      const other = regionOfRoot.get(root);
      if (other !== undefined && other !== region) {
        for (const member of other) region.add(member);
        regions.delete(other);
        for (const [name, of] of regionOfRoot) if (of === other) regionOfRoot.set(name, region);
      }
      regionOfRoot.set(root, region);
    }
  }
  return [...regions].map((region) => [...region]);
}
