import { z } from 'zod';
import { canonicalJson } from '../../canonical-json.ts';
import { CompressionError } from '../../errors.ts';
import { SearchSpace, type Dimension, type JsonValue, type Point } from '../../search/space.ts';

/** More values than this between min and max are a real number. */
const MAX_STEPS = 1000;

const Choices = z.array(z.json()).min(1).max(64);
const Interval = z
  .strictObject({
    min: z.number(),
    max: z.number(),
    step: z.number().positive().optional(),
    log: z.boolean().optional(),
  })
  .refine(({ min, max }) => min <= max, 'min must not be above max')
  .refine(({ min, log }) => log !== true || min > 0, 'log needs a min above 0')
  .refine(({ step, log }) => log !== true || step === undefined, 'log and step exclude each other')
  .refine(
    ({ min, max, step }) => step === undefined || stepsIn(min, max, step) <= MAX_STEPS,
    `more than ${MAX_STEPS} values between min and max: take a larger step, or leave it out for a real number`,
  );

const NO_RANGE = { error: 'must be a list of 1 to 64 values, or { "min", "max" } with "step" or "log" besides' };

/** `{ "search": […] }` or `{ "search": { "min", "max", … } }` in the place of a value: what a search chooses. */
const Range = z.strictObject({
  search: z.union([Choices, z.strictObject({ layers: z.union([Choices, Interval], NO_RANGE) }), Interval], NO_RANGE),
});
type Range = z.infer<typeof Range>;

function stepsIn(min: number, max: number, step: number): number {
  return Math.floor((max - min) / step + 1e-9) + 1;
}

/** @throws z.ZodError for a `search` that is none */
function asRange(value: unknown): Range | undefined {
  const isRange = typeof value === 'object' && value !== null && !Array.isArray(value) && 'search' in value;
  return isRange ? Range.parse(value) : undefined;
}

/** As a refinement of a schema reports it. */
interface TemplateProblem {
  readonly code: 'custom';
  readonly message: string;
  readonly path: PropertyKey[];
}

/**
 * Why a template is not valid, with the place; undefined when it is.
 *
 * @param dimensions - of the template; asked for when each range of it is valid
 * @param allows - whether `{ "search": { "layers": … } }` may stand in it
 */
export function templateProblem(
  template: unknown,
  dimensions: () => readonly Dimension[],
  allows: { readonly layers: boolean } = { layers: true },
): TemplateProblem | undefined {
  const problem = rangeProblem(template, allows, []);
  if (problem !== undefined) return problem;
  const message = spaceProblem(dimensions());
  return message === undefined ? undefined : { code: 'custom', message, path: [] };
}

function rangeProblem(
  template: unknown,
  allows: { readonly layers: boolean },
  path: readonly PropertyKey[],
): TemplateProblem | undefined {
  if (typeof template !== 'object' || template === null) return undefined;
  if (!Array.isArray(template) && 'search' in template) {
    const { data, error } = Range.safeParse(template);
    const [issue] = error?.issues ?? [];
    if (issue !== undefined) return { code: 'custom', message: issue.message, path: [...path, ...issue.path] };
    const hasLayers = data !== undefined && !Array.isArray(data.search) && 'layers' in data.search;
    if (!hasLayers || allows.layers) return undefined;
    return { code: 'custom', message: NO_RANGE.error, path: [...path, 'search'] };
  }
  for (const [name, value] of Object.entries(template)) {
    const problem = rangeProblem(value, allows, [...path, name]);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** On what `expandLayers` puts in the place of a range: what becomes of it. */
const LAYERS = Symbol('layers');
/** names: values are yes or no, and the names of the layers that have yes become a list, as `exclude` takes one. */
export type LayerForm = 'record' | 'names';

/**
 * `{ "search": { "layers": … } }` becomes a record with a range for each layer; what is in it is a list of values, or an interval.
 * Where the values are `true` and `false` alone, `substitute` makes a list of the names that have `true`.
 *
 * @param layersAt - names of the layers for the step of that number; the records are made of them
 */
export function expandLayers(
  template: unknown,
  layersAt: (step: number, form: LayerForm) => readonly string[],
  step = -1,
): unknown {
  if (typeof template !== 'object' || template === null) return template;
  const search = asRange(template)?.search;
  if (search !== undefined && !Array.isArray(search) && 'layers' in search) {
    const form = isYesNo(search.layers) ? 'names' : 'record';
    const ranges = layersAt(step, form).map((layer) => [layer, { search: search.layers }] as const);
    return { ...Object.fromEntries(ranges), [LAYERS]: form };
  }
  if (search !== undefined) return template;
  if (Array.isArray(template)) {
    return template.map((value, index) => expandLayers(value, layersAt, step === -1 ? index : step));
  }
  return Object.fromEntries(Object.entries(template).map(([key, value]) => [key, expandLayers(value, layersAt, step)]));
}

function isYesNo(values: unknown): boolean {
  return Array.isArray(values) && values.every((value) => typeof value === 'boolean');
}

function layerFormOf(template: object): LayerForm | undefined {
  return LAYERS in template ? (template[LAYERS] as LayerForm) : undefined;
}

/** A place with a value for each layer. */
export interface LayerPlace {
  readonly form: LayerForm;
  /** By the name of its dimension, the layer. */
  readonly layers: ReadonlyMap<string, string>;
}

/** The places of an expanded template that have a value for each layer. */
export function layerPlacesOf(template: unknown, name = ''): LayerPlace[] {
  if (typeof template !== 'object' || template === null) return [];
  const form = layerFormOf(template);
  const names = Object.keys(template).map((key): [string, string] => [name === '' ? key : `${name}.${key}`, key]);
  if (form !== undefined) return [{ form, layers: new Map(names) }];
  const values: readonly unknown[] = Object.values(template);
  return values.flatMap((value, index) => layerPlacesOf(value, names[index]?.[0]));
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
  const count = stepsIn(min, max, step);
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
  const values = Object.entries(template).map(([key, value]) => [key, substitute(value, point, at(key))] as const);
  return layerFormOf(template) === 'names' ? namesWithYes(values) : Object.fromEntries(values);
}

function namesWithYes(values: readonly (readonly [string, unknown])[]): readonly string[] {
  return values.flatMap(([name, value]) => (value === true ? [name] : []));
}

/** Why no space can be made of these dimensions; undefined when one can. */
function spaceProblem(dimensions: readonly Dimension[]): string | undefined {
  if (dimensions.length === 0) return 'nothing to search: put { "search": [...] } in the place of a value';
  try {
    new SearchSpace(dimensions);
    return undefined;
  } catch (error) {
    if (!(error instanceof CompressionError)) throw error;
    return error.message;
  }
}

/** Where in a template a place of what `substitute` made of it comes from. Beyond an interval there are none. */
export function originOf(
  template: unknown,
  point: Point,
  path: readonly PropertyKey[],
  name = '',
): readonly PropertyKey[] {
  const at = (key: PropertyKey): string => (name === '' ? String(key) : `${name}.${String(key)}`);
  const own = asRange(template);
  if (own !== undefined) {
    if (!Array.isArray(own.search)) return ['search'];
    const chosen = canonicalJson(point[name] ?? null);
    return ['search', own.search.findIndex((value) => canonicalJson(value) === chosen), ...path];
  }
  const [key, ...rest] = path;
  if (key === undefined || typeof template !== 'object' || template === null) return path;
  const form = layerFormOf(template);
  if (form !== undefined) {
    const layer =
      form === 'record'
        ? key
        : namesWithYes(Object.entries(template).map(([own]) => [own, point[at(own)]]))[Number(key)];
    const range = new Map<PropertyKey, unknown>(Object.entries(template)).get(layer ?? '');
    return ['search', 'layers', ...originOf(range, point, rest, at(layer ?? '')).slice(1)];
  }
  const place = Array.isArray(template) ? keptPlaces(template, point, name)[Number(key)] : key;
  if (place === undefined) return path;
  const inner = new Map<PropertyKey, unknown>(Object.entries(template)).get(String(place));
  return [place, ...originOf(inner, point, rest, at(place))];
}

/** Places of the elements that `substitute` does not leave out. */
function keptPlaces(template: readonly unknown[], point: Point, name: string): readonly number[] {
  const at = (index: number): string => (name === '' ? String(index) : `${name}.${index}`);
  return template.flatMap((value, index) => (substitute(value, point, at(index)) === null ? [] : [index]));
}

/** Points that together show each value of each list and both ends of each interval. */
export function examplePointsOf(template: unknown): readonly Point[] {
  const dimensions = dimensionsOf(template);
  const shown = dimensions.map((dimension): readonly JsonValue[] =>
    dimension.type === 'choice' ? dimension.values : [dimension.min, dimension.max],
  );
  const first = Object.fromEntries(dimensions.map(({ name }, d) => [name, shown[d]?.[0] ?? null]));
  const points = dimensions.flatMap(({ name }, d) => (shown[d] ?? []).map((value) => ({ ...first, [name]: value })));
  return points.length === 0 ? [first] : points;
}

/** Templates without ranges that together show each value of each list and both ends of each interval. */
export function examplesOf(template: unknown): unknown[] {
  return examplePointsOf(template).map((point) => substitute(template, point));
}
