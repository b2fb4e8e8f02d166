import { createHash } from 'node:crypto';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { baselineFromJson, baselineToJson, evaluate, evaluateBaseline } from '../src/evaluation/evaluate.ts';
import type { BaselineEvaluation } from '../src/evaluation/evaluate.ts';
import { buildReport, summaryOf } from '../src/evaluation/build-report.ts';
import { describeEnvironment } from '../src/evaluation/environment.ts';
import type { EvaluationContext } from '../src/evaluation/evaluation-context.ts';
import { renderHtml } from '../src/evaluation/html/render-html.ts';
import { CompressionError } from '../src/errors.ts';
import { loadModel } from '../src/onnx/codec/load.ts';
import { TensorSpool } from '../src/onnx/codec/tensor-spool.ts';
import { writeModel } from '../src/onnx/codec/write.ts';
import type { Model } from '../src/onnx/model.ts';
import { repairModel } from '../src/onnx/verify/repair-model.ts';
import { verifyModel } from '../src/onnx/verify/verify-model.ts';
import type { ScheduledStep } from '../src/passes/implicit-steps.ts';
import { runStep, scheduleRecipe } from '../src/passes/pass-manager.ts';
import type { PassArtifact, PassContext } from '../src/passes/pass.ts';
import { KernelCostTableSchema, type KernelCostTable } from '../src/passes/cost/kernel-cost-table.ts';
import type { Runtime } from '../src/runtime/session.ts';
import { VERSION } from '../src/version.ts';
import { buildArchitecture } from '../src/zoo/build-architecture.ts';
import type { ArtifactEntry } from '../src/schemas/job.ts';
import type { StepReport } from '../src/schemas/report.ts';
import { Checkpoints } from './checkpoint.ts';
import { bindJobData, describeRoles, type JobData } from './job-data.ts';
import type { ChildMessage, JobTask } from './protocol.ts';
import { StepError } from './step-error.ts';

export interface JobHooks {
  readonly runtime: Runtime;
  /** Private folder: inputs lie in it, outputs and checkpoints are written into it. */
  readonly directory: string;
  readonly emit: (message: ChildMessage) => void;
  readonly signal: AbortSignal;
}

type JobResult = Omit<Extract<ChildMessage, { type: 'result' }>, 'type' | 'computeMs'>;

const OUTPUT_FOLDER = 'output';
const LATENCY_BUDGET_MS = 2000;
/** Shares of the progress bar. */
const BASELINE_SHARE = 0.2;
const STEPS_SHARE = 0.5;

/**
 * The use case: baseline, steps, evaluation, report. A plain function; the job child calls it, and so may anything else
 * that has a Runtime and a folder.
 *
 * @returns what was made, as files under `directory`
 * @throws CompressionError with the code that the job ends with
 */
export async function runJob(task: JobTask, hooks: JobHooks): Promise<JobResult> {
  const inputPath = await inputModelPath(task, hooks.directory);
  const input = await loadInput(inputPath);
  const data = await bindJobData(task, input, hooks.directory);
  try {
    const costTable = await readCostTable(join(hooks.directory, task.costTablePath));
    const context = evaluationContext(task, hooks, data);
    const steps = scheduleRecipe(task.recipe);
    const checkpoints = new Checkpoints(hooks.directory, hooks.emit, task.snapshotSeconds);
    const state = await startingState({ task, hooks, checkpoints, inputPath }, context, input);
    for (const [index, step] of steps.entries()) {
      if (index < state.done.length) continue;
      const spool = new TensorSpool(join(hooks.directory, 'spool.bin'));
      const job = { task, hooks, data, costTable, checkpoints, input, spool };
      const { report, artifacts } = await oneStep(job, state.model, { index, step, of: steps.length });
      state.done.push(report);
      for (const artifact of artifacts) state.sidecars.set(artifact.name, artifact);
      const sidecars = [...state.sidecars.values()];
      const saved = { steps: state.done, baseline: baselineToJson(state.baseline), sidecars };
      state.model = await checkpoints.afterStep(state.model, saved);
      // The model has been written and read again: nothing points into the spool any longer.
      spool.remove();
    }
    return await finish({ task, hooks, data, costTable, input, inputPath, context, ...state });
  } finally {
    await data.close();
  }
}

/** `model` is what the steps done so far made of the input. */
interface State {
  model: Model;
  readonly done: StepReport[];
  readonly baseline: BaselineEvaluation;
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

async function loadInput(path: string): Promise<Model> {
  const model = await loadModel(path);
  repairModel(model);
  verifyModel(model);
  return model;
}

/** A further model that a step names, fetched ahead. */
async function openReferenced(task: JobTask, id: string, directory: string): Promise<Model> {
  const path = task.models?.[id];
  if (path === undefined) throw new CompressionError('INTERNAL', `model ${id} was not fetched`);
  return loadInput(join(directory, path));
}

async function readCostTable(path: string): Promise<KernelCostTable> {
  return KernelCostTableSchema.parse(JSON.parse(await readFile(path, 'utf8')));
}

function evaluationContext(task: JobTask, hooks: JobHooks, data: JobData): EvaluationContext {
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
    progress: (fraction, message) => {
      const done = BASELINE_SHARE + STEPS_SHARE + (1 - BASELINE_SHARE - STEPS_SHARE) * fraction;
      hooks.emit({ type: 'progress', step: null, progress: Math.min(done, 1), message });
    },
  };
}

/** The checkpoint of an earlier attempt, or the input model with its baseline measured. */
async function startingState(
  job: { task: JobTask; hooks: JobHooks; checkpoints: Checkpoints; inputPath: string },
  context: EvaluationContext,
  input: Model,
): Promise<State> {
  const { task, hooks, checkpoints, inputPath } = job;
  if (task.resumePath !== undefined) {
    const { model, state } = await checkpoints.resume(task.resumePath);
    const message = `resuming after ${state.steps.length} steps`;
    hooks.emit({ type: 'log', level: 'info', message });
    hooks.emit({ type: 'progress', step: null, progress: BASELINE_SHARE, message });
    const sidecars = new Map((state.sidecars ?? []).map((sidecar) => [sidecar.name, sidecar]));
    return { model, done: [...state.steps], baseline: baselineFromJson(state.baseline), sidecars };
  }
  hooks.emit({ type: 'progress', step: null, progress: 0, message: 'measuring the input model' });
  const baseline = await evaluateBaseline(context, { model: input, path: inputPath });
  // Its own copy: passes change the model they are given, the input is needed for the report.
  return { model: await loadInput(inputPath), done: [], baseline, sidecars: new Map() };
}

async function oneStep(
  job: {
    task: JobTask;
    hooks: JobHooks;
    data: JobData;
    costTable: KernelCostTable;
    checkpoints: Checkpoints;
    input: Model;
    spool: TensorSpool;
  },
  model: Model,
  place: { index: number; step: ScheduledStep; of: number },
): Promise<{ report: StepReport; artifacts: readonly PassArtifact[] }> {
  const { task, hooks, data, costTable } = job;
  const { index, step } = place;
  const started = performance.now();
  const progress = (fraction: number, message?: string): void => {
    const done = BASELINE_SHARE + (STEPS_SHARE * (index + Math.min(Math.max(fraction, 0), 1))) / place.of;
    const text = message === undefined ? {} : { message: message.slice(0, 500) };
    hooks.emit({ type: 'progress', step: step.recipeIndex, progress: done, ...text });
  };
  progress(0, step.pass.name);
  const context: PassContext = {
    runtime: hooks.runtime,
    threads: task.threads,
    seed: task.seed,
    targetCpu: task.target.cpu,
    ...(task.constraints.maxAccuracyDrop === undefined ? {} : { maxAccuracyDrop: task.constraints.maxAccuracyDrop }),
    data: data.feeds,
    input: job.input,
    openModel: (id) => openReferenced(task, id, hooks.directory),
    ...(data.openTraining === undefined ? {} : { openTraining: data.openTraining }),
    costTable,
    cpuFlags: data.cpuFlags,
    checkpoint: job.checkpoints.ofStep(),
    spool: job.spool,
    signal: hooks.signal,
    progress,
    log: (level, message, fields) =>
      hooks.emit({ type: 'log', level, message: message.slice(0, 4000), ...(fields === undefined ? {} : { fields }) }),
  };
  try {
    const outcome = await runStep(model, step, context);
    const seconds = (performance.now() - started) / 1000;
    const { changes, skipped } = outcome;
    hooks.emit({
      type: 'step',
      index: step.recipeIndex,
      pass: step.pass.name,
      seconds,
      changes,
      skipped: skipped.length,
    });
    for (const warning of outcome.warnings) hooks.emit({ type: 'log', level: 'warn', message: warning.slice(0, 4000) });
    const { pass, options, warnings, training, details, artifacts = [] } = outcome;
    const report: StepReport = {
      index,
      pass,
      options,
      seconds,
      changed: changes,
      skipped: [...skipped],
      warnings: [...warnings],
      ...(training === undefined ? {} : { training: [...training] }),
      details,
    };
    return { report, artifacts };
  } catch (error) {
    throw StepError.of(error, step.recipeIndex);
  }
}

async function finish(
  job: State & {
    task: JobTask;
    hooks: JobHooks;
    data: JobData;
    costTable: KernelCostTable;
    input: Model;
    inputPath: string;
    context: EvaluationContext;
  },
): Promise<JobResult> {
  const { task, hooks, data } = job;
  await mkdir(join(hooks.directory, OUTPUT_FOLDER), { recursive: true });
  const modelPath = join(OUTPUT_FOLDER, 'model.onnx');
  const written = await writeModel(job.model, join(hooks.directory, modelPath));
  const models = written.files.map((file, index) => {
    const name = file.path.slice(file.path.lastIndexOf('/') + 1);
    const kind = index === 0 ? ('model' as const) : ('external-data' as const);
    return {
      name,
      kind,
      bytes: file.bytes,
      sha256: file.sha256,
      contentType: 'application/octet-stream',
      path: join(OUTPUT_FOLDER, name),
    };
  });
  const sidecars: (ArtifactEntry & { path: string })[] = [];
  for (const { name, contentType, bytes } of job.sidecars.values()) {
    sidecars.push(await writeArtifact(hooks.directory, { name, kind: 'sidecar', contentType, bytes }));
  }
  const result = await loadModel(join(hooks.directory, modelPath));
  const evaluation = await evaluate(
    job.context,
    { model: job.input, path: job.inputPath, earlier: job.baseline },
    { model: result, path: join(hooks.directory, modelPath) },
  );
  const report = buildReport({
    job: task.jobId,
    createdAt: new Date(),
    model: job.input,
    ...(typeof task.model === 'string' ? { modelId: task.model } : {}),
    recipe: { version: 1, steps: job.done.map(({ pass, options }) => ({ ...options, pass })) },
    target: task.target,
    constraints: task.constraints,
    environment: describeEnvironment({
      tersor: VERSION,
      runtime: hooks.runtime.version,
      threads: task.threads,
      seed: task.seed,
      costTable: job.costTable.hash,
    }),
    evaluation,
    steps: job.done,
    data: describeRoles(task, data),
    artifacts: [...models, ...sidecars].map(({ path: _path, ...entry }) => entry),
  });
  const json = await writeArtifact(hooks.directory, {
    name: 'report.json',
    kind: 'report-json',
    contentType: 'application/json',
    bytes: Buffer.from(JSON.stringify(report), 'utf8'),
  });
  const html = await writeArtifact(hooks.directory, {
    name: 'report.html',
    kind: 'report-html',
    contentType: 'text/html; charset=utf-8',
    bytes: Buffer.from(renderHtml(report), 'utf8'),
  });
  return { artifacts: [...models, ...sidecars, json, html], summary: summaryOf(report), verdict: report.verdict };
}

async function writeArtifact(
  directory: string,
  file: { name: string; kind: ArtifactEntry['kind']; contentType: string; bytes: Uint8Array },
): Promise<ArtifactEntry & { path: string }> {
  const path = join(OUTPUT_FOLDER, file.name);
  await writeFile(join(directory, path), file.bytes);
  const { size } = await stat(join(directory, path));
  const sha256 = createHash('sha256').update(file.bytes).digest('hex');
  return { name: file.name, kind: file.kind, bytes: size, sha256, contentType: file.contentType, path };
}
