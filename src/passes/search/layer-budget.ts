import { Budget, type SumLimit } from '../../search/budget.ts';
import type { SearchSpace } from '../../search/space.ts';
import type { LayerCosts } from '../pass.ts';
import type { Limits } from './goals.ts';
import type { LayerPlace } from './ranges.ts';

const COUNTED = [
  ['maxBytes', 'bytes'],
  ['maxBops', 'bops'],
] as const;

/** Whether limits are among those that can be counted layer by layer. */
export function hasCountedLimit(limits: Limits): boolean {
  return COUNTED.some(([name]) => limits[name] !== undefined);
}

/** The limits of a search as a budget of the layers of a place. */
export function layerBudget(space: SearchSpace, place: LayerPlace, counted: LayerCosts, limits: Limits): Budget {
  const costs = space.dimensions.map(({ name }) => counted.layers[place.layers.get(name) ?? '']);
  const given = COUNTED.flatMap(([name, figure]): SumLimit[] => {
    const limit = limits[name];
    if (limit === undefined) return [];
    const rows = costs.map((layer) => layer?.costs.map((own) => own[figure] ?? 0));
    return [{ limit: limit - (counted.rest[figure] ?? 0), costs: rows }];
  });
  return new Budget(
    given,
    costs.map((layer) => layer?.features),
  );
}
