import { CompressionError } from '../../../errors.ts';
import type { Latency } from '../../cost/graph-time.ts';
import type { ChannelAnalysis } from '../groups/analyze-channels.ts';
import { groupName, markChannels, type ChannelGroups } from '../groups/channel-groups.ts';
import { ChannelCosts, type Costs } from './channel-costs.ts';
import { ChannelChooser, type ScoredGroup } from './choose-channels.ts';
import { factorsOf } from './group-factors.ts';
import { targetOf, type ChannelOptions, type Target } from './options.ts';
import { payingWidths } from './paying-widths.ts';

export interface RemovalPlan {
  readonly groups: readonly ScoredGroup[];
  /** Indices of the channels that go, by group. */
  readonly removed: readonly (readonly number[])[];
  /** By root atom: 1 where the channel goes. */
  readonly removedRoots: Uint8Array;
  readonly before: Costs;
  readonly expected: Costs;
  /** In which the times of `before` and `expected` are. */
  readonly arithmetic: Latency['arithmetic'];
  /** What the kernel cost table decided; absent where it knows nothing, or was not asked. */
  readonly speed?: SpeedVerdict;
}

interface StepOfPlan {
  readonly scores: readonly (Float64Array | undefined)[];
  readonly part?: number;
  readonly isTrained?: boolean;
  readonly latency: Latency;
}

export interface SpeedVerdict {
  /** Groups whose number of channels is another one than ranking alone gives: by index, with that number. */
  readonly moved: readonly { readonly group: number; readonly from: number; readonly to: number }[];
  /** Why nothing is removed at all. */
  readonly refusal?: string;
}

/** A result that only its speed is for saves this share of the time at least: less is within the estimate's error. */
const WORTHWHILE = 0.02;

/** Halvings of the interval of ratios: finer than one channel of a million. */
const BISECTIONS = 24;

/**
 * Chooses the channels to remove: the smallest ratio that meets a target of MACs, parameters, bytes or time, at numbers of
 * channels that pay by the kernel cost table.
 *
 * @param options.scores - by group; -Infinity for channels that earlier steps removed
 * @param options.part - of the way to the target, 0..1; default all of it. Speed counts at its end only
 * @param options.isTrained - earlier steps trained without the channels they removed, which are then not given back
 * @throws CompressionError PASS_PRECONDITION when no choice meets the target
 */
export function planRemoval(
  analysis: ChannelAnalysis,
  { groups, frozen }: ChannelGroups,
  { scores, latency, part = 1, isTrained = false, ...options }: ChannelOptions & StepOfPlan,
): RemovalPlan {
  const target = targetOf(options);
  const factors = options.factors === undefined ? undefined : factorsOf(groups, options.factors, target.kind);
  const scored = groups.map((group, index): ScoredGroup => {
    const factor = factors?.[index];
    return { group, scores: scores[index], ...(factor === undefined ? {} : { factor }) };
  });
  if (target.kind === 'latencyNs' && latency.knowsNothing) throw noTable();
  const chooser = new ChannelChooser(scored, options);
  const costs = new ChannelCosts(analysis, latency);
  const rootsOf = (kept: readonly number[]): Uint8Array =>
    markChannels(groups, chooser.removed(kept), analysis.atoms.count);
  const whole = groups.map(({ roots }) => roots.length);
  const timeOf = (kept: readonly number[]): number => costs.latencyNs(rootsOf(kept));
  const isChecked = options.speed !== 'ignore' && part === 1 && !latency.knowsNothing && groups.length > 0;
  const onlyFaster = target.kind === 'ratio' || target.kind === 'latencyNs';
  const left = groups.map((_, index) => chooser.left(index));
  const widths = isChecked ? payingWidths(chooser, left, timeOf, onlyFaster) : undefined;
  let ratio = target.kind === 'ratio' ? target.removed * part : 1;
  let kept: readonly number[] = chooser.keptCounts(ratio, widths);
  if (target.kind !== 'ratio' && groups.length > 0) {
    const { kind } = target;
    const limit = limitOf(target, costs.before, {
      part,
      addedBytes: options.recover === 'least-squares' ? biasBytes(analysis) : 0,
    });
    const costOf = (counts: readonly number[]): number => costs.without(rootsOf(counts))[kind];
    if (costOf(kept) > limit) {
      throw unreachable({ groups, frozen }, options, {
        target,
        before: costs.before[kind],
        reachable: costOf(kept),
      });
    }
    ({ kept, ratio } = keptWithin(chooser, widths, { costOf, limit }));
  }
  const ranked = chooser.keptCounts(ratio);
  const atMost = onlyFaster ? 1 - WORTHWHILE : 1;
  const speed =
    widths === undefined
      ? undefined
      : verdictOf({ kept, ranked, whole }, timeOf, { atMost, arithmetic: latency.arithmetic });
  if (speed?.refusal !== undefined && !isTrained) kept = whole;
  const removedRoots = rootsOf(kept);
  return {
    groups: scored,
    removed: chooser.removed(kept),
    removedRoots,
    before: costs.before,
    expected: costs.without(removedRoots),
    arithmetic: latency.arithmetic,
    ...(speed === undefined ? {} : { speed }),
  };
}

/** What must not be exceeded, in the unit of the target: all of the way is counted from before. Recovery may add to the file. */
function limitOf(
  target: Exclude<Target, { kind: 'ratio' }>,
  costs: Costs,
  { part, addedBytes }: { readonly part: number; readonly addedBytes: number },
): number {
  const before = costs[target.kind];
  const limit = 'limit' in target ? target.limit : target.kept * before;
  return before - (before - limit) * part - (target.kind === 'bytes' ? addedBytes : 0);
}

/** What a bias takes in the file besides its elements: its name, twice, and the shape. */
const BIAS_OVERHEAD_BYTES = 128;

/** Bytes of the biases that layers may get from recovery, at most. */
function biasBytes({ model }: ChannelAnalysis): number {
  let bytes = 0;
  for (const { opType, inputs } of model.graph.nodes) {
    if (!/^(Conv|Gemm|MatMul)$/.test(opType) || inputs[2] !== undefined) continue;
    const dims = model.graph.initializers.get(inputs[1] ?? '')?.dims ?? [];
    bytes += BIAS_OVERHEAD_BYTES + Math.max(0, ...dims) * Float32Array.BYTES_PER_ELEMENT;
  }
  return bytes;
}

function verdictOf(
  { kept, ranked, whole }: Readonly<Record<'kept' | 'ranked' | 'whole', readonly number[]>>,
  timeOf: (kept: readonly number[]) => number,
  { atMost, arithmetic }: { readonly atMost: number; readonly arithmetic: Latency['arithmetic'] },
): SpeedVerdict {
  const moved = kept.flatMap((to, group) => {
    const from = ranked[group] ?? to;
    return from === to ? [] : [{ group, from, to }];
  });
  const [before, after] = [timeOf(whole), timeOf(kept)];
  const isWhole = kept.every((count, group) => count === whole[group]);
  if (isWhole || after <= atMost * before) return { moved };
  const times = `${(after / 1e6).toFixed(3)} ms a sample instead of ${(before / 1e6).toFixed(3)} ms`;
  return {
    moved: [],
    refusal: `by the kernel cost table the model without the channels is not faster in ${arithmetic}: ${times}; remove more, or set speed to ignore`,
  };
}

/** A cost that must not be exceeded, by numbers of channels. */
interface Limited {
  readonly costOf: (kept: readonly number[]) => number;
  readonly limit: number;
}

/** The numbers of channels that each group may have; undefined: any that limits and rounding allow. */
type Widths = readonly (readonly number[])[] | undefined;

interface Kept {
  readonly kept: readonly number[];
  readonly ratio: number;
}

/** Sums of times in another order: no gain. */
const ROUNDING = 1e-9;

/** Times that groups are held at the number of channels from which they fell too deep. */
const MOST_HELD = 16;

/**
 * The smallest ratio that meets the target. Where numbers of channels that pay lie far apart, one group's next step can go far
 * beyond the target: then that group is held, and the others go further, as long as that comes nearer to it.
 */
function keptWithin(chooser: ChannelChooser, given: Widths, limited: Limited): Kept {
  let widths = given;
  let { best, more } = smallestWithin(chooser, widths, limited);
  for (let held = 0; widths !== undefined && held < MOST_HELD; held += 1) {
    const holding = widths.map((own, index) =>
      (more[index] ?? 0) === best.kept[index] ? own : own.filter((width) => width >= (more[index] ?? 0)),
    );
    if (limited.costOf(chooser.keptCounts(1, holding)) > limited.limit) break;
    const next = smallestWithin(chooser, holding, limited);
    if (limited.costOf(next.best.kept) <= limited.costOf(best.kept) * (1 + ROUNDING)) break;
    ({ best, more } = next);
    widths = holding;
  }
  return best;
}

/**
 * Bisects for the smallest ratio that meets the target, then gives channels back one group at a time where it still does.
 *
 * @returns with `more`, the numbers of channels at a ratio just below
 */
function smallestWithin(chooser: ChannelChooser, widths: Widths, { costOf, limit }: Limited) {
  const meets = (counts: readonly number[]): boolean => costOf(counts) <= limit;
  let [low, high] = [0, 1];
  for (let round = 0; round < BISECTIONS; round += 1) {
    const middle = (low + high) / 2;
    if (meets(chooser.keptCounts(middle, widths))) high = middle;
    else low = middle;
  }
  // Groups of equal size lose their next channel at the same ratio, which can be far more than the target asks.
  let kept: readonly number[] = chooser.keptCounts(high, widths);
  const more = chooser.keptCounts(low, widths);
  for (const index of chooser.byMarginalScore(kept)) {
    const given = kept.with(index, more[index] ?? 0);
    if (given[index] !== kept[index] && meets(given)) kept = given;
  }
  return { best: { kept, ratio: high }, more };
}

function noTable(): CompressionError {
  return new CompressionError(
    'PASS_PRECONDITION',
    'prune.channels: latencyRatio goes by the kernel cost table of this kind of CPU, and there is none; give macsRatio, or run the job where a worker has measured one',
  );
}

function unreachable(
  { groups, frozen }: ChannelGroups,
  { maxRatio, roundTo, speed }: ChannelOptions,
  { target, before, reachable }: { target: Exclude<Target, { kind: 'ratio' }>; before: number; reachable: number },
): CompressionError {
  const [first] = frozen;
  const asked = 'limit' in target ? target.limit : target.kept;
  const smallest =
    'limit' in target
      ? `number is ${Math.ceil(reachable)} of ${before}`
      : `share is ${(reachable / before).toFixed(4)}`;
  return new CompressionError(
    'PASS_PRECONDITION',
    `prune.channels: ${target.option} ${asked} cannot be reached; the smallest ${smallest} with maxRatio ${maxRatio}, ` +
      `roundTo ${roundTo}, speed ${speed}, and ${groups.length} groups of channels that can be removed (${groups.slice(0, 3).map(groupName).join(', ')}, …)` +
      (first === undefined ? '' : `; ${frozen.length} layers keep all channels (${first.reason})`) +
      `. Take a larger ${target.option} or maxRatio, or exclude less`,
  );
}
