import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { CompressionError } from '../src/errors.ts';
import { loadModel } from '../src/onnx/codec/load.ts';
import { writeModel } from '../src/onnx/codec/write.ts';
import type { Model } from '../src/onnx/model.ts';
import type { PassArtifact, StepCheckpoint } from '../src/passes/pass.ts';
import { StepReport } from '../src/schemas/report.ts';
import type { ChildMessage } from './protocol.ts';

const STATE_FILE = 'state.json';
const MODEL_FILE = 'model.onnx';
/** What the step at work saved of itself; absent in a checkpoint between steps. */
const STEP_FILE = 'step.bin';

/** What a later attempt needs besides the model: the steps so far and the baseline's measurements. */
const State = z.object({
  version: z.literal(1),
  steps: z.array(StepReport),
  baseline: z.unknown(),
  /** Files that the steps handed out; each stands beside under `sidecar-<index>`. */
  sidecars: z.array(z.object({ name: z.string(), contentType: z.string() })).default([]),
});

export interface CheckpointState {
  readonly steps: readonly StepReport[];
  /** What the evaluation made of the input model, as plain JSON. */
  readonly baseline: unknown;
  /** Files that the steps handed out beside the model. */
  readonly sidecars?: readonly PassArtifact[];
}

/**
 * The child's side of checkpoints: folders under `checkpoints/`, each written completely before the parent hears of it
 * and never changed afterwards. One after each step; between, as often as a long step saves its own state: the parent
 * removes the folders of these once they are in the store, so that days of training do not fill the disk.
 */
export class Checkpoints {
  readonly #directory: string;
  readonly #emit: (message: ChildMessage) => void;
  readonly #everySeconds: number | undefined;
  #sequence = 0;
  /** Newest checkpoint between steps: folder and files. */
  #latest: { readonly folder: string; readonly files: readonly string[]; readonly steps: number } | undefined;
  #stepState: Uint8Array | undefined;

  /** @param everySeconds - how often a step should save its state; absent: as it sees fit */
  constructor(directory: string, emit: (message: ChildMessage) => void, everySeconds?: number) {
    this.#directory = directory;
    this.#emit = emit;
    this.#everySeconds = everySeconds;
  }

  /** Takes up what an earlier attempt left in `<directory>/<path>`. */
  async resume(path: string): Promise<{ readonly model: Model; readonly state: CheckpointState }> {
    const folder = join(this.#directory, path);
    const { model, state } = await read(folder);
    const files = (await readdir(folder)).sort();
    if (files.includes(STEP_FILE)) this.#stepState = await readFile(join(folder, STEP_FILE));
    this.#latest = { folder, files: files.filter((name) => name !== STEP_FILE), steps: state.steps.length };
    return { model, state };
  }

  /** @returns the model as a resumed attempt would read it: the same bytes come of both */
  async afterStep(model: Model, state: CheckpointState): Promise<Model> {
    const { path, folder } = await this.#newFolder();
    const written = await writeModel(model, join(folder, MODEL_FILE));
    const { sidecars = [], ...rest } = state;
    const listed = sidecars.map(({ name, contentType }) => ({ name, contentType }));
    await writeFile(join(folder, STATE_FILE), JSON.stringify({ version: 1, ...rest, sidecars: listed }));
    for (const [index, { bytes }] of sidecars.entries()) await writeFile(join(folder, sidecarFile(index)), bytes);
    const files = [
      STATE_FILE,
      ...written.files.map((file) => basename(file.path)),
      ...sidecars.map((_, index) => sidecarFile(index)),
    ];
    this.#latest = { folder, files, steps: state.steps.length };
    this.#stepState = undefined;
    const sequence = this.#sequence;
    this.#emit({
      type: 'checkpoint',
      path,
      files,
      steps: state.steps.length,
      sequence,
      withinStep: false,
      holdsResult: false,
    });
    return (await read(folder)).model;
  }

  /** For the step that runs now. */
  ofStep(): StepCheckpoint {
    return {
      ...(this.#everySeconds === undefined ? {} : { everySeconds: this.#everySeconds }),
      load: () => Promise.resolve(this.#stepState),
      save: async (bytes, holdsResult = false) => {
        const base = this.#latest;
        if (base === undefined)
          throw new CompressionError('INTERNAL', 'a step saved its state before the first checkpoint');
        const { path, folder } = await this.#newFolder();
        for (const name of base.files) await copyFile(join(base.folder, name), join(folder, name));
        await writeFile(join(folder, STEP_FILE), bytes);
        const files = [...base.files, STEP_FILE];
        const sequence = this.#sequence;
        this.#emit({ type: 'checkpoint', path, files, steps: base.steps, sequence, withinStep: true, holdsResult });
      },
    };
  }

  async #newFolder(): Promise<{ path: string; folder: string }> {
    this.#sequence += 1;
    const path = join('checkpoints', String(this.#sequence));
    const folder = join(this.#directory, path);
    await mkdir(folder, { recursive: true });
    return { path, folder };
  }
}

async function read(folder: string): Promise<{ model: Model; state: CheckpointState }> {
  const parsed = State.safeParse(JSON.parse(await readFile(join(folder, STATE_FILE), 'utf8')));
  if (!parsed.success) {
    throw new CompressionError(
      'RECIPE_VERSION',
      `the checkpoint was written by another version of the service: ${parsed.error.message}`,
    );
  }
  const sidecars: PassArtifact[] = [];
  for (const [index, sidecar] of parsed.data.sidecars.entries()) {
    sidecars.push({ ...sidecar, bytes: await readFile(join(folder, sidecarFile(index))) });
  }
  return { model: await loadModel(join(folder, MODEL_FILE)), state: { ...parsed.data, sidecars } };
}

function sidecarFile(index: number): string {
  return `sidecar-${index}`;
}
