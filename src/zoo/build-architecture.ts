import type { z } from 'zod';
import { CompressionError, type ErrorPlace } from '../errors.ts';
import type { Model } from '../onnx/model.ts';
import { placesOf, pointerOf } from '../schemas/error-places.ts';
import type { Architecture, BuildSettings } from './architecture.ts';
import { ARCHITECTURES } from './architectures.ts';

/** `{ "architecture": name, ...options }`, as it stands in a job or in the options of a pass. */
export interface ArchitectureRequest {
  readonly architecture: string;
  readonly [option: string]: unknown;
}

export interface ResolvedArchitecture {
  readonly architecture: Architecture;
  /** With defaults filled: what the report and the job's record should hold. */
  readonly options: Readonly<Record<string, unknown>>;
}

/**
 * Finds the architecture and checks its options.
 *
 * @param base - where the request stands in the body, for the pointers
 * @throws CompressionError RECIPE_INVALID with a pointer to each wrong place
 */
export function resolveArchitecture(
  { architecture: name, ...given }: ArchitectureRequest,
  base: readonly PropertyKey[] = [],
): ResolvedArchitecture {
  const architecture = ARCHITECTURES.find((candidate) => candidate.name === name);
  if (architecture === undefined) {
    const names = ARCHITECTURES.map((candidate) => candidate.name).join(', ');
    const message = `there is no architecture "${name}"; there are: ${names}`;
    throw invalid([{ pointer: pointerOf([...base, 'architecture']), message }]);
  }
  const options: z.ZodSafeParseResult<unknown> = architecture.options.safeParse(given);
  if (!options.success) throw invalid(placesOf(options.error.issues, base));
  return { architecture, options: { ...Object(options.data) } as Record<string, unknown> };
}

/**
 * Builds a fresh network of the zoo.
 *
 * @param seed - 0 to 2^53 - 1: the same seed gives the same bytes
 * @throws CompressionError RECIPE_INVALID, also where the options are valid one by one but leave no such network
 */
export function buildArchitecture(
  request: ArchitectureRequest,
  seed: number,
  base: readonly PropertyKey[] = [],
): Model {
  return built(resolveArchitecture(request, base), { seed }, base);
}

/**
 * The network with zeros for weights, for shapes and counts (some 10 ms): all that `buildArchitecture` would refuse is
 * refused here, so that a job is not accepted for a network that cannot be.
 *
 * @throws CompressionError RECIPE_INVALID with a pointer to each wrong place
 */
export function networkWithoutWeights(request: ArchitectureRequest, base: readonly PropertyKey[] = []): Model {
  return built(resolveArchitecture(request, base), { seed: 0, weights: 'zero' }, base);
}

function built(
  { architecture, options }: ResolvedArchitecture,
  settings: BuildSettings,
  base: readonly PropertyKey[],
): Model {
  try {
    return architecture.build(options, settings);
  } catch (error) {
    if (!(error instanceof CompressionError) || error.code !== 'RECIPE_INVALID') throw error;
    const places = error.places.map(({ pointer, message }) => ({ pointer: pointerOf(base) + pointer, message }));
    throw new CompressionError('RECIPE_INVALID', error.message, { cause: error, places });
  }
}

function invalid(places: readonly ErrorPlace[]): CompressionError {
  const first = places[0];
  return new CompressionError(
    'RECIPE_INVALID',
    `The architecture is not valid: ${first?.pointer ?? ''} ${first?.message ?? ''}`,
    { places },
  );
}
