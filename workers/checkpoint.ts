import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { CompressionError } from '../src/errors.ts';
import { loadModel } from '../src/onnx/codec/load.ts';
import { writeModel } from '../src/onnx/codec/write.ts';
import type { Model } from '../src/onnx/model.ts';
import { StepReport } from '../src/schemas/report.ts';

const STATE_FILE = 'state.json';
const MODEL_FILE = 'model.onnx';

/** What a later attempt needs besides the model: the steps so far and the baseline's measurements. */
const State = z.object({ version: z.literal(1), steps: z.array(StepReport), baseline: z.unknown() });

export interface Checkpoint {
  readonly steps: readonly StepReport[];
  /** What the evaluation made of the input model, as plain JSON. */
  readonly baseline: unknown;
}

/** Writes the state after `state.steps.length` steps into `<directory>/<path>`. */
export async function writeCheckpoint(
  directory: string,
  path: string,
  model: Model,
  state: Checkpoint,
): Promise<readonly string[]> {
  const folder = join(directory, path);
  await mkdir(folder, { recursive: true });
  const written = await writeModel(model, join(folder, MODEL_FILE));
  await writeFile(join(folder, STATE_FILE), JSON.stringify({ version: 1, ...state }));
  return [STATE_FILE, ...written.files.map((file) => file.path.slice(file.path.lastIndexOf('/') + 1))];
}

export async function readCheckpoint(directory: string, path: string): Promise<{ model: Model; state: Checkpoint }> {
  const folder = join(directory, path);
  const parsed = State.safeParse(JSON.parse(await readFile(join(folder, STATE_FILE), 'utf8')));
  if (!parsed.success) {
    throw new CompressionError(
      'RECIPE_VERSION',
      `the checkpoint was written by another version of the service: ${parsed.error.message}`,
    );
  }
  return { model: await loadModel(join(folder, MODEL_FILE)), state: parsed.data };
}
