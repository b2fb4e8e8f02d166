import { macsOf } from '../../../onnx/cost/macs.ts';
import { describeNode } from '../../../onnx/node.ts';
import { countWeightElements } from '../../../onnx/print/summarize-model.ts';
import { parametersOf } from '../../../training/parameters.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { definePass, type PassContext } from '../../pass.ts';
import { analyzeChannels } from '../groups/analyze-channels.ts';
import { channelGroups } from '../groups/channel-groups.ts';
import { separateVectors } from '../groups/separate-vectors.ts';
import { keptPositions } from '../recovery/kept-positions.ts';
import { recover } from '../recovery/recover.ts';
import type { RecoveryContext } from '../recovery/reconstruct-layers.ts';
import { activationPoints } from '../importance/activation-scores.ts';
import { readsGradients } from '../importance/gradient-scores.ts';
import { groupScores } from '../importance/group-scores.ts';
import { nodesThatStay } from './layer-filter.ts';
import { ChannelOptions } from './options.ts';
import { planRemoval } from './plan-removal.ts';
import { costDetails, removalDetails } from './removal-report.ts';
import { removeChannels } from './remove-channels.ts';

/** Choosing channels is quick beside running the model on data. */
const RECOVERY_FROM = 0.1;

/** Takes the least important channels out of the graph, with everything that hangs on them. */
export const pruneChannels = definePass({
  name: 'prune.channels',
  stage: 'prune',
  description:
    'Removes channels (filters, hidden features, attention heads) from the graph: smaller file, fewer operations, standard operators. Structured pruning',
  papers: [
    {
      title: 'Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023',
      url: 'https://arxiv.org/abs/2301.12900',
    },
    {
      title: 'Li et al., Pruning Filters for Efficient ConvNets (l1), ICLR 2017',
      url: 'https://arxiv.org/abs/1608.08710',
    },
    {
      title: 'Liu et al., Learning Efficient Convolutional Networks through Network Slimming (bn-scale), ICCV 2017',
      url: 'https://arxiv.org/abs/1708.06519',
    },
    {
      title: 'He et al., Filter Pruning via Geometric Median (fpgm), CVPR 2019',
      url: 'https://arxiv.org/abs/1811.00250',
    },
    {
      title: 'Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning (lamp), ICLR 2021',
      url: 'https://arxiv.org/abs/2010.07611',
    },
    {
      title: 'Molchanov et al., Pruning Convolutional Neural Networks (activation), ICLR 2017',
      url: 'https://arxiv.org/abs/1611.06440',
    },
    {
      title: 'Molchanov et al., Importance Estimation for Neural Network Pruning (taylor), CVPR 2019',
      url: 'https://arxiv.org/abs/1906.10771',
    },
    {
      title: 'LeCun et al., Optimal Brain Damage (hessian), NeurIPS 1989',
      url: 'https://proceedings.neurips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html',
    },
    { title: 'Fang et al., Isomorphic Pruning for Vision Models, ECCV 2024', url: 'https://arxiv.org/abs/2407.04616' },
    {
      title: 'He et al., Channel Pruning for Accelerating Very Deep Neural Networks (least squares), ICCV 2017',
      url: 'https://arxiv.org/abs/1707.06168',
    },
    { title: 'Luo et al., ThiNet (least squares), ICCV 2017', url: 'https://arxiv.org/abs/1707.06342' },
  ],
  options: ChannelOptions,
  example: { macsRatio: 0.5, importance: 'l2' },
  needs: ({ recover, importance }) => [
    ...(recover === 'none' && importance !== 'activation' ? [] : (['calibration'] as const)),
    ...(readsGradients(importance) ? (['training'] as const) : []),
  ],
  requires(model, { importance }) {
    if (!readsGradients(importance) || parametersOf(model).length > 0) return undefined;
    return `importance ${importance} needs gradients and the model has no float weights; prune before quantizing, or by l2`;
  },
  observe(model, options) {
    if (options.importance !== 'activation') return [];
    const analysis = analyzeChannels(model, nodesThatStay(model, options));
    return activationPoints(analysis, channelGroups(analysis).groups);
  },
  async run(model, options, context) {
    const staying = nodesThatStay(model, options);
    const rejoinVectors = separateVectors(model.graph);
    const original = options.recover === 'none' ? undefined : copyModel(model);
    const analysis = analyzeChannels(model, staying);
    const groups = channelGroups(analysis);
    const scores = await groupScores(analysis, groups.groups, options, scoringContext(context));
    const plan = planRemoval(analysis, groups, { ...options, scores });
    context.progress(RECOVERY_FROM);
    context.signal.throwIfAborted();
    const details = removalDetails(analysis, groups, plan);
    const changes = plan.removed.reduce((sum, channels) => sum + channels.length, 0);
    if (changes > 0) removeChannels(analysis, plan.removedRoots);
    else rejoinVectors();
    const recovered =
      options.recover === 'none' || original === undefined || changes === 0
        ? undefined
        : await recover(
            options.recover,
            model,
            { original, kept: keptPositions(analysis, plan.removedRoots) },
            { feeds: context.data.calibration, context: recoveryContext(context) },
          );
    const after = { macs: macsOf(model).total, parameters: countWeightElements(model) };
    return {
      changes,
      skipped: [
        ...groups.frozen.map(({ node, reason }) => ({ node: describeNode(node), reason })),
        ...plan.groups
          .filter(({ scores }) => scores === undefined)
          .map(({ group }) => ({
            node: group.members.map(({ node }) => describeNode(node))[0] ?? '',
            reason: `importance ${options.importance} says nothing about its channels`,
          })),
        ...(recovered?.skipped ?? []).map(({ node, reason }) => ({ node, reason: `not recovered: ${reason}` })),
      ],
      warnings: changes > 0 ? [] : ['no channel was removed: no group of channels can lose one at these options'],
      details: {
        ...costDetails(plan.before, after),
        ...details,
        ...(recovered === undefined ? {} : { recovery: recovered.details }),
      },
    };
  },
  ensures: () => undefined,
});

function scoringContext(context: PassContext): PassContext {
  return { ...context, progress: (done, message) => context.progress(RECOVERY_FROM * done, message) };
}

function recoveryContext(context: PassContext): RecoveryContext {
  const { runtime, threads, signal, seed } = context;
  const progress = (done: number, message?: string): void =>
    context.progress(RECOVERY_FROM + (1 - RECOVERY_FROM) * done, message);
  return { runtime, threads, signal, seed, progress };
}
