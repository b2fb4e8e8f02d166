import { z } from 'zod';
import { CompressionError, defined } from '../../../errors.ts';
import { macsOf } from '../../../onnx/cost/macs.ts';
import type { Model } from '../../../onnx/model.ts';
import { describeNode } from '../../../onnx/node.ts';
import { countWeightElements } from '../../../onnx/print/summarize-model.ts';
import { definePass, type PassContext, type PassResult, type Skipped } from '../../pass.ts';
import { blocksOf } from './blocks.ts';
import { findBranches, isLayer, type Branch } from './branches.ts';
import { filterNodes } from '../../quantize/node-filter.ts';
import { chooserOf, type Choice } from './choose.ts';
import { removeBranch } from './remove-branch.ts';

const globs = z.array(z.string().min(1).max(256)).max(256);

const Options = z.strictObject({
  unit: z
    .enum(['branch', 'block'])
    .default('branch')
    .describe(
      'What goes at a time. branch: one residual branch. block: in transformers an attention with the dense branch behind it',
    ),
  count: z
    .int()
    .min(1)
    .max(4096)
    .optional()
    .describe('How many branches (blocks, with that unit) to take out; 1 where neither this nor macsRatio is given'),
  macsRatio: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .describe('Share of the multiply-accumulates to keep: branches go until it is reached'),
  score: z
    .enum(['cosine', 'metric'])
    .default('cosine')
    .describe(
      'Which branch goes first. cosine: the one whose output is most like its input, 1 - cos on the calibration data. metric: the one that costs the least accuracy, on calibration data with class labels, else the one that changes the outputs least',
    ),
  exclude: globs
    .default([])
    .describe(
      'Branches that stay, by the name or operator type of their sum or of any of their layers; * and ? are wildcards',
    ),
});
type Options = z.output<typeof Options>;

/** Takes whole residual branches out of the graph. */
export const pruneLayers = definePass({
  name: 'prune.layers',
  stage: 'prune',
  description: 'Takes residual branches out of the graph: the network becomes shallower, its shortcuts stay',
  papers: [
    {
      title: 'Veit et al., Residual Networks Behave Like Ensembles of Relatively Shallow Networks, NeurIPS 2016',
      url: 'https://arxiv.org/abs/1605.06431',
    },
    {
      title: 'Men et al., ShortGPT: Layers in Large Language Models are More Redundant Than You Expect, 2024',
      url: 'https://arxiv.org/abs/2403.03853',
    },
  ],
  options: Options,
  example: { count: 2, score: 'cosine' },
  needs: () => ['calibration'],
  requires(_model, { count, macsRatio }) {
    if (count === undefined || macsRatio === undefined) return undefined;
    return 'both count and macsRatio are given; give one of them';
  },
  run: pruneModel,
  ensures: () => undefined,
});

async function pruneModel(model: Model, options: Options, context: PassContext): Promise<PassResult> {
  const found = findBranches(model);
  // By the nodes themselves, which stay the same objects while others go.
  const open = filterNodes(model.graph.nodes, options);
  const isOpen = ({ sum, layers }: Branch): boolean => [sum, ...layers].every((node) => open.has(node));
  const unitsOf = (branches: readonly Branch[]): readonly Branch[] =>
    options.unit === 'block' ? blocksOf(model, branches) : branches;
  const units = unitsOf(found.branches);
  const branches = units.filter(isOpen);
  const kept = [
    ...units
      .filter((unit) => !isOpen(unit))
      .map(({ sum }) => ({ node: describeNode(sum), reason: 'excluded by the options' })),
    ...found.kept,
  ];
  const before = sizeOf(model);
  const removed: Removal[] = [];
  if (units.length > 0) {
    const target = options.macsRatio === undefined ? undefined : options.macsRatio * before.macs;
    const wanted = target === undefined ? (options.count ?? 1) : undefined;
    let candidates = branches.filter((branch) => leavesLayers(model, branch));
    if (wanted !== undefined && wanted > candidates.length) throw tooMany(wanted, candidates, kept);
    const feeds = defined(context.data.calibration, 'calibration data');
    const choose = await chooserOf(options.score, model, feeds, context);
    let now = before;
    while (wanted === undefined ? now.macs > (target ?? 0) : removed.length < wanted) {
      context.signal.throwIfAborted();
      if (candidates.length === 0) throw unreachable(options, { before, now, removed, kept });
      const { branch, score } = await choose(model, candidates);
      removeBranch(model, branch);
      const left = sizeOf(model);
      removed.push({
        node: describeNode(branch.sum),
        layers: branch.layers.map(describeNode),
        ...score,
        macs: now.macs - left.macs,
        parameters: now.parameters - left.parameters,
      });
      now = left;
      const share =
        wanted === undefined ? (before.macs - now.macs) / (before.macs - (target ?? 0)) : removed.length / wanted;
      context.progress(Math.min(share, 1), `${removed.length} branches removed`);
      candidates = unitsOf(findBranches(model).branches).filter(
        (candidate) => isOpen(candidate) && leavesLayers(model, candidate),
      );
    }
  }
  return {
    changes: removed.length,
    skipped: kept,
    warnings: units.length > 0 ? [] : ['the model has no residual branch that could be taken out'],
    details: {
      candidates: branches.map(({ sum }) => describeNode(sum)),
      removed,
      before,
      after: sizeOf(model),
    },
  };
}

interface Size {
  readonly macs: number;
  readonly parameters: number;
}

type Removal = Size &
  Choice['score'] & {
    /** The sum that went, and the layers that led to it. */
    readonly node: string;
    readonly layers: readonly string[];
  };

function sizeOf(model: Model): Size {
  return { macs: macsOf(model).total, parameters: countWeightElements(model) };
}

/** Whether some layer stays: a network of one branch would become a plain connection. */
function leavesLayers({ graph }: Model, { layers }: Branch): boolean {
  return graph.nodes.filter(isLayer).length > layers.length;
}

function tooMany(wanted: number, candidates: readonly Branch[], kept: readonly Skipped[]): CompressionError {
  const names = candidates.map(({ sum }) => describeNode(sum));
  return new CompressionError(
    'PASS_PRECONDITION',
    `prune.layers: count is ${wanted}, but ${names.length} residual branches can go (${listed(names)})${whyOthersStay(kept)}; ` +
      `ask for ${names.length} at most, or use prune.channels`,
  );
}

function unreachable(
  options: Options,
  { before, now, removed, kept }: { before: Size; now: Size; removed: readonly Removal[]; kept: readonly Skipped[] },
): CompressionError {
  const names = removed.map(({ node }) => node);
  const asked = options.macsRatio === undefined ? `count ${options.count ?? 1}` : `macsRatio ${options.macsRatio}`;
  const share = (now.macs / Math.max(before.macs, 1)).toFixed(3);
  return new CompressionError(
    'PASS_PRECONDITION',
    `prune.layers: ${asked} is out of reach: without all ${names.length} residual branches that can go (${listed(names)}) ` +
      `${share} of the multiply-accumulates are left${whyOthersStay(kept)}; ask for less, or use prune.channels as well`,
  );
}

function whyOthersStay(kept: readonly Skipped[]): string {
  const [first] = kept;
  return first === undefined ? '' : `, ${kept.length} more cannot (${first.node}: ${first.reason})`;
}

function listed(names: readonly string[]): string {
  const more = names.length > 12 ? ` and ${names.length - 12} more` : '';
  return names.length === 0 ? 'none' : names.slice(0, 12).join(', ') + more;
}
