import { z } from 'zod';
import type { Dimension, JsonValue, Point } from '../../search/space.ts';

/** `{ "search": […] }` or `{ "search": { "min", "max", … } }` in the place of a value: what a search chooses. */
const Range = z.strictObject({
  search: z.union([
    z.array(z.json()).min(1).max(64),
    z.strictObject({ layers: z.unknown() }),
    z
      .strictObject({
        min: z.number(),
        max: z.number(),
        step: z.number().positive().optional(),
        log: z.boolean().optional(),
      })
      .refine(({ min, max }) => min <= max, 'min must not be above max'),
  ]),
});
type Range = z.infer<typeof Range>;

/** More steps than this between min and max are searched as a real number. */
const MAX_STEPS = 1000;

/** @throws z.ZodError for a `search` that is none */
function asRange(value: unknown): Range | undefined {
  const isRange = typeof value === 'object' && value !== null && !Array.isArray(value) && 'search' in value;
  return isRange ? Range.parse(value) : undefined;
}

/** Why a template is not valid, with the place; undefined when it is. */
export function rangeProblem(template: unknown, path: readonly PropertyKey[] = []): z.core.$ZodIssue | undefined {
  if (typeof template !== 'object' || template === null) return undefined;
  if (!Array.isArray(template) && 'search' in template) {
    const parsed = Range.safeParse(template);
    const search = parsed.data?.search;
    if (search !== undefined && !Array.isArray(search) && 'layers' in search)
      return rangeProblem({ search: search.layers }, [...path, 'search', 'layers']);
    const [issue] = parsed.error?.issues ?? [];
    return issue === undefined ? undefined : { ...issue, path: [...path, ...issue.path] };
  }
  for (const [name, value] of Object.entries(template)) {
    const problem = rangeProblem(value, [...path, name]);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/**
 * `{ "search": { "layers": … } }` becomes a record with a range for each layer; what is in it is a list of values, or an interval.
 *
 * @param layersAt - names of the layers for the step of that number; the records are made of them
 */
export function expandLayers(template: unknown, layersAt: (step: number) => readonly string[], step = -1): unknown {
  if (typeof template !== 'object' || template === null) return template;
  const search = asRange(template)?.search;
  if (search !== undefined && !Array.isArray(search) && 'layers' in search) {
    return Object.fromEntries(layersAt(step).map((layer) => [layer, { search: search.layers }]));
  }
  if (search !== undefined) return template;
  if (Array.isArray(template)) {
    return template.map((value, index) => expandLayers(value, layersAt, step === -1 ? index : step));
  }
  return Object.fromEntries(Object.entries(template).map(([key, value]) => [key, expandLayers(value, layersAt, step)]));
}

/** What the ranges of a template leave open, named by their place: `steps.0.macsRatio`. */
export function dimensionsOf(template: unknown, name = ''): Dimension[] {
  const range = asRange(template);
  if (range !== undefined) return [dimensionOf(range, name)];
  if (typeof template !== 'object' || template === null) return [];
  return Object.entries(template).flatMap(([key, value]) => dimensionsOf(value, name === '' ? key : `${name}.${key}`));
}

function dimensionOf({ search }: Range, name: string): Dimension {
  if (Array.isArray(search)) return { name, type: 'choice', values: search };
  if ('layers' in search) throw new RangeError(`layers at ${name} are not expanded`);
  const { min, max, step, log } = search;
  if (step === undefined) {
    return min === max
      ? { name, type: 'choice', values: [min] }
      : { name, type: 'real', min, max, ...(log === undefined ? {} : { log }) };
  }
  const count = Math.floor((max - min) / step + 1e-9) + 1;
  if (count > MAX_STEPS) return { name, type: 'real', min, max };
  // Rounded, so that 0.1 + 2 * 0.1 is 0.3.
  const values = Array.from({ length: count }, (_, index) => Number((min + index * step).toPrecision(12)));
  return { name, type: 'choice', values };
}

/** The template with a point's values in the place of its ranges. Elements of lists that become null are left out. */
export function substitute(template: unknown, point: Point, name = ''): unknown {
  if (asRange(template) !== undefined) return point[name] ?? null;
  if (typeof template !== 'object' || template === null) return template;
  const at = (key: string): string => (name === '' ? key : `${name}.${key}`);
  if (Array.isArray(template)) {
    return template
      .map((value, index) => substitute(value, point, at(String(index))))
      .filter((value) => value !== null);
  }
  return Object.fromEntries(Object.entries(template).map(([key, value]) => [key, substitute(value, point, at(key))]));
}

/** Templates without ranges that together show each value of each list and both ends of each interval. */
export function examplesOf(template: unknown): unknown[] {
  const dimensions = dimensionsOf(template);
  const shown = dimensions.map((dimension): readonly JsonValue[] =>
    dimension.type === 'choice' ? dimension.values : [dimension.min, dimension.max],
  );
  const first = Object.fromEntries(dimensions.map(({ name }, d) => [name, shown[d]?.[0] ?? null]));
  const points = dimensions.flatMap(({ name }, d) => (shown[d] ?? []).map((value) => ({ ...first, [name]: value })));
  return (points.length === 0 ? [first] : points).map((point) => substitute(template, point));
}
