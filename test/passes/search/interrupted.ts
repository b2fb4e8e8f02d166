import assert from 'node:assert/strict';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import type { StepCheckpoint } from '../../../src/passes/pass.ts';
import { searchArchitecture } from '../../../src/passes/search/architecture.ts';
import { contextOf, jobModel } from './pictures.ts';

/** Keeps every state that a step saves; an attempt that goes on gets the newest. */
export class RecordingCheckpoint implements StepCheckpoint {
  /** Whenever it can. */
  readonly everySeconds = 0;
  readonly saves: Uint8Array[];

  constructor(start?: Uint8Array) {
    this.saves = start === undefined ? [] : [start];
  }

  load(): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.saves.at(-1));
  }

  save(state: Uint8Array): Promise<void> {
    this.saves.push(Uint8Array.from(state));
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
