import { SearchSpace, type Dimension, type JsonValue, type Point } from '../../../search/space.ts';
import { countWeightElements } from '../../../onnx/print/summarize-model.ts';
import type { Model } from '../../../onnx/model.ts';
import type { ArchitectureRequest } from '../../../zoo/build-architecture.ts';
import { networkDimensions, networkOrReason, requestOf, type NetworkSpace } from '../networks.ts';
import { lineUp, survey, type LineUp, type Surveyed } from './line-up.ts';
import type { Varying } from './masked-network.ts';

/** What of a network a dimension changes. */
export type SharedKind = 'kernel' | 'depth' | 'width';

/** A space whose networks are all parts of its largest one. */
export interface SharedSpace {
  readonly space: SearchSpace;
  readonly largest: Point;
  /** What the largest network is built from. */
  readonly request: ArchitectureRequest;
  /** The largest network, weights zero. */
  readonly network: Surveyed;
  readonly varying: Varying;
  readonly kinds: ReadonlyMap<string, SharedKind>;
  requestOf(point: Point): ArchitectureRequest;
}

/** A network of a shared space, weights zero. */
export interface Part {
  readonly model: Model;
  readonly place: LineUp;
}

/** @returns in words why the networks of the space cannot share weights, where they cannot */
export function sharedSpace(template: NetworkSpace, given: Record<string, unknown>): SharedSpace | string {
  if (Array.isArray(template)) return 'networks of several families cannot share weights: name one';
  const space = new SearchSpace(networkDimensions(template));
  const request = (point: Point): ArchitectureRequest => requestOf(template, given, point);
  const largest = largestOf(space, request);
  const model = networkOrReason(request(largest));
  if (typeof model === 'string') return `the largest network of the space cannot be built: ${model}`;
  const network = survey(model);
  const kernels = new Set<string>();
  const blocks = new Set<string>();
  const kinds = new Map<string, SharedKind>();
  for (const dimension of space.dimensions) {
    const { name } = dimension;
    let kind: SharedKind | undefined;
    for (const value of shownValues(dimension)) {
      const small = networkOrReason(request({ ...largest, [name]: value }));
      // What cannot be built is left out of the search, as in any other.
      if (typeof small === 'string') continue;
      const place = lineUp(network, survey(small));
      if (typeof place === 'string') return `${name} ${JSON.stringify(value)}: ${place}${remedy(template)}`;
      const smaller = smallerKernels(network, place);
      for (const kernel of smaller) kernels.add(kernel);
      for (const block of place.left) blocks.add(block);
      kind ??= place.left.size > 0 ? 'depth' : smaller.length > 0 ? 'kernel' : undefined;
    }
    kinds.set(name, kind ?? 'width');
  }
  return {
    space,
    largest,
    request: request(largest),
    network,
    varying: { kernels, blocks },
    kinds,
    requestOf: request,
  };
}

function remedy({ architecture, ...options }: Exclude<NetworkSpace, unknown[]>): string {
  return architecture === 'staged' && options['uniform'] !== true
    ? ' (with "uniform": true the layers of "staged" do not depend on its numbers)'
    : '';
}

/** The network of a point, and where it lies in the largest one. @returns in words why there is none */
export function partAt(shared: SharedSpace, point: Point): Part | string {
  const model = networkOrReason(shared.requestOf(point));
  if (typeof model === 'string') return model;
  const place = lineUp(shared.network, survey(model));
  if (typeof place === 'string') return place;
  const { kernels, blocks } = shared.varying;
  const stray =
    [...place.left].find((block) => !blocks.has(block)) ??
    smallerKernels(shared.network, place).find((kernel) => !kernels.has(kernel));
  return stray === undefined ? { model, place } : `"${stray}" varies here only, so it has no mask`;
}

/** For each dimension, of its values the one with the most parameters. */
function largestOf(space: SearchSpace, request: (point: Point) => ArchitectureRequest): Point {
  let point: Point = Object.fromEntries(
    space.dimensions.map((dimension) => [dimension.name, shownValues(dimension).at(-1) ?? null]),
  );
  const size = (at: Point): number => {
    const network = networkOrReason(request(at));
    return typeof network === 'string' ? -1 : countWeightElements(network);
  };
  for (const dimension of space.dimensions) {
    let most = size(point);
    for (const value of shownValues(dimension)) {
      const other = { ...point, [dimension.name]: value };
      const count = size(other);
      if (count > most) [most, point] = [count, other];
    }
  }
  return point;
}

function shownValues(dimension: Dimension): readonly JsonValue[] {
  return dimension.type === 'choice' ? dimension.values : [dimension.min, dimension.max];
}

function smallerKernels({ model }: Surveyed, { dims }: LineUp): string[] {
  return [...dims]
    .filter(([name, size]) => {
      const whole = model.graph.initializers.get(name)?.dims ?? [];
      return size.length > 2 && size.some((length, axis) => axis >= 2 && length < (whole[axis] ?? 0));
    })
    .map(([name]) => name);
}
