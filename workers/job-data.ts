import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { bindFeeds, type BoundFeeds } from '../src/data/bind-feeds.ts';
import type { Dataset } from '../src/data/dataset.ts';
import { generatedFeeds } from '../src/data/generated-feeds.ts';
import { openDataset } from '../src/data/open-dataset.ts';
import { resizedRole } from '../src/data/training/bind-columns.ts';
import { openPrefetchedSource } from '../src/data/training/prefetch.ts';
import { openTrainingSource } from '../src/data/training/training-source.ts';
import { CompressionError } from '../src/errors.ts';
import { cpuFlags } from '../src/evaluation/environment.ts';
import { inferTypes } from '../src/onnx/inference/infer-types.ts';
import type { Model } from '../src/onnx/model.ts';
import type { DataRole, FeedSource, PassContext } from '../src/passes/pass.ts';
import type { Report } from '../src/schemas/report.ts';
import type { JobTask } from './protocol.ts';

/** The data of a job, bound to the model's inputs. */
export interface JobData {
  readonly feeds: Partial<Record<DataRole, BoundFeeds>>;
  /** Stands in where there is no evaluation data: the calibration data, else inputs made up from the model's types. */
  readonly standIn: FeedSource | undefined;
  readonly classNames: readonly string[] | undefined;
  readonly cpuFlags: ReadonlySet<string>;
  /** Present where the task has training data. */
  readonly openTraining: PassContext['openTraining'];
  close(): Promise<void>;
}

const ROLES = ['calibration', 'training', 'evaluation'] as const;
const GENERATED_SAMPLES = 8;

/** @throws CompressionError DATASET_* when a set cannot be read or does not fit the model */
export async function bindJobData(task: JobTask, model: Model, directory: string): Promise<JobData> {
  const open: Dataset[] = [];
  const close = async (): Promise<void> => {
    for (const dataset of open) await dataset.close();
  };
  try {
    const inputs = model.graph.inputs.filter((input) => !model.graph.initializers.has(input.name));
    const classes = classesOf(model);
    const feeds: Partial<Record<DataRole, BoundFeeds>> = {};
    let classNames: readonly string[] | undefined;
    let training: Dataset | undefined;
    for (const role of ROLES) {
      const field = task.data[role];
      if (field === undefined) continue;
      const dataset = await openDataset(join(directory, field.path));
      open.push(dataset);
      if (role === 'evaluation') classNames = dataset.info.classes;
      if (role === 'training') training = dataset;
      const given = { role, ...field, preprocess: field.preprocess ?? task.preprocess };
      const bound = role === 'training' && cutsToSize(task) ? resizedRole(given, inputs) : given;
      feeds[role] = bindFeeds(dataset, bound, inputs, classes === undefined ? {} : { classes });
    }
    const standIn = feeds.calibration ?? generated(inputs, task.seed);
    const openTraining = trainingOpener(task, training, inputs, directory);
    return { feeds, standIn, classNames, cpuFlags: readCpuFlags(), openTraining, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const Named = z.union([z.string(), z.object({ name: z.string() }).transform(({ name }) => name)]);
const Trains = z.object({ training: z.object({ augment: z.array(Named) }) });

/** True when every step that trains cuts images of the model's size out of those of the data set. */
function cutsToSize({ recipe }: JobTask): boolean {
  const trains = recipe.steps.flatMap((step) => Trains.safeParse(step).data?.training ?? []);
  return trains.length > 0 && trains.every(({ augment }) => augment.includes('random-resized-crop'));
}

/**
 * Training data is opened by the step that trains, with its batch size and augmentation: in a thread of its own where the steps
 * leave a core to it, else between them (on two cores and two threads, the thread of its own costs a step of ResNet-8 4 %). The
 * batches are the same.
 */
function trainingOpener(
  task: JobTask,
  dataset: Dataset | undefined,
  modelInputs: Model['graph']['inputs'],
  directory: string,
): PassContext['openTraining'] {
  const field = task.data.training;
  if (field === undefined || dataset === undefined) return undefined;
  const role = { role: 'training', ...field, preprocess: field.preprocess ?? task.preprocess } as const;
  return (given) => {
    const options = { ...given, scratchFolder: directory };
    if (availableParallelism() <= task.threads) return openTrainingSource(dataset, role, modelInputs, options);
    return openPrefetchedSource({ path: join(directory, field.path), role, modelInputs, options });
  };
}

/** What the roles gave, for the report. Some of it shows only while the data is read: ask at the end. */
export function describeRoles(task: JobTask, data: JobData): Report['data'] {
  const roles: Report['data'] = {};
  for (const role of ROLES) {
    const field = task.data[role];
    const feeds = data.feeds[role];
    if (field === undefined || feeds === undefined) continue;
    const { samples, nonFinite, warnings } = feeds;
    roles[role] = { dataset: field.dataset, samples, nonFiniteValues: nonFinite, warnings: [...warnings] };
  }
  return roles;
}

function generated(inputs: Model['graph']['inputs'], seed: number): FeedSource | undefined {
  try {
    return generatedFeeds(inputs, { seed, samples: GENERATED_SAMPLES });
  } catch (error) {
    // Inputs that cannot be made up (strings, sequences): the report says that nothing was measured on them.
    if (error instanceof CompressionError && error.code === 'MODEL_UNSUPPORTED') return undefined;
    throw error;
  }
}

/** Scores a sample of the first float output, where its shape tells. */
function classesOf(model: Model): number | undefined {
  const types = inferTypes(model);
  for (const output of model.graph.outputs) {
    const type = output.type ?? types.of(model.graph, output.name);
    if (type?.kind !== 'tensor' || type.elementType !== 'float' || type.shape?.length !== 2) continue;
    const classes = type.shape[1];
    if (typeof classes === 'number' && classes > 1) return classes;
  }
  return undefined;
}

function readCpuFlags(): ReadonlySet<string> {
  return new Set(process.platform === 'linux' ? cpuFlags(readFileSync('/proc/cpuinfo', 'latin1')) : []);
}
