/** One way to treat a layer: what it costs (an integer, in the unit of the budget) and what the model loses by it. */
export interface LayerOption {
  readonly cost: number;
  readonly loss: number;
}

/** The options of one layer: at least one. */
export type LayerOptions = readonly LayerOption[];

/** One option for each layer, by index. */
export interface Selection extends LayerOption {
  readonly options: readonly number[];
}

/** An option that no other one of its layer makes needless. */
export interface UsefulOption extends LayerOption {
  readonly index: number;
}

/** A step of a layer's lower convex hull: the next dearer option on it, and what each unit of cost takes off the loss. */
export interface HullStep {
  readonly layer: number;
  readonly to: UsefulOption;
  readonly cost: number;
  readonly gain: number;
}

/** Options sorted by cost, each with less loss than all that cost less. O(n log n) for n options. */
export function usefulOptions(options: LayerOptions): readonly UsefulOption[] {
  const sorted = options
    .map(({ cost, loss }, index) => ({ cost, loss, index }))
    .sort((a, b) => a.cost - b.cost || a.loss - b.loss || a.index - b.index);
  let least = Infinity;
  return sorted.filter(({ loss }) => {
    if (loss >= least) return false;
    least = loss;
    return true;
  });
}

/** All steps of all layers' hulls, the one that takes off the most loss for its cost first; those of one layer in order. */
export function hullSteps(layers: readonly (readonly UsefulOption[])[]): readonly HullStep[] {
  const steps = layers.flatMap((options, layer) => {
    const hull: UsefulOption[] = [];
    for (const option of options) {
      for (;;) {
        const [before, last] = [hull.at(-2), hull.at(-1)];
        if (before === undefined || last === undefined || rate(before, last) > rate(last, option)) break;
        hull.pop();
      }
      hull.push(option);
    }
    return hull.slice(1).map((to, at): HullStep => {
      const from = hull[at] ?? to;
      return { layer, to, cost: to.cost - from.cost, gain: from.loss - to.loss };
    });
  });
  return steps.sort((a, b) => b.gain / b.cost - a.gain / a.cost || a.layer - b.layer || a.to.cost - b.to.cost);
}

function rate(from: LayerOption, to: LayerOption): number {
  return (from.loss - to.loss) / (to.cost - from.cost);
}

/** Sums of a selection, added up in the order of the layers, so that the same selection always has the same sums. */
export function selectionOf(layers: readonly LayerOptions[], options: readonly number[]): Selection {
  let [cost, loss] = [0, 0];
  for (const [layer, index] of options.entries()) {
    cost += layers[layer]?.[index]?.cost ?? 0;
    loss += layers[layer]?.[index]?.loss ?? 0;
  }
  return { options, cost, loss };
}

/**
 * From the cheapest selection to the one with the least loss, one layer's step along its hull at a time, that with the most gained for its cost
 * first. Each selection on the way has the least loss that its cost allows: these are the points of the Pareto set on its lower convex hull.
 */
export function hullPath(layers: readonly LayerOptions[]): readonly Selection[] {
  const useful = layers.map(usefulOptions);
  const options = useful.map(([cheapest]) => cheapest?.index ?? 0);
  const path = [selectionOf(layers, [...options])];
  for (const { layer, to } of hullSteps(useful)) {
    options[layer] = to.index;
    path.push(selectionOf(layers, [...options]));
  }
  return path;
}
