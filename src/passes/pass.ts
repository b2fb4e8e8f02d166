import type { z } from 'zod';
import type { TrainingOptions, TrainingSource } from '../data/training/training-source.ts';
import type { TensorSpool } from '../onnx/codec/tensor-spool.ts';
import type { Model } from '../onnx/model.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import type { Runtime } from '../runtime/session.ts';
import type { Constraints } from '../schemas/constraints.ts';
import type { StoredModelField } from '../schemas/stored-model.ts';
import type { TrainingRunReport } from '../schemas/training-report.ts';
import type { JsonValue } from '../search/space.ts';
import type { ArchitectureRequest } from '../zoo/build-architecture.ts';
import type { ObservationPoint, Observations } from './observe.ts';
import type { KernelCostTable } from './cost/kernel-cost-table.ts';
import type { TrialRunner } from './trials.ts';

/** Order of a recipe: a step's stage may not lie before that of the step ahead of it. */
export const STAGES = ['canonicalize', 'search', 'prune', 'distill', 'quantize'] as const;
export type Stage = (typeof STAGES)[number];

export const DATA_ROLE_ORDER = ['calibration', 'training', 'evaluation'] as const;
export type DataRole = (typeof DATA_ROLE_ORDER)[number];

/** What was left alone, and why. Nothing is skipped in silence. */
export interface Skipped {
  readonly node: string;
  readonly reason: string;
}

/** A file of its own that a pass hands out beside the model. */
export interface PassArtifact {
  /** Letters, digits, dots, dashes. */
  readonly name: string;
  readonly contentType: string;
  readonly bytes: Uint8Array;
}

export interface PassResult {
  /** How many things were changed; 0 means the serialized model is byte-identical. */
  readonly changes: number;
  readonly skipped: readonly Skipped[];
  readonly warnings: readonly string[];
  /** How the networks that the step trained got there; absent where it trains none. */
  readonly training?: readonly TrainingRunReport[];
  /** Files for the job's artifacts, kind `sidecar`. A later step's file of the same name takes an earlier one's place. */
  readonly artifacts?: readonly PassArtifact[];
  /**
   * The model in float that the result stands for value by value, where the pass rewrote the one it was given before it quantized
   * (channels scaled, say); absent: the model as it was given. For the diagnosis.
   */
  readonly reference?: Model;
  /** The pass's own numbers for its step report (JSON values only). */
  readonly details: Readonly<Record<string, unknown>>;
}

/** Model inputs for one run, made from a data set by role, preprocessing included. Sample axis first. */
export interface FeedBatch {
  readonly feeds: Readonly<Record<string, NdArray>>;
  /** Class index or target per sample, where the role has labels. */
  readonly labels?: NdArray;
  readonly count: number;
}

export interface FeedSource {
  /** Samples a full run of `batches` gives. */
  readonly samples: number;
  /** A fresh pass over the same samples in the same order. Without `batchSize`: the source's own (a fixed batch axis wins). */
  batches(batchSize?: number): AsyncIterable<FeedBatch>;
}

export type TargetCpu = 'portable' | 'x64-vnni' | 'arm64-dotprod' | 'this' | 'int8-only';

/** Where a long step keeps what a later attempt needs to go on from the middle of it. */
export interface StepCheckpoint {
  /** How often the step should save, in seconds of work; absent: as it sees fit. */
  readonly everySeconds?: number;
  /** What an earlier attempt at this step saved last, if any. */
  load(): Promise<Uint8Array | undefined>;
  /**
   * Replaces what was saved before. The next attempt's `run` gets the model as this one's got it.
   *
   * @param holdsResult - of a search: an attempt that has to conclude makes a result of it; default: no
   */
  save(state: Uint8Array, holdsResult?: boolean): Promise<void>;
}

/** Keeps nothing: for callers that make no second attempt. */
export const NO_CHECKPOINT: StepCheckpoint = {
  load: () => Promise.resolve(undefined),
  save: () => Promise.resolve(),
};

/** What a pass may touch: no clock but this one, no randomness but this one, no session but from here. */
export interface PassContext {
  readonly runtime: Runtime;
  readonly threads: number;
  readonly seed: number;
  readonly targetCpu: TargetCpu;
  /** What the job asks of its result. Absent outside of jobs. */
  readonly constraints?: Constraints;
  /** Whether the recipe has steps after this one. Absent outside of jobs. */
  readonly stepsAhead?: boolean;
  /** Present when the job named a data set for the role. */
  readonly data: Partial<Record<DataRole, FeedSource>>;
  /**
   * Opens the training role's data for steps: shuffled, augmented, with labels checked. Present when the job named a data set
   * for the role. Who opens it closes it.
   */
  readonly openTraining?: (options: TrainingOptions) => Promise<TrainingSource>;
  /** The model the job started from, as `model` was before the first step. Not to be changed; absent outside of jobs. */
  readonly input?: Model;
  /** Reads one of the models that `models` of the pass named, each time anew. */
  readonly openModel?: (id: string) => Promise<Model>;
  /** For steps that search. Absent outside of jobs. */
  readonly trials?: TrialRunner;
  /** What passes say of the steps that trials run. Absent outside of jobs. */
  readonly innerSteps?: InnerSteps;
  /** The model as the job names it. Absent outside of jobs. */
  readonly modelField?: StoredModelField;
  /** Whether a later step of the recipe has the model compute in 8-bit integers. Absent outside of jobs. */
  readonly int8Ahead?: boolean;
  /** Measured once per kind of CPU; the same table gives the same choices. */
  readonly costTable: KernelCostTable;
  /** CPU flags of this machine (`avx2`, `avx512_vnni`, `asimddp` …), read once by the worker; what target `this` goes by. */
  readonly cpuFlags: ReadonlySet<string>;
  /** The answers to this step's `observe` points; absent when it named none. */
  readonly observations?: Observations;
  readonly checkpoint: StepCheckpoint;
  /** Where a step may put the tensors it makes, so that they need no memory; absent: in memory. */
  readonly spool?: TensorSpool;
  readonly signal: AbortSignal;
  /** 0..1 within this step. */
  progress(fraction: number, message?: string): void;
  log(level: 'debug' | 'info' | 'warn', message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export interface PassPaper {
  readonly title: string;
  readonly url: string;
}

/** An uploaded model that a step's options name. */
export interface ReferencedModel {
  readonly id: string;
  /** Path within the options, for pointers: `['student', 'model']`. */
  readonly path: readonly PropertyKey[];
  /** A teacher is only asked; a student takes the model's place. */
  readonly as: 'teacher' | 'student';
}

/** A network of the zoo that a step's options name, and that takes the model's place. */
export interface ReplacingNetwork {
  readonly request: ArchitectureRequest;
  /** Path within the options, for pointers. */
  readonly path: readonly PropertyKey[];
}

/** Steps that another step runs as trials, options as a client writes them. */
export interface InnerRecipe {
  readonly steps: readonly (Readonly<Record<string, unknown>> & { readonly pass: string })[];
  /** Where in the options a path within `steps` (`[0, 'epochs']`) comes from, for pointers; absent: the same under `steps`. */
  readonly origin?: (path: readonly PropertyKey[]) => readonly PropertyKey[];
}

/** What a search may ask of the pass of a step that its trials run; the step as a client writes it. */
export interface InnerSteps {
  /** Undefined where no option of the pass has a value a layer. */
  layers(model: Model, step: InnerRecipe['steps'][number]): readonly string[] | undefined;
  suggest(
    model: Model,
    step: InnerRecipe['steps'][number],
    limits: SuggestionLimits,
  ): Promise<Readonly<Record<string, JsonValue>> | undefined>;
  /** Undefined where the pass cannot count them. */
  costs(
    model: Model,
    step: InnerRecipe['steps'][number],
    values: readonly JsonValue[],
  ): Promise<LayerCosts | undefined>;
}

/** What the result of a search may cost, where it says so. */
export interface SuggestionLimits {
  readonly maxBytes?: number | undefined;
  readonly maxBops?: number | undefined;
}

/** What a model costs by the values of its layers, counted without running it; its own rest and what each layer adds. */
export interface LayerCosts {
  readonly rest: CountedFigures;
  /** By name, in order. */
  readonly layers: Readonly<Record<string, LayerCost>>;
}

/** Figures that hold for a file, whatever the machine. */
export type CountedFigures = Readonly<Partial<Record<'bytes' | 'bops', number | undefined>>>;

/** Of one layer. */
export interface LayerCost {
  /** What an agent may see of it, about 0 to 1; as many numbers for each layer. */
  readonly features: readonly number[];
  /** For each value. */
  readonly costs: readonly CountedFigures[];
}

/** One graph transform. A pass never imports another pass; it changes the model it is given. */
export interface Pass<Options = unknown> {
  readonly name: string;
  readonly stage: Stage;
  readonly description: string;
  readonly papers: readonly PassPaper[];
  /** Strict object schema with a default and a description for each option. */
  readonly options: z.ZodType<Options>;
  readonly example: z.input<z.ZodType<Options>>;
  /** Whether the model computes in 8-bit integers behind the step. Absent: as it did before. */
  makesInt8?(options: Options): boolean;
  /** Whether BatchNormalization must not be folded ahead of the step. Absent: where it needs training data. */
  keepsNormalization?(options: Options): boolean;
  /** Data that the pass itself uses; that of `inner` steps comes on top. */
  needs(options: Options): readonly DataRole[];
  /** Recipes that the step runs as trials, or examples that show all their values: planning checks each of them. */
  inner?(options: Options): readonly InnerRecipe[];
  /** Ids of uploaded models that the step reads besides the one it is given; with the place of each in the options. */
  models?(options: Options): readonly ReferencedModel[];
  /** The fresh network that the model is replaced by, if any: planning refuses one that cannot be. */
  network?(options: Options): ReplacingNetwork | undefined;
  /** Layers that an option with a value a layer, or `exclude`, speaks of, for searches: one name for those that share a value. */
  layers?(model: Model, options: Options): readonly string[];
  /** For searches to start from: a good value for each of `layers`, found by measuring. */
  suggest?(
    model: Model,
    options: Options,
    context: PassContext,
    limits: SuggestionLimits,
  ): Promise<Readonly<Record<string, JsonValue>>>;
  /** For searches that keep a budget: what each of `values` costs in each of `layers`. */
  costs?(model: Model, options: Options, values: readonly JsonValue[], context: PassContext): Promise<LayerCosts>;
  /** What makes the pass impossible on this model, in words with a remedy; undefined when nothing does. Never changes it. */
  requires(model: Model, options: Options): string | undefined;
  /**
   * The values this step wants observed on the calibration data, named as they are in the model it will be given.
   * Never changes the model. The manager answers through `context.observations`; see calibrate.ts.
   */
  observe?(model: Model, options: Options, context: PassContext): readonly ObservationPoint[];
  run(model: Model, options: Options, context: PassContext): Promise<PassResult>;
  /** What the pass promises of its result; a broken promise in words. Never changes the model. */
  ensures(model: Model, options: Options): string | undefined;
}

/** Keeps the options' type while the pass is written; the registry holds them as `Pass`. */
export function definePass<Schema extends z.ZodType>(
  pass: Omit<Pass<z.output<Schema>>, 'options' | 'example'> & {
    readonly options: Schema;
    readonly example: z.input<Schema>;
  },
): Pass {
  return pass;
}
