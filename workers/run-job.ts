import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { baselineFromJson, baselineToJson, evaluateBaseline } from '../src/evaluation/evaluate.ts';
import type { BaselineEvaluation } from '../src/evaluation/evaluate.ts';
import type { EvaluationContext } from '../src/evaluation/evaluation-context.ts';
import { CompressionError } from '../src/errors.ts';
import { TensorSpool } from '../src/onnx/codec/tensor-spool.ts';
import { writeModel } from '../src/onnx/codec/write.ts';
import type { Model } from '../src/onnx/model.ts';
import { scheduleRecipe } from '../src/passes/pass-manager.ts';
import type { PassArtifact } from '../src/passes/pass.ts';
import { KernelCostTableSchema, type KernelCostTable } from '../src/passes/cost/kernel-cost-table.ts';
import type { Runtime } from '../src/runtime/session.ts';
import { TrialLog } from '../src/schemas/trial.ts';
import { buildArchitecture } from '../src/zoo/build-architecture.ts';
import type { StepReport } from '../src/schemas/report.ts';
import { Checkpoints } from './checkpoint.ts';
import { finish, finishTrial } from './finish-job.ts';
import { bindJobData, type JobData } from './job-data.ts';
import { JobProgress } from './job-progress.ts';
import type { ChildMessage, JobTask } from './protocol.ts';
import { loadInput, oneStep } from './run-step.ts';
import { TrialBoard, TrialsWanted } from './trial-board.ts';

export interface JobHooks {
  readonly runtime: Runtime;
  /** Private folder: inputs lie in it, outputs and checkpoints are written into it. */
  readonly directory: string;
  readonly emit: (message: ChildMessage) => void;
  readonly signal: AbortSignal;
}

export type JobResult = Omit<Extract<ChildMessage, { type: 'result' }>, 'type' | 'computeMs'>;

/** Where the log of a search lies that waits for trials. */
const WANTED_FILE = 'trials-wanted.json';
const LATENCY_BUDGET_MS = 2000;

/**
 * The use case: baseline, steps, evaluation, report. A plain function; the job child calls it, and so may anything else
 * that has a Runtime and a folder.
 *
 * @returns what was made, as files under `directory`; undefined when a search waits for trials: the parent was told which
 * @throws CompressionError with the code that the job ends with
 */
export async function runJob(task: JobTask, hooks: JobHooks): Promise<JobResult | undefined> {
  const inputPath = await inputModelPath(task, hooks.directory);
  const input = await loadInput(inputPath);
  const data = await bindJobData(task, input, hooks.directory);
  try {
    const costTable = await readCostTable(join(hooks.directory, task.costTablePath));
    const steps = scheduleRecipe(task.recipe);
    const progress = new JobProgress(steps);
    const context = evaluationContext(task, hooks, data, progress);
    const trials = await openTrials(task, hooks.directory);
    const checkpoints = new Checkpoints(hooks.directory, hooks.emit, task.snapshotSeconds);
    const state = await startingState({ task, hooks, checkpoints, inputPath, progress }, context, input);
    for (const [index, step] of steps.entries()) {
      if (index < state.done.length) continue;
      const spool = new TensorSpool(join(hooks.directory, 'spool.bin'));
      const job = { task, hooks, data, costTable, checkpoint: checkpoints.ofStep(), input, spool, trials, progress };
      const { report, artifacts } = await oneStep(job, state.model, { index, step });
      state.done.push(report);
      for (const artifact of artifacts) state.sidecars.set(artifact.name, artifact);
      const sidecars = [...state.sidecars.values()];
      const baseline = state.baseline === undefined ? null : baselineToJson(state.baseline);
      const saved = { steps: state.done, baseline, sidecars };
      state.model = await checkpoints.afterStep(state.model, saved);
      // The model has been written and read again: nothing points into the spool any longer.
      spool.remove();
    }
    const { baseline } = state;
    const job = { task, hooks, data, costTable, input, inputPath, context, ...state };
    return baseline === undefined ? await finishTrial(job) : await finish({ ...job, baseline });
  } catch (error) {
    if (!(error instanceof TrialsWanted)) throw error;
    await writeFile(join(hooks.directory, WANTED_FILE), JSON.stringify(error.log));
    hooks.emit({ type: 'trials', path: WANTED_FILE });
    return undefined;
  } finally {
    await data.close();
  }
}

/** `model` is what the steps done so far made of the input. */
interface State {
  model: Model;
  readonly done: StepReport[];
  /** Absent for a trial that is measured alone. */
  readonly baseline: BaselineEvaluation | undefined;
  /** Files that the steps handed out, by name. */
  readonly sidecars: Map<string, PassArtifact>;
}

/** The uploaded model's file, or that of a fresh network: the same seed gives the same one in every attempt. */
async function inputModelPath(task: JobTask, directory: string): Promise<string> {
  if (task.modelPath !== undefined) return join(directory, task.modelPath);
  if (typeof task.model === 'string') throw new CompressionError('INTERNAL', `model ${task.model} was not fetched`);
  const folder = join(directory, 'network');
  await mkdir(folder);
  const path = join(folder, 'model.onnx');
  await writeModel(buildArchitecture(task.model, task.seed), path);
  return path;
}

async function openTrials(task: JobTask, directory: string): Promise<TrialBoard> {
  const log =
    task.trialsPath === undefined
      ? { version: 1 as const, entries: [] }
      : TrialLog.parse(JSON.parse(await readFile(join(directory, task.trialsPath), 'utf8')));
  return new TrialBoard(log, { directory, concluding: task.concluding ?? false });
}

async function readCostTable(path: string): Promise<KernelCostTable> {
  return KernelCostTableSchema.parse(JSON.parse(await readFile(path, 'utf8')));
}

function evaluationContext(task: JobTask, hooks: JobHooks, data: JobData, progress: JobProgress): EvaluationContext {
  return {
    runtime: hooks.runtime,
    threads: task.threads,
    seed: task.seed,
    folder: hooks.directory,
    latencyBudgetMs: LATENCY_BUDGET_MS,
    ...(task.target.latencyBatches === undefined ? {} : { latencyBatches: task.target.latencyBatches }),
    signal: hooks.signal,
    ...(data.feeds.evaluation === undefined ? {} : { data: data.feeds.evaluation }),
    ...(data.standIn === undefined ? {} : { generated: data.standIn }),
    ...(task.data.evaluation?.metric === undefined ? {} : { metric: task.data.evaluation.metric }),
    ...(data.classNames === undefined ? {} : { classNames: data.classNames }),
    progress: (fraction, message) =>
      hooks.emit({ type: 'progress', step: null, progress: progress.inResult(fraction), message }),
  };
}

/** The checkpoint of an earlier attempt, or the input model with its baseline measured. */
async function startingState(
  job: { task: JobTask; hooks: JobHooks; checkpoints: Checkpoints; inputPath: string; progress: JobProgress },
  context: EvaluationContext,
  input: Model,
): Promise<State> {
  const { task, hooks, checkpoints, inputPath, progress } = job;
  if (task.resumePath !== undefined) {
    const { model, state } = await checkpoints.resume(task.resumePath);
    const message = `resuming after ${state.steps.length} steps`;
    hooks.emit({ type: 'log', level: 'info', message });
    hooks.emit({ type: 'progress', step: null, progress: progress.inStep(state.steps.length, 0), message });
    const sidecars = new Map((state.sidecars ?? []).map((sidecar) => [sidecar.name, sidecar]));
    const baseline = state.baseline === null ? undefined : baselineFromJson(state.baseline);
    return { model, done: [...state.steps], baseline, sidecars };
  }
  if (task.trial?.measure === 'light')
    return { model: await loadInput(inputPath), done: [], baseline: undefined, sidecars: new Map() };
  hooks.emit({ type: 'progress', step: null, progress: 0, message: 'measuring the input model' });
  const baseline = await evaluateBaseline(context, { model: input, path: inputPath });
  // Its own copy: passes change the model they are given, the input is needed for the report.
  return { model: await loadInput(inputPath), done: [], baseline, sidecars: new Map() };
}
