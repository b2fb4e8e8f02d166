import { z } from 'zod';
import { defined } from '../../../errors.ts';
import { macsOf } from '../../../onnx/cost/macs.ts';
import type { Model } from '../../../onnx/model.ts';
import { describeNode, type Node } from '../../../onnx/node.ts';
import { countWeightElements } from '../../../onnx/print/summarize-model.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { removeDeadCode } from '../../canonicalize/dead-code.ts';
import { definePass, type PassContext, type PassResult, type Skipped } from '../../pass.ts';
import { filterNodes } from '../../quantize/node-filter.ts';
import { concreteTypes } from '../removal/concrete-types.ts';
import { activationScores, randomScores, weightScores } from './importance.ts';
import { Obstacle } from './obstacle.ts';
import { keptPositions, rewrite } from './rewrite.ts';
import { findFeatures, findHeads, type Site } from './sites.ts';
import { GraphFacts } from './spread.ts';

const globs = z.array(z.string().min(1).max(256)).max(256);

const Options = z.strictObject({
  ratio: z
    .number()
    .min(0)
    .lt(1, { error: 'must be less than 1: an attention without a single head computes nothing' })
    .default(0.25)
    .describe('Share of the heads of each attention to remove, rounded down; at least one head stays'),
  importance: z
    .enum(['activation', 'l2', 'random'])
    .default('activation')
    .describe(
      'What the least important is judged by. activation: how much it adds to the outputs on calibration data; l2: the norm of all its weights; random: the seed',
    ),
  ffnRatio: z
    .number()
    .min(0)
    .lt(1, { error: 'must be less than 1: a dense block without a single feature computes a constant' })
    .default(0)
    .describe('Share of the hidden features between two dense layers to remove, in each such pair, rounded down'),
  exclude: globs
    .default([])
    .describe(
      'Attentions and dense blocks to leave whole, by the name or operator type of any of their layers; * and ? are wildcards',
    ),
});
type Options = z.output<typeof Options>;

/** Takes whole attention heads, and hidden features of dense blocks, out of the graph. */
export const pruneHeads = definePass({
  name: 'prune.heads',
  stage: 'prune',
  description:
    'Takes attention heads and hidden features of dense blocks out of transformers: weights and shapes get smaller',
  papers: [
    {
      title: 'Michel et al., Are Sixteen Heads Really Better than One?, NeurIPS 2019',
      url: 'https://arxiv.org/abs/1905.10650',
    },
    {
      title: 'Voita et al., Analyzing Multi-Head Self-Attention, ACL 2019',
      url: 'https://arxiv.org/abs/1905.09418',
    },
  ],
  options: Options,
  example: { ratio: 0.25, importance: 'activation' },
  needs: ({ importance }) => (importance === 'activation' ? ['calibration'] : []),
  requires: () => undefined,
  run: pruneModel,
  ensures: () => undefined,
});

async function pruneModel(model: Model, options: Options, context: PassContext): Promise<PassResult> {
  const facts = new GraphFacts(model);
  const heads = findHeads(facts);
  const features = options.ffnRatio > 0 ? findFeatures(facts, heads.sites) : { sites: [], skipped: [] };
  const skipped = [...heads.skipped, ...features.skipped];
  const all = [...heads.sites, ...features.sites];
  // A glob that names only what would not be pruned anyway is no mistake: it may match any node.
  const kept = filterNodes(model.graph.nodes, options);
  const open = all.filter((site) => nodesOf(site).every((node) => kept.has(node)));
  for (const { node } of all.filter((site) => !open.includes(site))) {
    skipped.push({ node: describeNode(node), reason: 'excluded by the options' });
  }
  const sites = open.filter((site) => removedCount(site, options) > 0);
  for (const site of heads.sites) {
    if (sites.includes(site) || !open.includes(site)) continue;
    skipped.push({
      node: describeNode(site.node),
      reason: `ratio ${options.ratio} of ${site.units} heads is less than one`,
    });
  }
  const before = sizeOf(model);
  const scores = await scoresOf(model, facts, sites, { options, context });
  const removals = sites.map((site, at): SiteRemoval => {
    const own = defined(scores[at], 'scores of the site');
    return { site, scores: own, units: lowest(own, removedCount(site, options)) };
  });
  context.signal.throwIfAborted();
  const done = removals.length === 0 ? [] : apply(model, facts, removals, skipped);
  context.progress(1);
  return {
    changes: done.reduce((sum, { units }) => sum + units.size, 0),
    skipped,
    warnings:
      heads.sites.length + features.sites.length > 0
        ? []
        : ['no attention or dense block was found that could lose heads or features'],
    details: {
      attention: done.filter(({ site }) => site.kind === 'heads').map(describeRemoval),
      feedForward: done.filter(({ site }) => site.kind === 'features').map(describeRemoval),
      before,
      after: sizeOf(model),
    },
  };
}

function nodesOf({ node, weights }: Site): Node[] {
  return [node, ...weights.map((use) => use.node)];
}

interface SiteRemoval {
  readonly site: Site;
  readonly scores: Float64Array;
  readonly units: ReadonlySet<number>;
}

function removedCount({ kind, units }: Site, { ratio, ffnRatio }: Options): number {
  // 0.3 * 10 is a hair below 3 in binary.
  return Math.min(units - 1, Math.floor(units * (kind === 'heads' ? ratio : ffnRatio) + 1e-9));
}

async function scoresOf(
  model: Model,
  facts: GraphFacts,
  sites: readonly Site[],
  { options, context }: { readonly options: Options; readonly context: PassContext },
): Promise<Float64Array[]> {
  switch (options.importance) {
    case 'l2':
      return sites.map((site) => weightScores(facts, site));
    case 'random':
      return sites.map((site, at) => randomScores(site, context.seed, at));
    case 'activation': {
      if (sites.length === 0) return [];
      const feeds = defined(context.data.calibration, 'calibration data');
      return activationScores(model, facts, sites, { feeds, context });
    }
  }
}

/** Ties go to the unit that comes first. */
function lowest(scores: Float64Array, count: number): ReadonlySet<number> {
  const order = Array.from(scores.keys()).sort((a, b) => (scores[a] ?? 0) - (scores[b] ?? 0) || a - b);
  return new Set(order.slice(0, count));
}

/** All at once where every shape comes out as planned; else one place after the other, leaving out those that do not. */
function apply(model: Model, facts: GraphFacts, removals: readonly SiteRemoval[], skipped: Skipped[]): SiteRemoval[] {
  if (attempt(model, facts, removals) === undefined) return [...removals];
  const done: SiteRemoval[] = [];
  for (const removal of removals) {
    // Earlier places changed names and sizes of their own; later ones are planned anew on what there is.
    const now = new GraphFacts(model);
    const found = removal.site.kind === 'heads' ? findHeads(now) : findFeatures(now, findHeads(now).sites);
    const site = found.sites.find(({ node }) => node.outputs[0] === removal.site.node.outputs[0]);
    const reason = site === undefined ? 'it is gone' : attempt(model, now, [{ ...removal, site }]);
    if (reason === undefined) done.push(removal);
    else skipped.push({ node: describeNode(removal.site.node), reason });
  }
  return done;
}

/** Takes the units out, or leaves the model as it is and says why. */
function attempt(model: Model, facts: GraphFacts, removals: readonly SiteRemoval[]): string | undefined {
  const trial = copyModel(model);
  try {
    for (const { site, units } of removals) rewrite(trial, { spread: site.spread, units }, facts);
  } catch (error) {
    if (error instanceof Obstacle) return error.message;
    throw error;
  }
  const types = concreteTypes(trial);
  for (const { site, units } of removals) {
    for (const [value, mark] of site.spread.marks) {
      const wanted = facts.types
        .shape(value)
        ?.map((size, axis) => (axis === mark.axis ? keptPositions(mark, units).length : size));
      const got = types.shape(value);
      if (wanted?.join() !== got?.join()) {
        return `the shape of "${value}" would be [${got?.join(', ') ?? '?'}] instead of [${wanted?.join(', ') ?? '?'}]: it is computed in a way that is not followed`;
      }
    }
  }
  removeDeadCode({ graph: trial.graph, outer: undefined });
  Object.assign(model.graph, trial.graph);
  return undefined;
}

function describeRemoval({ site, scores, units }: SiteRemoval): Record<string, unknown> {
  const removed = [...units].sort((a, b) => a - b);
  const shared = site.headsPerUnit > 1 ? { headsPerUnit: site.headsPerUnit } : {};
  const own = site.kind === 'heads' ? { scores: Array.from(scores) } : {};
  return {
    node: describeNode(site.node),
    before: site.units,
    after: site.units - removed.length,
    ...shared,
    removed,
    ...own,
  };
}

function sizeOf(model: Model): { readonly macs: number; readonly parameters: number } {
  return { macs: macsOf(model).total, parameters: countWeightElements(model) };
}
