import assert from 'node:assert/strict';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../src/onnx/model.ts';
import type { PassResult, StepCheckpoint } from '../../../src/passes/pass.ts';
import { searchArchitecture } from '../../../src/passes/search/architecture.ts';
import type { TrialRunner } from '../../../src/passes/trials.ts';
import { contextOf, jobModel } from './pictures.ts';

/** Keeps every state that a step saves; an attempt that goes on gets the newest. */
export class RecordingCheckpoint implements StepCheckpoint {
  /** Whenever it can. */
  readonly everySeconds = 0;
  readonly saves: Uint8Array[];
  /** That each of them holds a result. */
  holdResults = true;

  constructor(start?: Uint8Array) {
    this.saves = start === undefined ? [] : [start];
  }

  load(): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.saves.at(-1));
  }

  save(state: Uint8Array, holdsResult = false): Promise<void> {
    this.saves.push(Uint8Array.from(state));
    this.holdResults &&= holdsResult;
    return Promise.resolve();
  }
}

/**
 * An architecture search gives the bytes of an undisturbed run, whatever state it goes on from.
 *
 * @param placesOf - which of so many states
 */
export async function assertResumes(options: unknown, placesOf: (saves: number) => readonly number[]): Promise<void> {
  const undisturbed = jobModel();
  const checkpoint = new RecordingCheckpoint();
  await searchArchitecture.run(undisturbed, options, contextOf(checkpoint));
  const { saves } = checkpoint;
  const bytes = Buffer.from(encodeModel(undisturbed));
  assert.ok(saves.length > 20, `${saves.length} saves`);
  for (const place of placesOf(saves.length)) {
    const model = jobModel();
    await searchArchitecture.run(model, options, contextOf(new RecordingCheckpoint(saves[place])));
    assert.ok(bytes.equals(encodeModel(model)), `resumed from save ${place} of ${saves.length}`);
  }
}

/** The search has to conclude; it asks for no trials. */
const ENDING: TrialRunner = {
  concluding: true,
  run: () => Promise.reject(new Error('a trial was asked for')),
  models: () => Promise.reject(new Error('a model of a trial was asked for')),
};

export type Concluded = PassResult & { readonly model: Model; readonly saves: number };

/**
 * What an architecture search within its step hands out when its end comes after it had saved a state.
 *
 * @param state - undefined: it had saved none
 */
export async function concludedFrom(options: unknown, state: Uint8Array | undefined): Promise<Concluded> {
  const model = jobModel();
  const checkpoint = new RecordingCheckpoint(state);
  const before = checkpoint.saves.length;
  const result = await searchArchitecture.run(model, options, { ...contextOf(checkpoint), trials: ENDING });
  return { ...result, model, saves: checkpoint.saves.length - before };
}

/** States that an undisturbed search saves, with the chapter that was at work; the last one finished where none was. */
export async function statesOf(
  options: unknown,
): Promise<readonly { readonly chapter: string; readonly state: Uint8Array }[]> {
  const checkpoint = new RecordingCheckpoint();
  await searchArchitecture.run(jobModel(), options, contextOf(checkpoint));
  assert.ok(checkpoint.holdResults);
  return checkpoint.saves.map((state) => {
    const length = new DataView(state.buffer, state.byteOffset).getUint32(0, true);
    const { current, finished } = JSON.parse(new TextDecoder().decode(state.subarray(4, 4 + length))) as {
      current?: string;
      finished: { name: string }[];
    };
    return { chapter: current ?? `after ${finished.at(-1)?.name ?? 'nothing'}`, state };
  });
}
