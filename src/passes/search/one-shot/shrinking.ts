import { keyedRandom, STREAM } from '../../../data/training/keyed-random.ts';
import type { Coordinates, Point } from '../../../search/space.ts';
import type { SharedKind, SharedSpace } from './shared-space.ts';

/** The order in which dimensions are let go of the largest network. */
const ORDER: readonly SharedKind[] = ['kernel', 'depth', 'width'];

/** Kinds that the space has, in the order they are opened. */
export function phasesOf({ kinds }: SharedSpace): readonly SharedKind[] {
  const present = new Set(kinds.values());
  return ORDER.filter((kind) => present.has(kind));
}

/**
 * Which network is trained at a step: drawn among those whose kernels differ at first, then depth too, at last width and
 * expansion, an equal share of the steps each. A function of seed, epoch and step alone.
 *
 * @param at.fraction - share of the steps that is behind, 0..1
 * @param at.attempt - draws another one, where the first cannot be
 * @see Cai et al., "Once-for-All", ICLR 2020, section 3.3 (progressive shrinking)
 */
export function drawPoint(
  shared: SharedSpace,
  seed: number,
  at: { readonly epoch: number; readonly step: number; readonly fraction: number; readonly attempt: number },
): Point {
  const { space, largest, kinds } = shared;
  const phases = phasesOf(shared);
  const open = new Set(phases.slice(0, Math.min(phases.length, Math.floor(at.fraction * phases.length) + 1)));
  const random = keyedRandom(seed, STREAM.subnetwork, at.epoch, at.step, at.attempt);
  const whole = space.encode(largest);
  const drawn: Coordinates = space.dimensions.map(({ name }, d) => {
    // Drawn in any case: the later dimensions do not depend on the phase.
    const coordinate = space.sampleDimension(d, random);
    return open.has(kinds.get(name) ?? 'width') ? coordinate : (whole[d] ?? 0);
  });
  return space.decode(drawn);
}

/** Epochs for the whole network alone, and for its parts: one each at least. */
export function shareEpochs(epochs: number, wholeShare: number): { readonly whole: number; readonly parts: number } {
  const whole = Math.min(Math.max(1, Math.round(epochs * wholeShare)), Math.max(1, epochs - 1));
  return { whole, parts: Math.max(1, epochs - whole) };
}
