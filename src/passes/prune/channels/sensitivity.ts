import { groupName, type ChannelGroup } from '../groups/channel-groups.ts';

/** Where a group's way from all its channels to as few as it may have is measured, where any number of channels will do. */
const PROBES = [0.25, 0.5, 0.75, 1];
/** Keeps the order of channels of one slope: far below what slopes differ by. */
const ORDER = 1e-9;

export interface SensitivityPoint {
  /** Of the group's channels, the least important ones. */
  readonly removedChannels: number;
  /** What the whole model loses when these alone go. */
  readonly loss: number;
}

export interface GroupSensitivity {
  readonly group: string;
  readonly points: readonly SensitivityPoint[];
}

export interface Allocation {
  /** By group: what removing the channel costs in loss for each unit of the target it saves. */
  readonly scores: readonly (Float64Array | undefined)[];
  readonly sensitivities: readonly GroupSensitivity[];
}

export interface SensitivityRun {
  /** Loss of the model without these root atoms, besides those that are gone already; at least 0. */
  readonly lossWithout: (roots: readonly number[]) => Promise<number>;
  /** What removing these root atoms saves, in the unit of the target. */
  readonly saved: (roots: readonly number[]) => number;
  /** Fewest channels that a group may keep. */
  readonly leastKept: (group: number) => number;
  /** Numbers of channels that a group may come to have, where not all of them will do: by index, any order. */
  readonly widths?: readonly (readonly number[])[];
  readonly progress: (fraction: number) => void;
}

/**
 * Turns an importance, which ranks the channels of a group, into scores that rank channels of all groups by what the model
 * really loses: each group is cut alone, to a few widths, and the loss measured. Between the measured widths loss is taken as
 * linear in what is saved, over their lower convex hull, so a ranking by these scores is the least summed loss for a target.
 *
 * @param scores - by group, as `groupScores` gives them; -Infinity marks channels that are gone, Infinity such that stay
 * @see He et al., "AMC: AutoML for Model Compression", ECCV 2018, and Li et al., "Pruning Filters for Efficient ConvNets",
 *   ICLR 2017, section 3.2, for ratios by the sensitivity of each layer
 */
export async function allocateBySensitivity(
  groups: readonly ChannelGroup[],
  scores: readonly (Float64Array | undefined)[],
  run: SensitivityRun,
): Promise<Allocation> {
  const allocated: (Float64Array | undefined)[] = [];
  const sensitivities: GroupSensitivity[] = [];
  for (const [index, group] of groups.entries()) {
    run.progress(index / groups.length);
    const own = scores[index];
    if (own === undefined) {
      allocated.push(undefined);
      continue;
    }
    const order = [...own.keys()]
      .filter((channel) => Number.isFinite(own[channel]))
      .sort((a, b) => (own[a] ?? 0) - (own[b] ?? 0) || a - b);
    const gone = own.reduce((count, score) => count + (score === -Infinity ? 1 : 0), 0);
    const most = Math.min(order.length, Math.max(0, own.length - gone - run.leastKept(index)));
    const points: CurvePoint[] = [];
    const widths = run.widths?.[index];
    const left = own.length - gone;
    const probes = widths === undefined ? PROBES.map((share) => share * most) : spread(widths, left);
    for (const channels of new Set(probes.map(Math.round))) {
      if (channels === 0 || channels > most) continue;
      const roots = order.slice(0, channels).map((channel) => group.roots[channel] ?? 0);
      points.push({ channels, saved: run.saved(roots), loss: await run.lossWithout(roots) });
    }
    allocated.push(bySlope(own, order, lowerHull(points)));
    sensitivities.push({
      group: groupName(group),
      points: points.map(({ channels, loss }) => ({ removedChannels: channels, loss })),
    });
  }
  return { scores: allocated, sensitivities };
}

/** Of the numbers of channels that pay, as many as there are probes, the smallest among them: as channels to remove, ascending. */
function spread(widths: readonly number[], left: number): readonly number[] {
  const steps = widths.map((width) => left - width).sort((a, b) => a - b);
  return PROBES.map((share) => steps[Math.round(share * (steps.length - 1))] ?? 0);
}

interface CurvePoint {
  readonly channels: number;
  readonly saved: number;
  readonly loss: number;
}

/** From no loss at all, the points on which it rises ever faster. A width that saves no more than a larger one is not on the way. */
function lowerHull(points: readonly CurvePoint[]): readonly CurvePoint[] {
  const hull: CurvePoint[] = [{ channels: 0, saved: 0, loss: 0 }];
  for (const point of points) {
    if (point.saved <= (hull.at(-1)?.saved ?? 0)) continue;
    for (;;) {
      const [before, last] = [hull.at(-2), hull.at(-1)];
      if (before === undefined || last === undefined || slope(before, last) < slope(last, point)) break;
      hull.pop();
    }
    hull.push(point);
  }
  return hull;
}

function slope(from: CurvePoint, to: CurvePoint): number {
  return (to.loss - from.loss) / (to.saved - from.saved);
}

/** The slope of a channel's segment; channels behind the last point are never asked for, and rank last. */
function bySlope(scores: Float64Array, order: readonly number[], hull: readonly CurvePoint[]): Float64Array {
  const result = Float64Array.from(scores);
  let segment = 1;
  order.forEach((channel, rank) => {
    while (rank >= (hull[segment]?.channels ?? Infinity)) segment += 1;
    const [from, to] = [hull[segment - 1], hull[segment]];
    const value = from === undefined || to === undefined ? Infinity : Math.max(slope(from, to), 0);
    result[channel] = value === Infinity ? Number.MAX_VALUE : value * (1 + ORDER * rank) + Number.MIN_VALUE * rank;
  });
  return result;
}
