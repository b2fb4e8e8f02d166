import { join } from 'node:path';
import { CompressionError } from '../src/errors.ts';
import { loadModel } from '../src/onnx/codec/load.ts';
import type { TensorSpool } from '../src/onnx/codec/tensor-spool.ts';
import type { Model } from '../src/onnx/model.ts';
import { repairModel } from '../src/onnx/verify/repair-model.ts';
import { verifyModel } from '../src/onnx/verify/verify-model.ts';
import type { KernelCostTable } from '../src/passes/cost/kernel-cost-table.ts';
import type { ScheduledStep } from '../src/passes/implicit-steps.ts';
import { runStep } from '../src/passes/pass-manager.ts';
import type { PassArtifact, PassContext, StepCheckpoint } from '../src/passes/pass.ts';
import type { TrialRunner } from '../src/passes/trials.ts';
import type { StepReport } from '../src/schemas/report.ts';
import { diagnoseStep, modelToCompare } from './diagnose-step.ts';
import type { JobData } from './job-data.ts';
import type { JobProgress } from './job-progress.ts';
import type { JobTask } from './protocol.ts';
import type { JobHooks } from './run-job.ts';
import { StepError } from './step-error.ts';
import { TrialsWanted } from './trial-board.ts';

export async function loadInput(path: string): Promise<Model> {
  const model = await loadModel(path);
  repairModel(model);
  verifyModel(model);
  return model;
}

/**
 * One step of a recipe on the model, which it changes, with its report.
 *
 * @throws CompressionError that knows the step
 */
export async function oneStep(
  job: {
    task: JobTask;
    hooks: JobHooks;
    data: JobData;
    costTable: KernelCostTable;
    checkpoint: StepCheckpoint;
    input: Model;
    spool: TensorSpool;
    trials: TrialRunner;
    progress: JobProgress;
  },
  model: Model,
  place: { index: number; step: ScheduledStep },
): Promise<{ report: StepReport; artifacts: readonly PassArtifact[] }> {
  const { task, hooks, data, costTable } = job;
  const { index, step } = place;
  const started = performance.now();
  const progress = (fraction: number, message?: string): void => {
    const done = job.progress.inStep(index, fraction);
    const text = message === undefined ? {} : { message: message.slice(0, 500) };
    hooks.emit({ type: 'progress', step: step.recipeIndex, progress: done, ...text });
  };
  progress(0, step.pass.name);
  const context: PassContext = {
    runtime: hooks.runtime,
    threads: task.threads,
    seed: task.seed,
    targetCpu: task.target.cpu,
    constraints: task.constraints,
    stepsAhead: step.stepsAhead,
    data: data.feeds,
    input: job.input,
    openModel: (id) => openReferenced(task, id, hooks.directory),
    ...(data.openTraining === undefined ? {} : { openTraining: data.openTraining }),
    int8Ahead: step.int8Ahead,
    costTable,
    cpuFlags: data.cpuFlags,
    checkpoint: job.checkpoint,
    spool: job.spool,
    trials: job.trials,
    modelField: task.model,
    signal: hooks.signal,
    progress,
    log: (level, message, fields) =>
      hooks.emit({ type: 'log', level, message: message.slice(0, 4000), ...(fields === undefined ? {} : { fields }) }),
  };
  try {
    const before = task.trial === undefined ? modelToCompare(model, step.pass.name) : undefined;
    const outcome = await runStep(model, step, context);
    const seconds = (performance.now() - started) / 1000;
    const diagnosis = before && (await diagnoseStep(outcome, { before, after: model }, data, context));
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
      ...(diagnosis === undefined ? {} : { diagnosis }),
      details,
    };
    return { report, artifacts };
  } catch (error) {
    if (error instanceof TrialsWanted) throw error;
    throw StepError.of(error, step.recipeIndex);
  }
}

/** A further model that a step names, fetched ahead. */
async function openReferenced(task: JobTask, id: string, directory: string): Promise<Model> {
  const path = task.models?.[id];
  if (path === undefined) throw new CompressionError('INTERNAL', `model ${id} was not fetched`);
  return loadInput(join(directory, path));
}
