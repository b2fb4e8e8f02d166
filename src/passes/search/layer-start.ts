import { z } from 'zod';
import { canonicalJson } from '../../canonical-json.ts';
import type { Model } from '../../onnx/model.ts';
import type { Budget } from '../../search/budget.ts';
import type { Dimension, JsonValue, Point, SearchSpace } from '../../search/space.ts';
import type { InnerRecipe, LayerCosts, PassContext } from '../pass.ts';
import type { Limits } from './goals.ts';
import { hasCountedLimit, layerBudget } from './layer-budget.ts';
import { layerPlacesOf, type LayerPlace } from './ranges.ts';

type Step = InnerRecipe['steps'][number];

interface Start {
  readonly model: Model;
  /** An example of each; undefined where a step need not be there. */
  readonly steps: readonly (Step | undefined)[];
  /** With a range for each layer. */
  readonly template: unknown;
  readonly constraints: Limits;
  readonly warmStart: boolean;
}

/** What a search knows ahead of its layers. */
interface LayerStart {
  readonly initial: readonly Point[];
  readonly budget?: Budget;
}

const Figures = z.object({ bytes: z.number().optional(), bops: z.number().optional() });
const Kept = z.object({
  points: z.array(z.record(z.string(), z.json())),
  costs: z
    .object({
      rest: Figures,
      layers: z.record(z.string(), z.object({ features: z.array(z.number()), costs: z.array(Figures) })),
    })
    .optional(),
});

/**
 * Where there is a value for each layer: points to try first, and the limits that can be counted without a trial. Kept, so that attempts
 * that go on with the search need not measure again.
 */
export async function layerStart(space: SearchSpace, start: Start, context: PassContext): Promise<LayerStart> {
  const places = layerPlacesOf(start.template);
  if (places.length === 0) return { initial: [] };
  const bytes = await context.checkpoint.load();
  const kept = bytes === undefined ? undefined : Kept.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  const points = kept?.points ?? (start.warmStart ? await pointsOf(space, places, start, context) : []);
  const counted = kept === undefined ? await costsOf(space, places, start, context) : kept.costs;
  if (kept === undefined)
    await context.checkpoint.save(Buffer.from(JSON.stringify({ points, costs: counted }), 'utf8'));
  const [place] = places;
  if (counted === undefined || place === undefined) return { initial: points };
  return { initial: points, budget: layerBudget(space, place, counted, start.constraints) };
}

/** Of a recipe that is one step with one value a layer: what other steps or options bring would not add up. */
async function costsOf(
  space: SearchSpace,
  places: readonly LayerPlace[],
  { model, steps, constraints }: Start,
  context: PassContext,
): Promise<LayerCosts | undefined> {
  const [place, ...others] = places;
  const [step] = steps;
  const first = space.dimensions.findIndex(({ name }) => place?.layers.has(name) === true);
  const isAlone = others.length === 0 && steps.length === 1 && place?.form === 'record';
  if (!isAlone || step === undefined || space.count(first) === Infinity || !hasCountedLimit(constraints))
    return undefined;
  const at = (coordinate: number): JsonValue =>
    Object.values(space.decode(space.dimensions.map((_, d) => (d === first ? coordinate : 0))))[first] ?? null;
  const values = Array.from({ length: space.count(first) }, (_, coordinate) => at(coordinate));
  return context.innerSteps?.costs(model, step, values);
}

/** Points to try first: the same value for all layers, and what the pass finds by measuring each layer alone. */
async function pointsOf(
  space: SearchSpace,
  places: readonly LayerPlace[],
  { model, steps, constraints }: Start,
  context: PassContext,
): Promise<Point[]> {
  const excluding = new Set(places.flatMap(({ form, layers }) => (form === 'names' ? [...layers.keys()] : [])));
  const points: Point[] = [];
  for (const place of places) {
    const { form, layers } = place;
    const [first] = space.dimensions.filter(({ name }) => layers.has(name));
    const step = stepOf(place, steps);
    if (first === undefined || step === undefined) continue;
    const layered = (value: (layer: string) => JsonValue): Point =>
      Object.fromEntries(
        space.dimensions.map((dimension) => {
          const layer = layers.get(dimension.name);
          if (layer !== undefined) return [dimension.name, nearestOf(dimension, value(layer))];
          const other = excluding.has(dimension.name) ? false : (valuesOf(dimension)[0] ?? null);
          return [dimension.name, nearestOf(dimension, other)];
        }),
      );
    if (form === 'names') {
      points.push(layered(() => false));
      continue;
    }
    const found = await context.innerSteps?.suggest(model, step, constraints);
    const isProportion = found !== undefined && Object.values(found).every((value) => typeof value === 'number');
    const alike = isProportion ? [1] : valuesOf(first);
    if (found !== undefined) points.push(layered((layer) => found[layer] ?? 1));
    points.push(...alike.map((value) => layered(() => value)));
  }
  return points;
}

/** The step that a place stands in. */
function stepOf({ layers }: LayerPlace, steps: Start['steps']): Step | undefined {
  const [name = ''] = layers.keys();
  return steps[Number(name.split('.')[1])];
}

function valuesOf(dimension: Dimension): readonly JsonValue[] {
  return dimension.type === 'choice' ? dimension.values : [dimension.min, dimension.max];
}

function nearestOf(dimension: Dimension, wanted: JsonValue): JsonValue {
  const among = valuesOf(dimension);
  const same = among.find((value) => canonicalJson(value) === canonicalJson(wanted));
  if (same !== undefined) return same;
  if (typeof wanted !== 'number') return among[0] ?? null;
  if (dimension.type !== 'choice') return Math.min(dimension.max, Math.max(dimension.min, wanted));
  const distance = (value: JsonValue): number =>
    typeof value === 'number' ? Math.abs(value - wanted) : Number.POSITIVE_INFINITY;
  return among.reduce((best, value) => (distance(value) < distance(best) ? value : best));
}
