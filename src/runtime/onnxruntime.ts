import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { CompressionError, messageOf } from '../errors.ts';
import { encodeModel } from '../onnx/codec/encode.ts';
import { writeModel } from '../onnx/codec/write.ts';
import { Model } from '../onnx/model.ts';
import { withSubgraphs } from '../onnx/graph.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import type { ValueInfo } from '../onnx/value-type.ts';
import { fromOrt, toOrt, typeFromOrt } from './ort-tensor.ts';
import type { Feeds, Results, Runtime, Session, SessionOptions, SessionValue } from './session.ts';

/** Models whose tensors take more than this are written to disk and loaded by path: no second copy in memory. */
const LOAD_FROM_MEMORY_BYTES = 256 * 2 ** 20;

/**
 * ONNX Runtime's CPU provider as a `Runtime`. Calls block the thread and native code can hang or abort, so this is
 * loaded in the job child only.
 *
 * @param workingDirectory - private folder for models that are too large to load from memory
 */
export function createRuntime(workingDirectory: string): Runtime {
  return {
    version: `onnxruntime-node ${packageVersion()}`,
    async createSession(source, options) {
      if (!(source instanceof Model)) return load(source.path, options);
      refuseSubByteInterface(source);
      if (!needsFile(source)) return load(encodeModel(source), options);
      const folder = join(workingDirectory, `session-${randomUUID()}`);
      mkdirSync(folder, { recursive: true });
      try {
        const path = join(folder, 'model.onnx');
        await writeModel(source, path, { externalData: { location: 'model.onnx.data', thresholdBytes: 1024 } });
        return await load(path, options);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
  };
}

function packageVersion(): string {
  const manifest: unknown = createRequire(import.meta.url)('onnxruntime-node/package.json');
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}

function needsFile(model: Model): boolean {
  let bytes = 0;
  for (const graph of withSubgraphs(model.graph)) {
    for (const tensor of graph.initializers.values()) {
      if (tensor.storage.kind === 'external') return true;
      bytes += tensor.byteLength;
    }
  }
  return bytes > LOAD_FROM_MEMORY_BYTES;
}

/** A 4- or 2-bit graph input or output aborts the process inside the Node binding (seen with 1.30), so it never gets there. */
function refuseSubByteInterface(model: Model): void {
  const refuse = (info: ValueInfo): void => {
    if (info.type?.kind === 'tensor' && /^(u?int[42]|float4e2m1)$/.test(info.type.elementType)) {
      throw new CompressionError(
        'MODEL_LOAD',
        `graph input or output "${info.name}" is ${info.type.elementType}, which cannot cross into JavaScript; insert a Cast`,
      );
    }
  };
  model.graph.inputs.forEach(refuse);
  model.graph.outputs.forEach(refuse);
}

async function load(source: string | Uint8Array, options: SessionOptions): Promise<Session> {
  const sessionOptions: ort.InferenceSession.SessionOptions = {
    executionProviders: ['cpu'],
    executionMode: 'sequential',
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: options.optimization ?? 'all',
    logSeverityLevel: 3,
    enableMemPattern: options.memoryPattern ?? true,
    extra: { session: { intra_op: { allow_spinning: options.spinning === true ? '1' : '0' } } },
    ...(options.freeDimensions === undefined ? {} : { freeDimensionOverrides: options.freeDimensions }),
    ...(options.optimizedModelPath === undefined ? {} : { optimizedModelFilePath: options.optimizedModelPath }),
    ...(options.profilePrefix === undefined ? {} : { enableProfiling: true, profileFilePrefix: options.profilePrefix }),
  };
  try {
    const session =
      typeof source === 'string'
        ? await ort.InferenceSession.create(source, sessionOptions)
        : await ort.InferenceSession.create(source, sessionOptions);
    return wrap(session);
  } catch (error) {
    throw runtimeError('MODEL_LOAD', 'ONNX Runtime cannot load the model', error);
  }
}

function wrap(session: ort.InferenceSession): Session {
  const outputs = tensorValues(session.outputMetadata);
  const outputNames = outputs.map((output) => output.name);
  const run = async (feeds: Feeds, names: readonly string[], targets: Feeds): Promise<Results> => {
    const fetches: Record<string, ort.Tensor | null> = {};
    for (const name of names) fetches[name] = null;
    for (const [name, array] of Object.entries(targets)) fetches[name] = toOrt(array, name);
    try {
      const results = await session.run(ortTensors(feeds), fetches);
      const arrays = new Map<string, NdArray>();
      for (const name of names) {
        const value = results[name];
        if (value !== undefined) arrays.set(name, fromOrt(value));
      }
      return arrays;
    } catch (error) {
      throw runtimeError('MODEL_RUN', 'ONNX Runtime cannot run the model', error);
    }
  };
  return {
    inputs: tensorValues(session.inputMetadata),
    outputs,
    run: (feeds, names, targets) => run(feeds, names ?? (targets === undefined ? outputNames : []), targets ?? {}),
    endProfiling: () => session.endProfiling(),
    release: () => session.release(),
  };
}

function ortTensors(arrays: Feeds): Record<string, ort.Tensor> {
  return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, toOrt(array, name)]));
}

/** Sequences and maps cannot cross into arrays; such outputs are left out, and are not fetched by default. */
function tensorValues(metadata: readonly ort.InferenceSession.ValueMetadata[]): SessionValue[] {
  const values: SessionValue[] = [];
  for (const value of metadata) {
    if (!value.isTensor) continue;
    values.push({
      name: value.name,
      type: typeFromOrt(value.type),
      shape: value.shape.map((dim) => (typeof dim === 'number' ? dim : dim === '' ? null : dim)),
    });
  }
  return values;
}

function runtimeError(code: 'MODEL_LOAD' | 'MODEL_RUN', what: string, error: unknown): CompressionError {
  if (error instanceof CompressionError) return error;
  const message = messageOf(error);
  if (/bad.?alloc|failed to allocate|allocation failed|out of memory|insufficient memory/i.test(message)) {
    return new CompressionError('LIMIT_MEMORY', `${what} within the job's memory limit: ${message}`, { cause: error });
  }
  return new CompressionError(code, `${what}: ${message}`, { cause: error });
}
