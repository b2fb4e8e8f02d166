import { createHash } from 'node:crypto';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildReport, summaryOf } from '../src/evaluation/build-report.ts';
import { describeEnvironment } from '../src/evaluation/environment.ts';
import { evaluate, evaluateBaseline, type BaselineEvaluation } from '../src/evaluation/evaluate.ts';
import type { EvaluationContext } from '../src/evaluation/evaluation-context.ts';
import { renderHtml } from '../src/evaluation/html/render-html.ts';
import { loadModel } from '../src/onnx/codec/load.ts';
import { writeModel } from '../src/onnx/codec/write.ts';
import type { Model } from '../src/onnx/model.ts';
import type { KernelCostTable } from '../src/passes/cost/kernel-cost-table.ts';
import { estimateFloatNs } from '../src/passes/cost/float-latency.ts';
import type { PassArtifact } from '../src/passes/pass.ts';
import type { ArtifactEntry } from '../src/schemas/job.ts';
import type { Report, StepReport } from '../src/schemas/report.ts';
import { TRIAL_RESULT, type TrialResult } from '../src/schemas/trial.ts';
import { VERSION } from '../src/version.ts';
import { describeRoles, type JobData } from './job-data.ts';
import type { JobTask } from './protocol.ts';
import type { JobHooks, JobResult } from './run-job.ts';

const OUTPUT_FOLDER = 'output';

/** A job whose steps are done. */
export interface DoneJob {
  readonly task: JobTask;
  readonly hooks: JobHooks;
  readonly data: JobData;
  readonly costTable: KernelCostTable;
  readonly input: Model;
  readonly inputPath: string;
  readonly context: EvaluationContext;
  readonly model: Model;
  readonly done: readonly StepReport[];
  readonly sidecars: ReadonlyMap<string, PassArtifact>;
}
type Artifact = ArtifactEntry & { readonly path: string };

/** Writes the model, compares it with the input, and makes the report. */
export async function finish(job: DoneJob & { readonly baseline: BaselineEvaluation }): Promise<JobResult> {
  const { task, hooks, data } = job;
  const { models, modelPath } = await writeResult(job);
  const sidecars: Artifact[] = [];
  for (const { name, contentType, bytes } of job.sidecars.values()) {
    sidecars.push(await writeArtifact(hooks.directory, { name, kind: 'sidecar', contentType, bytes }));
  }
  const result = await loadModel(modelPath);
  const evaluation = await evaluate(
    job.context,
    { model: job.input, path: job.inputPath, earlier: job.baseline },
    { model: result, path: modelPath },
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
  const artifacts = [...models, ...sidecars, json, html];
  if (task.trial !== undefined) artifacts.push(await writeTrial(hooks.directory, trialOf(report)));
  return { artifacts, summary: summaryOf(report), verdict: report.verdict };
}

/** A trial that is measured alone: size, cost and accuracy of its result, nothing of its input, no timing. */
export async function finishTrial(job: DoneJob): Promise<JobResult> {
  const { models, modelPath } = await writeResult(job);
  const model = await loadModel(modelPath);
  const { measurement } = await evaluateBaseline(job.context, { model, path: modelPath });
  const { bytes, parameters, macs, bops, accuracy } = measurement;
  const estimate = estimateFloatNs(job.costTable, model);
  const result: TrialResult = {
    status: 'succeeded',
    bytes,
    ...(parameters === undefined ? {} : { parameters }),
    ...(macs === undefined ? {} : { macs }),
    ...(bops === undefined ? {} : { bops }),
    ...(accuracy === undefined ? {} : { metric: accuracy.metric, accuracy: accuracy.value }),
    ...(estimate === undefined ? {} : { latencyEstimateMs: estimate / 1e6 }),
  };
  const none = { before: null, after: null };
  const summary = { bytes: { before: null, after: bytes }, accuracy: { before: null, after: accuracy?.value ?? null } };
  return {
    artifacts: [...models, await writeTrial(job.hooks.directory, result)],
    summary: { ...summary, latencyP50Ms: none },
    verdict: 'none',
  };
}

/** What a search goes by, of a trial that was measured like any job. */
function trialOf({ baseline, result, verdict }: Report): TrialResult {
  const { bytes, parameters, macs, bops, accuracy, latency } = result;
  const before = baseline.latency?.p50Ms;
  return {
    status: 'succeeded',
    bytes,
    bytesBefore: baseline.bytes,
    ...(parameters === undefined ? {} : { parameters }),
    ...(macs === undefined ? {} : { macs }),
    ...(bops === undefined ? {} : { bops }),
    ...(accuracy === undefined ? {} : { metric: accuracy.metric, accuracy: accuracy.value }),
    ...(baseline.accuracy === undefined ? {} : { accuracyBefore: baseline.accuracy.value }),
    ...(latency === undefined ? {} : { latencyP50Ms: latency.p50Ms }),
    ...(before === undefined ? {} : { latencyBeforeP50Ms: before }),
    ...(before === undefined || latency === undefined ? {} : { speedup: before / latency.p50Ms }),
    verdict,
  };
}

function writeTrial(directory: string, result: TrialResult): Promise<Artifact> {
  const bytes = Buffer.from(JSON.stringify(result), 'utf8');
  return writeArtifact(directory, { name: TRIAL_RESULT, kind: 'sidecar', contentType: 'application/json', bytes });
}

/** The model as the client gets it, with its external data. */
async function writeResult({ hooks, model }: DoneJob): Promise<{ models: Artifact[]; modelPath: string }> {
  await mkdir(join(hooks.directory, OUTPUT_FOLDER), { recursive: true });
  const modelPath = join(OUTPUT_FOLDER, 'model.onnx');
  const written = await writeModel(model, join(hooks.directory, modelPath));
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
  return { models, modelPath: join(hooks.directory, modelPath) };
}

async function writeArtifact(
  directory: string,
  file: { name: string; kind: ArtifactEntry['kind']; contentType: string; bytes: Uint8Array },
): Promise<Artifact> {
  const path = join(OUTPUT_FOLDER, file.name);
  await writeFile(join(directory, path), file.bytes);
  const { size } = await stat(join(directory, path));
  const sha256 = createHash('sha256').update(file.bytes).digest('hex');
  return { name: file.name, kind: file.kind, bytes: size, sha256, contentType: file.contentType, path };
}
