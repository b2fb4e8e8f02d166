import { CompressionError } from '../errors.ts';
import type { DataType } from '../onnx/data-type.ts';
import { producersOf, type Graph } from '../onnx/graph.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { opsetOf, type Model } from '../onnx/model.ts';
import type { Node } from '../onnx/node.ts';
import { upgradeOpset } from '../onnx/upgrade/upgrade-opset.ts';
import { tensorValue } from '../onnx/value-type.ts';
import { sortTopologically } from '../onnx/verify/topological-order.ts';
import {
  foldedIntoConvolution,
  inTrainingMode,
  runningStatistics,
  type TrainingNormalization,
} from './batch-normalization.ts';
import { batchInput, type BatchInput } from './batch-inputs.ts';
import { copyModel } from './copy-model.ts';
import { feedDropout, type DropoutMask } from './dropout.ts';
import { differentiate } from './differentiate.ts';
import { NO_REWRITE, type ForwardRewrite, type RewriteForward } from './forward-rewrite.ts';
import { totalLoss, type StaticTensor, type WeightedLoss } from './losses/loss.ts';
import { StateIo, writeUpdates, type UpdatedParameter, type UpdateSettings } from './optimizers/update.ts';
import { parametersOf, selectParameters, type Parameter, type ParameterFilter } from './parameters.ts';
import { pruneGraph } from './prune-graph.ts';
import { releaseBatch } from './release-batch.ts';
import { StaticTypes } from './static-types.ts';
import type { StateStep, StateTensor } from './training-state.ts';
import { insertMasks, writeScore, type MaskedWeight, type WeightMasks } from './weight-masks.ts';

/** What a loss sees of the graph it is written into. */
export interface LossContext {
  readonly b: GraphBuilder;
  readonly batchSize: number;
  /** The model's first output; what goes into a Softmax or Sigmoid that stands there. */
  readonly scores: StaticTensor;
  /** Any value of the model, by its name. @throws CompressionError RECIPE_NO_MATCH when there is none */
  tensor(name: string): StaticTensor;
  /** Declares an input that is fed with each batch: labels, a teacher's outputs. */
  input(name: string, type: DataType, shape: readonly number[]): string;
}

export type LossBuilder = (context: LossContext) => readonly WeightedLoss[];

export interface TrainingGraphOptions extends ParameterFilter, UpdateSettings {
  /** Samples a run of the step graph. */
  readonly batchSize: number;
  /** Shapes of the model's inputs, batch axis first, where the model leaves them open. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly loss: LossBuilder;
  /**
   * `train`: statistics of the batch where scale or bias are trained, running ones updated. `frozen`: the running ones, unchanged.
   * `batch`: statistics of the batch everywhere, running ones unchanged.
   */
  readonly batchNormalization: 'train' | 'frozen' | 'batch';
  /** Roles that weight decay leaves alone. */
  readonly decayExempt: readonly Parameter['role'][];
  /** Weights that have zeros which stay, or whose masks the trainer changes on the way. */
  readonly masks?: WeightMasks | undefined;
  /** Changes what the network computes, before it is differentiated. */
  readonly rewrite?: RewriteForward | undefined;
  /** What dropout masks are drawn from; default 0. */
  readonly seed?: number;
  /** Batches whose gradients are averaged for one update; 1: the update is part of the step graph. */
  readonly accumulate: number;
}

export interface StepGraph extends StateStep {
  readonly model: Model;
  /** Float scalar inputs. */
  readonly scalars: readonly string[];
}

export interface TrainingGraph {
  /** Forward, loss, backward, and (without accumulation) the update. */
  readonly step: StepGraph;
  /** The update from accumulated gradients. */
  readonly update: StepGraph | undefined;
  readonly state: readonly StateTensor[];
  /** The model's own inputs. */
  readonly dataInputs: readonly BatchInput[];
  /** What the loss declared. */
  readonly lossInputs: readonly BatchInput[];
  /** Inputs of `step` that are drawn for each batch, with the seed they are drawn from. */
  readonly dropout: { readonly masks: readonly DropoutMask[]; readonly seed: number };
  /** Name of the loss among the outputs of `step`. */
  readonly loss: string;
  /** Names of the outputs of `step` that are parts of the loss, by what the loss calls them. */
  readonly parts: ReadonlyMap<string, string>;
  /** Name of the gradients' norm among the outputs of `update`, or of `step` where there is none. */
  readonly gradientNorm: string | undefined;
  /** Selected parameters that the loss does not depend on: they stay as they are. */
  readonly untouched: readonly string[];
}

const TRAINING_OPSET = 21;

/**
 * Makes the graph of one training step from a model: inputs are the batch, parameters, running statistics, moments and the
 * optimizer's scalars; outputs the loss and the new state. Standard ONNX operators and com.microsoft FusedMatMul. The model is not changed.
 *
 * @throws CompressionError TRAIN_NO_GRADIENT, MODEL_UNSUPPORTED (open sizes), RECIPE_NO_MATCH (globs, nothing to train),
 *   DATASET_TOO_SMALL (a batch of one sample cannot be normalized)
 */
export function buildTrainingGraph(model: Model, options: TrainingGraphOptions): TrainingGraph {
  return new TrainingGraphBuilder(model, options).build();
}

/**
 * The first output, or what goes into the Softmax or Sigmoid that makes it: losses take logits.
 *
 * @throws CompressionError MODEL_INVALID for a graph without outputs
 */
export function scoresOf(graph: Graph): string {
  const [output] = graph.outputs;
  if (output === undefined) throw new CompressionError('MODEL_INVALID', 'the model has no output');
  const producers = producersOf(graph);
  let producer = producers.get(output.name);
  while (producer?.opType === 'Identity') producer = producers.get(producer.inputs[0] ?? '');
  if (producer?.domain !== '' || !['Softmax', 'Sigmoid'].includes(producer.opType)) return output.name;
  return producer.inputs[0] ?? output.name;
}

class TrainingGraphBuilder {
  readonly #model: Model;
  readonly #options: TrainingGraphOptions;
  readonly #b: GraphBuilder;
  readonly #io: StateIo;
  readonly #dataInputs: readonly BatchInput[];
  readonly #lossInputs: BatchInput[] = [];
  readonly #state: StateTensor[] = [];

  constructor(model: Model, options: TrainingGraphOptions) {
    this.#options = options;
    this.#model = copyModel(model);
    const { graph } = this.#model;
    const { skipped } = upgradeOpset(this.#model, TRAINING_OPSET);
    if (opsetOf(this.#model) < 18) {
      throw new CompressionError(
        'MODEL_UNSUPPORTED',
        `training needs opset 18 or newer; ${skipped[0] === undefined ? 'the model' : `${skipped[0].node} (${skipped[0].reason})`} cannot be raised; export the model again`,
      );
    }
    sortTopologically(graph);
    const inputs = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
    this.#dataInputs = inputs.map((input) => batchInput(input, options));
    releaseBatch(this.#model, Object.fromEntries(this.#dataInputs.map(({ name, shape }) => [name, shape])));
    // Defaults that a caller could override are constants here; declared inner types were made for other batch sizes.
    graph.inputs = this.#dataInputs.map(({ name, type, shape }) => tensorValue(name, type, shape));
    graph.valueInfos.clear();
    this.#b = new GraphBuilder(graph);
    this.#io = new StateIo(this.#b);
  }

  build(): TrainingGraph {
    const { graph } = this.#model;
    const selected = selectParameters(parametersOf(this.#model), this.#options);
    const selectedNames = new Set(selected.map(({ name }) => name));
    const scoresValue = scoresOf(this.#model.graph);
    const outputs = graph.outputs;
    graph.outputs = [];
    const normalizations = this.#trainNormalizations(selectedNames);
    this.#foldFrozenNormalizations();
    const masked = insertMasks(this.#b, this.#options.masks, selectedNames);
    const rewrite = this.#options.rewrite?.(this.#b, this.#model) ?? NO_REWRITE;
    sortTopologically(graph);
    const hasDropout = graph.nodes.some(({ opType }) => opType === 'Dropout');
    const masks = hasDropout ? feedDropout(this.#b, new StaticTypes(this.#model)) : [];
    const types = new StaticTypes(this.#model);
    const scores = rewrite.replaced.get(scoresValue) ?? scoresValue;
    const total = totalLoss(this.#b, this.#options.loss(this.#lossContext(types, scores)));
    const ownNames = new Set(total.parameters);
    const gradients = differentiate(this.#b, {
      loss: total.seeds,
      wrt: [
        ...[...selectedNames].map((name) => masked.get(name)?.value ?? name),
        ...ownNames,
        ...rewrite.parameters.map(({ name }) => name),
      ],
      types,
    });
    const updated: UpdatedParameter[] = [];
    const parameterOf = new Map([...masked].map(([name, { value }]) => [value, name]));
    const touched = new Set<string>();
    for (const [value, ownGradient] of gradients) {
      const name = parameterOf.get(value) ?? value;
      touched.add(name);
      const parameter = selected.find((one) => one.name === name);
      const role = parameter?.role ?? 'weight';
      const state = this.#lift(name, { kind: 'parameter', of: name }, !ownNames.has(name));
      const gradient = this.#throughMask(state, this.#ownGradient(rewrite, name, ownGradient), masked.get(name));
      updated.push({
        state,
        gradient,
        decays: !this.#options.decayExempt.includes(role) && !isExempt(rewrite, name),
        isAdder: parameter?.isAdder ?? false,
        bounds: rewrite.bounds.get(name),
      });
    }
    const updating = this.#options.batchNormalization === 'train' ? normalizations : [];
    const statistics = updating.flatMap(({ original, training }) => this.#runningStatistics(original, training, types));
    for (const { state, value } of statistics) this.#io.write(state, value);
    const { update, gradientNorm } =
      this.#options.accumulate > 1 ? this.#accumulate(updated, statistics) : this.#updateInPlace(updated, statistics);
    graph.outputs = [total.value, ...total.parts.values()].map((name) => tensorValue(name, 'float', []));
    if (update === undefined && gradientNorm !== undefined) graph.outputs.push(tensorValue(gradientNorm, 'float', []));
    declareOutputs(this.#model, this.#io, this.#allState());
    this.#model.opsetImports.set('com.microsoft', 1);
    pruneGraph(graph);
    if (updated.length === 0) {
      throw new CompressionError(
        'RECIPE_NO_MATCH',
        `the loss does not depend on any selected parameter (${selected.length} of them); choose an output that the layers lead to (the model has ${outputs.map(({ name }) => name).join(', ')})`,
      );
    }
    return {
      step: stepGraph(this.#model, this.#io),
      update,
      state: this.#allState(),
      dataInputs: this.#dataInputs,
      lossInputs: this.#lossInputs,
      dropout: { masks, seed: this.#options.seed ?? 0 },
      loss: total.value,
      parts: total.parts,
      gradientNorm,
      untouched: [...selectedNames].filter((name) => !touched.has(name)),
    };
  }

  #lossContext(types: StaticTypes, scores: string): LossContext {
    const tensor = (value: string): StaticTensor => ({ value, shape: types.shape(value) });
    return {
      b: this.#b,
      batchSize: this.#options.batchSize,
      scores: tensor(scores),
      tensor: (name) => {
        if (types.elementType(name) === undefined) {
          throw new CompressionError('RECIPE_NO_MATCH', `the model has no value "${name}"; name an output of a node`);
        }
        return tensor(name);
      },
      input: (name, type, shape) => {
        const declared = this.#b.input(name, type, shape);
        this.#lossInputs.push({ name: declared, type, shape });
        return declared;
      },
    };
  }

  /** Puts every BatchNormalization whose scale or bias is trained into training form. */
  #trainNormalizations(
    selected: ReadonlySet<string>,
  ): { readonly original: Node; readonly training: TrainingNormalization }[] {
    const { batchNormalization } = this.#options;
    if (batchNormalization === 'frozen') return [];
    const { graph } = this.#model;
    const found: { original: Node; training: TrainingNormalization }[] = [];
    graph.nodes = graph.nodes.map((node) => {
      if (node.opType !== 'BatchNormalization' || node.domain !== '') return node;
      const [, scale = '', bias = '', mean = '', variance = ''] = node.inputs;
      if (batchNormalization === 'train' && !selected.has(scale) && !selected.has(bias)) return node;
      const channels = graph.initializers.get(mean)?.elementCount;
      if (channels === undefined || !graph.initializers.has(variance)) return node;
      const training = inTrainingMode(this.#b, node, channels, found.length);
      found.push({ original: node, training });
      return training.node;
    });
    return found;
  }

  #foldFrozenNormalizations(): void {
    const { graph } = this.#model;
    const producers = producersOf(graph);
    for (const node of [...graph.nodes]) {
      if (node.opType !== 'BatchNormalization' || node.domain !== '' || node.int('training_mode', 0) !== 0) continue;
      const folded = foldedIntoConvolution(this.#b, node, producers);
      if (folded !== undefined) graph.nodes = graph.nodes.map((one) => (one === node ? folded : one));
    }
    sortTopologically(graph);
  }

  #runningStatistics(
    original: Node,
    training: TrainingNormalization,
    types: StaticTypes,
  ): { readonly state: StateTensor; readonly value: string }[] {
    const [input = '', , , mean = '', variance = ''] = original.inputs;
    const next = runningStatistics(this.#b, original, training, types.shape(input));
    return [
      { state: this.#lift(mean, { kind: 'statistic', of: mean }, true), value: next.mean },
      { state: this.#lift(variance, { kind: 'statistic', of: variance }, true), value: next.variance },
    ];
  }

  /** The gradient of a rewrite's parameter as it learns by it; any other's as it is. */
  #ownGradient({ parameters }: ForwardRewrite, name: string, gradient: string): string {
    const own = parameters.find((parameter) => parameter.name === name);
    if (own === undefined) return gradient;
    const { gradientScale, l2 } = own;
    const scaled =
      gradientScale === 1 ? gradient : this.#b.op('Mul', [gradient, this.#b.float('gradient_scale', gradientScale)]);
    if (l2 === 0) return scaled;
    return this.#b.op('Add', [scaled, this.#b.op('Mul', [name, this.#b.float('l2', l2)])]);
  }

  /** The gradient of the dense weight from that of the masked one; writes the weight's score beside it. */
  #throughMask(weight: StateTensor, gradient: string, masked: MaskedWeight | undefined): string {
    const { masks } = this.#options;
    if (masked === undefined || masks === undefined) return gradient;
    const mask = this.#lift(masked.mask, { kind: 'mask', of: weight.of }, false);
    if (masks.score !== undefined) writeScore(this.#io, weight, gradient, masks.score);
    return masks.gradient === 'masked' ? this.#b.op('Mul', [gradient, mask.name]) : gradient;
  }

  /** Makes an initializer a graph input. */
  #lift(name: string, { kind, of }: Pick<StateTensor, 'kind' | 'of'>, isModel: boolean): StateTensor {
    const { graph } = this.#model;
    const tensor = graph.initializers.get(name);
    if (tensor === undefined) {
      throw new CompressionError(
        'INTERNAL',
        `"${name}" is shared by several nodes that change it, or is no initializer; separate vectors first`,
      );
    }
    graph.initializers.delete(name);
    graph.inputs.push(tensorValue(name, 'float', tensor.dims));
    this.#io.reads.push(name);
    const state: StateTensor = { name, kind, of, isModel, dims: tensor.dims, initial: tensor.floats() };
    this.#state.push(state);
    return state;
  }

  #updateInPlace(
    updated: readonly UpdatedParameter[],
    statistics: readonly { readonly state: StateTensor; readonly value: string }[],
  ): { update: undefined; gradientNorm: string | undefined } {
    return { update: undefined, gradientNorm: writeUpdates(this.#io, updated, statistics, this.#options) };
  }

  /** The step only adds gradients up; a graph of its own makes the update of their mean. */
  #accumulate(
    updated: readonly UpdatedParameter[],
    statistics: readonly { readonly state: StateTensor; readonly value: string }[],
  ): { update: StepGraph; gradientNorm: string | undefined } {
    const b = new GraphBuilder('update');
    const io = new StateIo(b);
    const share = b.float('share_of_a_batch', 1 / this.#options.accumulate);
    const parameters = updated.map(({ state, gradient, ...rest }) => {
      const sum = this.#io.make('accumulator', `${state.name}.gradient_sum`, state);
      this.#io.write(sum, this.#b.op('Add', [sum.name, gradient]));
      io.read(state);
      return { state, gradient: b.op('Mul', [io.read(sum), share]), ...rest };
    });
    const current = statistics.map(({ state }) => ({
      state,
      value: this.#options.average ? io.read(state) : state.name,
    }));
    const gradientNorm = writeUpdates(io, parameters, current, this.#options);
    if (gradientNorm !== undefined) b.graph.outputs.push(tensorValue(gradientNorm, 'float', []));
    const model = b.model(TRAINING_OPSET, { 'com.microsoft': 1 });
    this.#state.push(...io.made);
    declareOutputs(model, io, this.#allState());
    return { update: stepGraph(model, io), gradientNorm };
  }

  #allState(): StateTensor[] {
    return [...this.#state, ...this.#io.made];
  }
}

function isExempt({ parameters, withoutDecay }: ForwardRewrite, name: string): boolean {
  return withoutDecay?.has(name) === true || parameters.some((own) => own.name === name);
}

function stepGraph(model: Model, io: StateIo): StepGraph {
  return { model, reads: io.reads, writes: io.writes, scalars: io.scalars };
}

/** New state leaves the graph under the names its nodes gave it: an Identity for a nicer one would be a copy. */
function declareOutputs(model: Model, io: StateIo, states: readonly StateTensor[]): void {
  const dims = new Map(states.map((state) => [state.name, state.dims]));
  for (const [state, value] of io.writes) model.graph.outputs.push(tensorValue(value, 'float', dims.get(state) ?? []));
}
