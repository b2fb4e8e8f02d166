import { macsOf } from '../../../onnx/cost/macs.ts';
import { describeNode } from '../../../onnx/node.ts';
import { countWeightElements } from '../../../onnx/print/summarize-model.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { parametersOf } from '../../../training/parameters.ts';
import { definePass, NO_CHECKPOINT, type DataRole } from '../../pass.ts';
import { analyzeChannels } from '../groups/analyze-channels.ts';
import { channelGroups } from '../groups/channel-groups.ts';
import { partOf } from '../../progress-part.ts';
import { restoreFromCalibration } from '../../restore-normalization.ts';
import { separateVectors } from '../groups/separate-vectors.ts';
import { keptPositions } from '../recovery/kept-positions.ts';
import { recover, type Recovered } from '../recovery/recover.ts';
import { activationPoints } from '../importance/activation-scores.ts';
import { readsGradients } from '../importance/gradient-scores.ts';
import { planWithin } from './accuracy-target.ts';
import { layerOf } from './group-factors.ts';
import { nodesThatStay } from './layer-filter.ts';
import { ChannelOptions, trainingOf } from './options.ts';
import type { RemovalPlan } from './plan-removal.ts';
import { costDetails, latencyDetails, removalDetails } from './removal-report.ts';
import { SteppedPruning } from './stepped-pruning.ts';

/** Of the time, where there is a recovery behind it: choosing channels is quick, training is not. */
const CHOICE_SHARE = 0.1;
const TRAINED_SHARE = 0.9;

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
  needs: neededRoles,
  keepsNormalization: (options) => options.restoreBatchNormalization || neededRoles(options).includes('training'),
  requires(model, options) {
    if (!neededRoles(options).includes('training') || parametersOf(model).length > 0) return undefined;
    return 'gradients need float weights, and the model has none; prune before quantizing, or by l2 and without training';
  },
  layers(model, options) {
    const analysis = analyzeChannels(model, nodesThatStay(model, options));
    return channelGroups(analysis).groups.map(layerOf);
  },
  async suggest(model, { factors: _given, ...options }, context) {
    const measured: ChannelOptions = { ...options, scope: 'global', allocation: 'sensitivity' };
    const copy = copyModel(model);
    separateVectors(copy.graph);
    const pruning = await SteppedPruning.open(copy, measured, { ...context, checkpoint: NO_CHECKPOINT });
    const { groups, removed } = await pruning.choose();
    const shares = groups.map(({ group }, index) => (removed[index]?.length ?? 0) / group.roots.length);
    const mean = shares.reduce((sum, share) => sum + share, 0) / Math.max(1, shares.length);
    return Object.fromEntries(groups.map(({ group }, index) => [layerOf(group), (shares[index] ?? 0) / (mean || 1)]));
  },
  observe(model, options) {
    if (options.importance !== 'activation') return [];
    const analysis = analyzeChannels(model, nodesThatStay(model, options));
    return activationPoints(analysis, channelGroups(analysis).groups);
  },
  async run(model, options, context) {
    const restored = options.restoreBatchNormalization ? await restoreFromCalibration(model, context) : undefined;
    const rejoinVectors = separateVectors(model.graph);
    const chosenAt = options.recover === 'none' ? 1 : trainingOf(options) === undefined ? CHOICE_SHARE : TRAINED_SHARE;
    const pruning = await SteppedPruning.open(model, options, partOf(context, 0, chosenAt));
    const { analysis, groups } = pruning;
    const found = options.maxAccuracyDrop === undefined ? undefined : await planWithin(pruning, options, context);
    const plan = found?.plan ?? (await pruning.choose());
    context.signal.throwIfAborted();
    const details = removalDetails(analysis, groups, plan);
    const changes = plan.removed.reduce((sum, channels) => sum + channels.length, 0);
    let recovered: Recovered | undefined;
    if (changes === 0) rejoinVectors();
    else {
      const before = options.recover === 'none' ? undefined : pruning.beforeLast();
      pruning.remove(plan);
      if (options.recover !== 'none' && before !== undefined) {
        const from = { original: before.model, kept: keptPositions(before, plan.removedRoots) };
        // What is trained behind it counts on from what was said before.
        const recovery = options.trainAfterLast
          ? { ...context, progress: () => undefined }
          : partOf(context, chosenAt, 1);
        recovered = await recover(options.recover, model, from, { feeds: context.data.calibration, context: recovery });
      }
      await pruning.trainAfterLast();
    }
    const after = { macs: macsOf(model).total, parameters: countWeightElements(model) };
    return {
      changes: changes + (restored ?? 0),
      skipped: [
        ...groups.frozen.map(({ node, reason }) => ({ node: describeNode(node), reason })),
        ...plan.groups
          .filter(({ scores }) => scores === undefined)
          .map(({ group }) => ({
            node: group.members.map(({ node }) => describeNode(node))[0] ?? '',
            reason: `importance ${options.importance} says nothing about its channels`,
          })),
        ...leftWhole(plan).map(({ group, from }) => ({
          node: group.members.map(({ node }) => describeNode(node))[0] ?? '',
          reason: `with ${from} of its ${group.roots.length} channels it would not be faster, by kernel cost table ${context.costTable.hash.slice(0, 12)}`,
        })),
        ...(recovered?.skipped ?? []).map(({ node, reason }) => ({ node, reason: `not recovered: ${reason}` })),
      ],
      warnings: changes > 0 ? [...pruning.warnings, ...slower(plan)] : [whyNothing(plan)],
      ...(pruning.runs.length === 0 ? {} : { training: pruning.runs }),
      details: {
        ...(restored === undefined ? {} : { restoredBatchNormalizations: restored }),
        ...costDetails(plan.before, after),
        ...details,
        ...latencyDetails(plan, context.costTable.hash),
        ...(options.steps === 1 ? {} : { steps: pruning.records }),
        ...(found === undefined ? {} : { accuracyTarget: found.details }),
        ...(pruning.sensitivities === undefined ? {} : { sensitivities: pruning.sensitivities }),
        ...(recovered === undefined ? {} : { recovery: recovered.details }),
      },
    };
  },
  ensures: () => undefined,
});

/** Groups that ranking would have cut, and that stay whole because that would not be faster. */
function leftWhole({ groups, speed }: RemovalPlan) {
  return (speed?.moved ?? []).flatMap(({ group: index, from, to }) => {
    const group = groups[index]?.group;
    return group === undefined || to < group.roots.length ? [] : [{ group, from }];
  });
}

function whyNothing({ speed }: RemovalPlan): string {
  if (speed?.refusal !== undefined) return `no channel was removed: ${speed.refusal}`;
  if ((speed?.moved.length ?? 0) > 0) {
    return 'no channel was removed: by the kernel cost table no group would be faster with a few channels less; remove more, or set speed to ignore';
  }
  return 'no channel was removed: no group of channels can lose one at these options';
}

/** A refusal that came too late, with channels gone in earlier steps. */
function slower({ speed }: RemovalPlan): readonly string[] {
  return speed?.refusal === undefined ? [] : [speed.refusal];
}

function neededRoles(options: ChannelOptions): readonly DataRole[] {
  const { recover, importance, restoreBatchNormalization } = options;
  const training = trainingOf(options);
  const roles = new Set<DataRole>();
  if (recover !== 'none' || importance === 'activation' || restoreBatchNormalization) roles.add('calibration');
  if (options.allocation === 'sensitivity' || options.maxAccuracyDrop !== undefined) roles.add('calibration');
  if (training !== undefined || readsGradients(importance)) roles.add('training');
  if (training !== undefined && 'role' in training.validation) roles.add(training.validation.role);
  return [...roles];
}
