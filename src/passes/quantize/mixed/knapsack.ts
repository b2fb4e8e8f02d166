import {
  hullPath,
  hullSteps,
  selectionOf,
  usefulOptions,
  type LayerOptions,
  type Selection,
  type UsefulOption,
} from './selection.ts';

/** Losses nearer to each other than this share are rounding. */
const ROUNDING = 1e-12;
/** Partial selections that a layer may leave. Beyond, those that could hardly beat the best one go, too, and the answer says so. */
const MAX_STATES = 200_000;
const FIRST_GAP = 1e-6;

export interface Solution extends Selection {
  /** The least loss there is lies at most this share below: 0 where the selection is proved to be the best. */
  readonly gap: number;
}

/**
 * The selection with the least summed loss within a budget, proved: the multiple-choice knapsack problem. Goes from layer to layer with
 * all partial selections that are not dominated (cheaper and no worse) and that could still beat the best selection known, by
 * the bound that the linear relaxation of the remaining layers gives.
 *
 * @param layers - costs are integers of at least 0, losses finite and at least 0
 * @returns undefined when even the cheapest options are beyond the budget
 * @see Dyer, Riha and Walker, "A hybrid dynamic programming/branch-and-bound algorithm for the multiple-choice knapsack problem",
 *   J. Comput. Appl. Math. 58, 1995; Sinha and Zoltners, "The Multiple-Choice Knapsack Problem", Oper. Res. 27, 1979
 */
export function solveKnapsack(layers: readonly LayerOptions[], budget: number): Solution | undefined {
  const useful = layers.map(usefulOptions);
  const bounds = new SuffixBounds(useful);
  let best = completed(layers, useful, { budget, chosen: [] });
  if (best === undefined) return undefined;
  let gap = 0;
  const stages = new Stages();
  for (const [layer, options] of useful.entries()) {
    for (;;) {
      const limit = best.loss * (1 - Math.max(gap, ROUNDING));
      let nearest = { bound: Infinity, state: 0 };
      const grown = stages.extended(options, (cost, loss, state) => {
        const bound = loss + bounds.leastLoss(layer + 1, budget - cost);
        if (bound < nearest.bound) nearest = { bound, state };
        return bound < limit;
      });
      if (grown.count <= MAX_STATES) {
        stages.push(grown);
        // What promises the most is tried out: a better selection lets later layers leave less.
        const trial = completed(layers, useful, {
          budget,
          chosen: grown.count === 0 ? [] : stages.optionsOf(nearest.state),
        });
        if (trial !== undefined && trial.loss < best.loss) best = trial;
        break;
      }
      gap = Math.max(FIRST_GAP, 4 * gap);
    }
  }
  for (const options of stages.selections()) {
    const found = selectionOf(layers, options);
    if (found.loss < best.loss) best = found;
  }
  return { ...best, gap };
}

export interface ParetoSet {
  /** By rising cost and falling loss. */
  readonly points: readonly Selection[];
  /** False: so many that only those on the lower convex hull are given. */
  readonly isComplete: boolean;
}

/** Every selection than which no other is both cheaper (or as cheap) and better (or as good); one of those that are the same in both. */
export function paretoSet(layers: readonly LayerOptions[]): ParetoSet {
  const stages = new Stages();
  for (const options of layers.map(usefulOptions)) {
    stages.push(stages.extended(options, () => true));
    if (stages.count > MAX_STATES) return { points: hullPath(layers), isComplete: false };
  }
  return { points: stages.selections().map((options) => selectionOf(layers, options)), isComplete: true };
}

/** Partial selections up to a layer, sorted by cost, each with less loss than all before it. */
interface Stage {
  readonly count: number;
  readonly costs: Float64Array;
  readonly losses: Float64Array;
  /** State of the stage before, and option of the layer. */
  readonly parents: Int32Array;
  readonly options: Int32Array;
}

/** Partial selections that are not dominated, layer by layer. */
class Stages {
  readonly #stages: Stage[] = [];
  #last: Stage = {
    count: 1,
    costs: new Float64Array(1),
    losses: new Float64Array(1),
    parents: Int32Array.of(-1),
    options: Int32Array.of(-1),
  };

  get count(): number {
    return this.#last.count;
  }

  push(stage: Stage): void {
    this.#stages.push(stage);
    this.#last = stage;
  }

  /**
   * The states of the last stage with each option of the next layer, merged by cost. O(n k) for n states and k options, times k.
   *
   * @param keep - asked once for each state that is not dominated, with its number in the new stage
   */
  extended(options: readonly UsefulOption[], keep: (cost: number, loss: number, state: number) => boolean): Stage {
    const { count: before, costs, losses } = this.#last;
    const most = before * options.length;
    const grown = {
      costs: new Float64Array(most),
      losses: new Float64Array(most),
      parents: new Int32Array(most),
      options: new Int32Array(most),
    };
    const heads = new Int32Array(options.length);
    let [count, least] = [0, Infinity];
    for (let taken = 0; taken < most; taken += 1) {
      let [from, cost, loss] = [-1, Infinity, Infinity];
      for (const [at, option] of options.entries()) {
        const head = heads[at] ?? 0;
        if (head >= before) continue;
        const [itsCost, itsLoss] = [(costs[head] ?? 0) + option.cost, (losses[head] ?? 0) + option.loss];
        if (itsCost < cost || (itsCost === cost && itsLoss < loss)) [from, cost, loss] = [at, itsCost, itsLoss];
      }
      const parent = heads[from] ?? 0;
      heads[from] = parent + 1;
      if (loss >= least || !keep(cost, loss, count)) continue;
      least = loss;
      grown.costs[count] = cost;
      grown.losses[count] = loss;
      grown.parents[count] = parent;
      grown.options[count] = options[from]?.index ?? 0;
      count += 1;
    }
    return {
      count,
      costs: grown.costs.slice(0, count),
      losses: grown.losses.slice(0, count),
      parents: grown.parents.slice(0, count),
      options: grown.options.slice(0, count),
    };
  }

  /** The options of a state of the last stage, by layer. */
  optionsOf(state: number): readonly number[] {
    const options: number[] = [];
    let at = state;
    for (const stage of this.#stages.toReversed()) {
      options.push(stage.options[at] ?? 0);
      at = stage.parents[at] ?? 0;
    }
    return options.reverse();
  }

  /** The options of all states of the last stage, by rising cost. */
  selections(): readonly (readonly number[])[] {
    return Array.from({ length: this.count }, (_, state) => this.optionsOf(state));
  }
}

/** Least loss of the layers from one on, were options divisible: no real selection has less. */
class SuffixBounds {
  readonly #suffixes: readonly {
    readonly cost: number;
    readonly loss: number;
    /** Sums over the first steps of the hulls, by number of steps. */
    readonly costs: Float64Array;
    readonly gains: Float64Array;
  }[];

  constructor(layers: readonly (readonly UsefulOption[])[]) {
    const steps = hullSteps(layers);
    this.#suffixes = Array.from({ length: layers.length + 1 }, (_, from) => {
      let [cost, loss] = [0, 0];
      for (const [cheapest] of layers.slice(from)) {
        cost += cheapest?.cost ?? 0;
        loss += cheapest?.loss ?? 0;
      }
      const own = steps.filter(({ layer }) => layer >= from);
      const costs = new Float64Array(own.length + 1);
      const gains = new Float64Array(own.length + 1);
      for (const [at, step] of own.entries()) {
        costs[at + 1] = (costs[at] ?? 0) + step.cost;
        gains[at + 1] = (gains[at] ?? 0) + step.gain;
      }
      return { cost, loss, costs, gains };
    });
  }

  /** @returns Infinity when not even the cheapest options fit */
  leastLoss(from: number, budget: number): number {
    const suffix = this.#suffixes[from];
    if (suffix === undefined) return Infinity;
    const left = budget - suffix.cost;
    if (left < 0) return Infinity;
    const { costs, gains } = suffix;
    let [low, high] = [0, costs.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((costs[middle] ?? 0) <= left) low = middle;
      else high = middle - 1;
    }
    let gain = gains[low] ?? 0;
    if (low + 1 < costs.length) {
      const [cost, next] = [(costs[low + 1] ?? 0) - (costs[low] ?? 0), (gains[low + 1] ?? 0) - gain];
      gain += (next * (left - (costs[low] ?? 0))) / cost;
    }
    return suffix.loss - gain;
  }
}

/**
 * Completes a selection of the first layers: from the cheapest options of the others, steps along the hulls while they fit; those that
 * do not are passed over, with the later ones of their layer.
 */
function completed(
  layers: readonly LayerOptions[],
  useful: readonly (readonly UsefulOption[])[],
  { budget, chosen }: { readonly budget: number; readonly chosen: readonly number[] },
): Selection | undefined {
  const options = useful.map(([cheapest], layer) => chosen[layer] ?? cheapest?.index ?? 0);
  let { cost } = selectionOf(layers, options);
  if (cost > budget) return undefined;
  const closed = new Set<number>(chosen.keys());
  for (const step of hullSteps(useful)) {
    if (closed.has(step.layer)) continue;
    if (cost + step.cost > budget) {
      closed.add(step.layer);
      continue;
    }
    cost += step.cost;
    options[step.layer] = step.to.index;
  }
  return selectionOf(layers, options);
}
