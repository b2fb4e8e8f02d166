import { CompressionError } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { TrainingField } from '../../../schemas/training.ts';
import type { TrainingRunReport } from '../../../schemas/training-report.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { separateVectors as separateTrainedVectors } from '../../../training/parameters.ts';
import { calibrate } from '../../calibrate.ts';
import { finetuneContext } from '../../finetune-context.ts';
import type { PassContext } from '../../pass.ts';
import { lossOf, OutputComparison } from '../../output-comparison.ts';
import { FloatLatency } from '../../cost/float-latency.ts';
import type { Latency } from '../../cost/graph-time.ts';
import { Int8Latency } from '../../cost/int8-latency.ts';
import { analyzeChannels, type ChannelAnalysis } from '../groups/analyze-channels.ts';
import { channelGroups, groupName, markChannels, type ChannelGroups } from '../groups/channel-groups.ts';
import { narrow, type Narrowed } from '../groups/narrow.ts';
import { activationPoints } from '../importance/activation-scores.ts';
import { groupScores } from '../importance/group-scores.ts';
import { keptPositions } from '../recovery/kept-positions.ts';
import { ChannelCosts } from './channel-costs.ts';
import { ChannelChooser } from './choose-channels.ts';
import { nodesThatStay, nothingLeft } from './layer-filter.ts';
import { targetOf, trainingOf, type ChannelOptions } from './options.ts';
import { payingWidths } from './paying-widths.ts';
import { planRemoval, type RemovalPlan } from './plan-removal.ts';
import { putPositions, removeChannels } from './remove-channels.ts';
import { allocateBySensitivity, type GroupSensitivity } from './sensitivity.ts';
import { StepStates, type StepRecord, type StepState } from './step-state.ts';

/** Share of a step's time for the scores, where it trains. */
const SCORES_SHARE = 0.2;

/**
 * Goes to the target in equal steps: each scores what is left, removes what is due of the channels there were at first, and
 * trains where `training` is given. The whole model keeps its graph; what is scored and trained is a copy without the channels, whose
 * weights are then put back into their places. So every channel keeps its index, and the result is made by one removal.
 */
export class SteppedPruning {
  readonly groups: ChannelGroups;
  /** Of the model before the first step. */
  readonly analysis: ChannelAnalysis;
  readonly #model: Model;
  /** The model before the first step, with the weights that trainings have made. */
  readonly #whole: Model;
  readonly #options: ChannelOptions;
  readonly #context: PassContext;
  readonly #latency: Latency;
  readonly #training: TrainingField | undefined;
  readonly #states: StepStates | undefined;
  #state: StepState;
  #sensitivities: readonly GroupSensitivity[] | undefined;

  private constructor(
    model: Model,
    options: ChannelOptions,
    { context, states }: { readonly context: PassContext; readonly states: StepStates | undefined },
  ) {
    this.#model = model;
    this.#options = options;
    this.#context = context;
    this.#latency = latencyFor(options.speed, context);
    this.#states = states;
    this.#training = trainingOf(options);
    this.#whole = this.#training === undefined ? model : copyModel(model);
    if (this.#training !== undefined) separateTrainedVectors(this.#whole.graph);
    this.analysis = analyzeChannels(this.#whole, nodesThatStay(this.#whole, options));
    this.groups = channelGroups(this.analysis);
    if (this.groups.groups.length === 0) refuseEmptyChoice(this.#whole, options);
    const removed = this.groups.groups.map(() => []);
    this.#state = states?.state ?? { done: 0, removed, records: [], runs: [], warnings: [], weights: new Map() };
    for (const [name, values] of this.#state.weights) this.#setWhole(name, values);
  }

  /**
   * @param model - with vectors separated. Not changed before `remove`
   * @throws CompressionError RECIPE_NO_MATCH for globs
   */
  static async open(model: Model, options: ChannelOptions, context: PassContext): Promise<SteppedPruning> {
    const key = JSON.stringify([options, context.seed]);
    const states = trainingOf(options) === undefined ? undefined : await StepStates.open(context.checkpoint, key);
    return new SteppedPruning(model, options, { context, states });
  }

  get records(): readonly StepRecord[] {
    return this.#state.records;
  }

  get runs(): readonly TrainingRunReport[] {
    return this.#state.runs;
  }

  /** Of the groups before the last step, where allocation asked for them. */
  get sensitivities(): readonly GroupSensitivity[] | undefined {
    return this.#sensitivities;
  }

  get warnings(): readonly string[] {
    return this.#state.warnings;
  }

  /**
   * All steps but the removal of the last.
   *
   * @throws CompressionError PASS_PRECONDITION for a target out of reach, before anything is trained; what training and data throw
   */
  async choose(): Promise<RemovalPlan> {
    const { steps } = this.#options;
    const latency = this.#latency;
    for (let step = this.#state.done; ; step += 1) {
      this.#context.signal.throwIfAborted();
      const scores = await this.#scores(step);
      const options = { ...this.#options, scores, latency };
      // All of the way at once: a target out of reach, or a model that will not be faster, would show only after all the trainings.
      const ahead = step === 0 ? planRemoval(this.analysis, this.groups, options) : undefined;
      const isTrained = this.#state.runs.length > 0;
      const plan =
        ahead !== undefined && (steps === 1 || ahead.speed?.refusal !== undefined)
          ? ahead
          : planRemoval(this.analysis, this.groups, { ...options, part: (step + 1) / steps, isTrained });
      const records = [...this.#state.records.slice(0, step), recordOf(plan, step)];
      if (step === steps - 1 || plan === ahead) {
        this.#state = { ...this.#state, records };
        return plan;
      }
      const isChanged = plan.removed.some(
        (channels, group) => channels.length > (this.#state.removed[group]?.length ?? 0),
      );
      const before = this.#state;
      const trained = isChanged ? await this.#train(this.without(plan.removedRoots), step) : undefined;
      if (trained !== undefined) this.#putBack(trained.model, plan.removedRoots, trained.values);
      this.#state = {
        done: step + 1,
        removed: plan.removed,
        records,
        runs: trained === undefined ? before.runs : [...before.runs, trained.run],
        warnings: trained === undefined ? before.warnings : [...new Set([...before.warnings, ...trained.warnings])],
        weights: this.#trainedWeights(trained?.values ?? new Map()),
      };
      await this.#states?.finish(this.#state);
    }
  }

  /**
   * What the model was like when its weights were last given or trained, for a recovery: an analysis in its positions, whose
   * model is not changed any more.
   */
  beforeLast(): ChannelAnalysis {
    const removed = this.#removedRoots();
    if (this.#state.runs.length === 0) return { ...this.analysis, model: copyModel(this.#whole) };
    return narrow(this.analysis, this.groups.groups, removed, this.without(removed)).analysis;
  }

  /** Takes the channels out of the model, which gets the trained weights. */
  remove({ removedRoots }: RemovalPlan): void {
    if (this.#whole === this.#model) {
      removeChannels(this.analysis, removedRoots);
      return;
    }
    separateTrainedVectors(this.#model.graph);
    for (const name of this.#state.weights.keys()) {
      const trained = this.#whole.graph.initializers.get(name);
      if (trained !== undefined) this.#model.graph.initializers.set(name, trained);
    }
    // Of the same graph, so that channels have the same numbers.
    const analysis = analyzeChannels(this.#model, nodesThatStay(this.#model, this.#options));
    removeChannels(analysis, removedRoots);
  }

  /** Trains the model when all channels are out, where that was asked for. */
  async trainAfterLast(): Promise<void> {
    if (!this.#options.trainAfterLast) return;
    const trained = await this.#train(this.#model, this.#options.steps - 1);
    if (trained === undefined) return;
    const { runs, warnings } = this.#state;
    this.#state = {
      ...this.#state,
      runs: [...runs, trained.run],
      warnings: [...new Set([...warnings, ...trained.warnings])],
    };
  }

  /**
   * Plans that remove a share of the channels each, from the scores of the model as it is given: for a target that only trials tell.
   *
   * @throws CompressionError what data and the runtime throw
   */
  async plans(): Promise<(ratio: number) => RemovalPlan> {
    const scores = await this.#scores(0);
    const options = { ...this.#options, maxAccuracyDrop: undefined, scores, latency: this.#latency };
    return (ratio) => planRemoval(this.analysis, this.groups, { ...options, ratio });
  }

  /** Of the channels that are left; -Infinity for the others. */
  async #scores(step: number): Promise<readonly (Float64Array | undefined)[]> {
    const share = this.#training === undefined ? 1 : SCORES_SHARE;
    if (this.#options.allocation === 'score') return this.#importance(step, { from: 0, to: share });
    const scores = await this.#importance(step, { from: 0, to: share / 4 });
    return this.#allocated(scores, this.#partOfStep(step, { from: share / 4, to: share }));
  }

  /** The scores of all channels by what the model loses without them, each group measured alone. */
  async #allocated(scores: readonly (Float64Array | undefined)[], context: PassContext) {
    const { calibration } = context.data;
    const { groups } = this.groups;
    if (calibration === undefined) throw new CompressionError('INTERNAL', 'sensitivity without calibration data');
    const gone = this.#removedRoots();
    const comparison = await OutputComparison.create(this.without(gone), calibration, context);
    const { sensitivity } = this.#options;
    const by = sensitivity === 'output' ? 'error' : sensitivity;
    comparison.requireLoss(by, `sensitivity "${sensitivity}"`, 'measure "output"');
    const costs = new ChannelCosts(this.analysis, this.#latency);
    const { kind } = targetOf(this.#options);
    const before = costs.without(gone);
    const chooser = new ChannelChooser(
      groups.map((group, index) => ({ group, scores: scores[index] })),
      this.#options,
    );
    const withRoots = (roots: readonly number[]): Uint8Array => {
      const removed = Uint8Array.from(gone);
      for (const root of roots) removed[root] = 1;
      return removed;
    };
    // A number of channels that brings no time would tell nothing of what time costs.
    const isForTime = kind === 'latencyNs' && this.#options.speed !== 'ignore' && !this.#latency.knowsNothing;
    const left = groups.map((_, index) => chooser.left(index));
    const timeOf = (kept: readonly number[]): number =>
      costs.latencyNs(markChannels(groups, chooser.removed(kept), this.analysis.atoms.count));
    const { scores: allocated, sensitivities } = await allocateBySensitivity(groups, scores, {
      ...(isForTime ? { widths: payingWidths(chooser, left, timeOf, true) } : {}),
      lossWithout: async (roots) => lossOf(await comparison.compare(this.without(withRoots(roots))), by),
      saved: (roots) => (kind === 'ratio' ? roots.length : before[kind] - costs.without(withRoots(roots))[kind]),
      leastKept: (index) => chooser.leastKept(index),
      progress: (fraction) => {
        context.signal.throwIfAborted();
        context.progress(fraction, 'measuring the sensitivity of each group');
      },
    });
    this.#sensitivities = sensitivities;
    return allocated;
  }

  async #importance(
    step: number,
    part: { readonly from: number; readonly to: number },
  ): Promise<readonly (Float64Array | undefined)[]> {
    const { groups } = this.groups;
    const context = this.#partOfStep(step, part);
    if (step === 0) return groupScores(this.analysis, groups, this.#options, context);
    const removed = this.#removedRoots();
    const left = narrow(this.analysis, groups, removed, this.without(removed));
    const observed = this.#options.importance === 'activation' ? await this.#observe(left, context) : {};
    const scores = await groupScores(left.analysis, left.groups, this.#options, { ...context, ...observed });
    return groups.map(({ roots }, group) => {
      const [own, indices] = [scores[group], left.indices[group] ?? new Int32Array(0)];
      if (own === undefined && indices.length === roots.length) return undefined;
      const all = new Float64Array(roots.length).fill(-Infinity);
      // What is not known any more about channels that are left: they stay.
      indices.forEach((channel, at) => (all[channel] = own === undefined ? Infinity : (own[at] ?? 0)));
      return all;
    });
  }

  /** What the manager observed was of the model before the first step. */
  async #observe({ analysis, groups }: Narrowed, context: PassContext): Promise<Pick<PassContext, 'observations'>> {
    const { calibration } = context.data;
    const points = activationPoints(analysis, groups);
    if (calibration === undefined || points.length === 0) return {};
    return { observations: await calibrate(analysis.model, points, calibration, context) };
  }

  /** Undefined where this pruning does not train. Changes the model. */
  async #train(model: Model, step: number) {
    const [training, states] = [this.#training, this.#states];
    if (training === undefined || states === undefined) return undefined;
    // Loaded where it trains: the HTTP side lists passes, and never loads the engine.
    const [{ finetune }, { applyTrained }, { runReport }] = await Promise.all([
      import('../../../training/finetune.ts'),
      import('../../../training/trained-values.ts'),
      import('../../../training/run-report.ts'),
    ]);
    const context = {
      ...finetuneContext(this.#partOfStep(step, { from: SCORES_SHARE, to: 1 })),
      checkpoint: states.training(this.#state),
    };
    const { outcome, graph, warnings } = await finetune(model, training, context);
    applyTrained(model, outcome.values);
    const { untouched } = graph;
    const untrained =
      untouched.length === 0 ? [] : [`Not trained, as the loss does not depend on it: ${untouched.join(', ')}`];
    const run = { ...runReport('model', outcome), afterStep: step + 1 };
    return { model, run, warnings: [...warnings, ...untrained], values: outcome.values };
  }

  #partOfStep(step: number, { from, to }: { readonly from: number; readonly to: number }): PassContext {
    const { steps } = this.#options;
    const progress = (fraction: number, message?: string): void => {
      const said = message === undefined || steps === 1 ? message : `step ${step + 1} of ${steps}: ${message}`;
      this.#context.progress((step + from + (to - from) * fraction) / steps, said);
    };
    return { ...this.#context, progress };
  }

  /** A copy of the model, with the weights that trainings have made, without these channels. */
  without(removedRoots: Uint8Array): Model {
    const copy = copyModel(this.#whole);
    removeChannels(analyzeChannels(copy, nodesThatStay(copy, this.#options)), removedRoots);
    return copy;
  }

  #removedRoots(): Uint8Array {
    return markChannels(this.groups.groups, this.#state.removed, this.analysis.atoms.count);
  }

  /** Puts trained weights of the pruned model into their places in the whole one. */
  #putBack(pruned: Model, removedRoots: Uint8Array, values: ReadonlyMap<string, Float32Array>): void {
    const kept = keptPositions(this.analysis, removedRoots);
    for (const name of values.keys()) {
      const [from, to] = [pruned.graph.initializers.get(name), this.#whole.graph.initializers.get(name)];
      if (from === undefined || to === undefined) continue;
      const whole = Float32Array.from(to.floats());
      putPositions(whole, to.dims, { values: from.floats(), dims: from.dims, kept: kept(name) });
      this.#setWhole(name, whole);
    }
  }

  #setWhole(name: string, values: Float32Array): void {
    const { initializers } = this.#whole.graph;
    initializers.set(name, Tensor.float(name, values, initializers.get(name)?.dims));
  }

  #trainedWeights(values: ReadonlyMap<string, Float32Array>): ReadonlyMap<string, Float32Array> {
    const names = new Set([...this.#state.weights.keys(), ...values.keys()]);
    const { initializers } = this.#whole.graph;
    return new Map([...names].map((name) => [name, initializers.get(name)?.floats() ?? new Float32Array(0)]));
  }
}

/** Include and exclude may leave nothing of a model that has channels to remove: the caller surely meant something else. */
function refuseEmptyChoice(model: Model, filter: ChannelOptions): void {
  if (filter.include === undefined && filter.exclude.length === 0) return;
  const { groups } = channelGroups(analyzeChannels(model, new Map()));
  if (groups.length > 0) throw nothingLeft(model, groups.map(groupName));
}

function recordOf({ removed, before, expected }: RemovalPlan, step: number): StepRecord {
  const share = (a: number, b: number): number => (a === 0 ? 1 : b / a);
  return {
    step: step + 1,
    removedChannels: removed.reduce((sum, channels) => sum + channels.length, 0),
    macsShare: share(before.macs, expected.macs),
    parametersShare: share(before.parameters, expected.parameters),
  };
}

/** Times in the arithmetic that the recipe ends in, unless the option says which. */
function latencyFor(speed: ChannelOptions['speed'], { costTable, int8Ahead }: PassContext): Latency {
  const isInt8 = speed === 'check-int8' || (speed === 'check' && int8Ahead === true);
  return isInt8 ? new Int8Latency(costTable) : new FloatLatency(costTable);
}
