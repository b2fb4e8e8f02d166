import type { SearchDetails, SearchTrial } from '../schemas/search-report.ts';
import { compareBy, objectiveViews } from './search-figures.ts';

/** Whether the random candidates beside a search did as well as it. */
export function noBetterThanRandom(details: SearchDetails): boolean {
  const { random } = details;
  if (random?.best === undefined || random.found === undefined) return false;
  const [searched, drawn] = [random.curves?.search.at(-1), random.curves?.random.at(-1)];
  if (details.objectives.length > 1 && typeof searched === 'number' && typeof drawn === 'number')
    return drawn >= searched;
  return !isBetter(random.found, random.best, details);
}

/** As the search itself ranks: limits first, then one objective after the other. */
function isBetter(a: SearchTrial, b: SearchTrial, details: SearchDetails): boolean {
  const [missedByA, missedByB] = [a.violation ?? Infinity, b.violation ?? Infinity];
  if (missedByA !== missedByB) return missedByA < missedByB;
  const decisive = objectiveViews(details)
    .map((view) => compareBy(view, a, b))
    .find((order) => order !== 0);
  return decisive !== undefined && decisive < 0;
}
