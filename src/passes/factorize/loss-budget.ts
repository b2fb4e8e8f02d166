import type { OutputChange } from '../output-comparison.ts';
import type { Skipped } from '../pass.ts';
import { budgetLayers, type Candidate, type Decision } from './choose-ranks.ts';
import type { LossBudget } from './options.ts';
import { greedyPath, type BudgetLayer, type PathStep } from './rank-budget.ts';

/** Keeps products with prices finite. */
const LARGEST_SENSITIVITY = 1e30;

export interface BudgetChoice {
  readonly decisions: readonly Decision[];
  readonly skipped: readonly Skipped[];
  /** Of the chosen ranks together. */
  readonly measured: OutputChange;
}

export interface BudgetRun {
  /** What the whole model loses with these layers factored. */
  readonly measure: (decisions: readonly Decision[]) => Promise<OutputChange>;
  /** 0..1 */
  readonly progress: (fraction: number) => void;
}

/**
 * Takes layers down in rank, the step with the smallest error of the model's outputs per multiply-accumulate first, as long as
 * the measured loss stays within the budget. What a layer's own loss means for the outputs is measured once a layer, with that
 * layer alone factored; how far the path is gone, by bisection: one run over the data each.
 */
export async function chooseWithinBudget(
  candidates: readonly Candidate[],
  budget: LossBudget,
  { measure, progress }: BudgetRun,
): Promise<BudgetChoice> {
  const { counted, layers, skipped } = budgetLayers(candidates);
  const sensitivities: number[] = [];
  for (const [index, layer] of layers.entries()) {
    progress((0.7 * index) / layers.length);
    sensitivities.push(await sensitivityOf(layer, measure));
  }
  const path = greedyPath(layers, (layer) => sensitivities[layer] ?? 1);
  let chosen = new Map<number, Decision>();
  let measured: OutputChange = { accuracyDrop: 0, distance: 0, error: 0 };
  let [within, beyond] = [0, path.length + 1];
  while (beyond - within > 1) {
    const steps = Math.floor((within + beyond) / 2);
    const trial = after(path, steps);
    const change = await measure([...trial.values()]);
    progress(1 - (0.3 * (beyond - within)) / (path.length + 1));
    if (change[budget.of] <= budget.most) [within, chosen, measured] = [steps, trial, change];
    else beyond = steps;
  }
  for (const [index, { layer }] of counted.entries()) {
    if (chosen.has(index)) continue;
    const name = budget.of === 'error' ? 'errorBudget' : 'maxAccuracyDrop';
    const reason =
      (layers[index]?.points.length ?? 0) === 0
        ? 'no rank of it saves anything'
        : `${name} ${budget.most} is used up by cheaper steps`;
    skipped.push({ node: layer.label, reason });
  }
  const order = [...chosen.keys()].sort((a, b) => a - b);
  return { decisions: order.flatMap((index) => chosen.get(index) ?? []), skipped, measured };
}

/** Error of the model's outputs for one unit of the layer's own loss, taken in the middle of its way down. */
async function sensitivityOf(layer: BudgetLayer<Decision>, measure: BudgetRun['measure']): Promise<number> {
  const steps = greedyPath([layer]);
  const lossy = steps.filter(({ to }) => to.loss > 0);
  const probe = lossy[Math.floor(lossy.length / 2)];
  if (probe === undefined) return 1;
  const { error } = await measure([probe.to.choice]);
  return Math.min(error / probe.to.loss, LARGEST_SENSITIVITY);
}

function after(path: readonly PathStep<Decision>[], steps: number): Map<number, Decision> {
  return new Map(path.slice(0, steps).map(({ layer, to }) => [layer, to.choice]));
}
