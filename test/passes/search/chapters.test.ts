import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Chapters } from '../../../src/passes/search/chapters.ts';
import { RecordingCheckpoint } from './interrupted.ts';

describe('Chapters', () => {
  it('gives back what is over, and what the work at hand saved, to that work alone', async () => {
    const memory = new RecordingCheckpoint();
    const chapters = await Chapters.open(memory, 'key');
    await chapters.finish('first', { a: 1 }, Uint8Array.of(1, 2, 3));
    await chapters.checkpointOf('second').save(Uint8Array.of(7, 8));
    const again = await Chapters.open(memory, 'key');
    assert.deepEqual(again.get('first'), { data: { a: 1 }, bytes: Uint8Array.of(1, 2, 3) });
    assert.equal(again.get('second'), undefined);
    assert.deepEqual(await again.checkpointOf('second').load(), Uint8Array.of(7, 8));
    assert.equal(await again.checkpointOf('third').load(), undefined);
  });

  it('keeps the bytes of the newest chapter that has some', async () => {
    const memory = new RecordingCheckpoint();
    const chapters = await Chapters.open(memory, 'key');
    await chapters.finish('first', 1, Uint8Array.of(1));
    await chapters.finish('second', 2, Uint8Array.of(2));
    await chapters.finish('third', 3);
    const again = await Chapters.open(memory, 'key');
    assert.deepEqual(
      ['first', 'second', 'third'].map((name) => [again.get(name)?.data, again.get(name)?.bytes.length]),
      [
        [1, 0],
        [2, 1],
        [3, 0],
      ],
    );
  });

  it('takes up nothing of another step, nor what is none of its own', async () => {
    const memory = new RecordingCheckpoint();
    await (await Chapters.open(memory, 'key')).finish('first', 1);
    assert.equal((await Chapters.open(memory, 'other')).get('first'), undefined);
    memory.saves.push(Uint8Array.of(1, 2, 3, 4, 5, 6));
    assert.equal((await Chapters.open(memory, 'key')).get('first'), undefined);
  });
});
