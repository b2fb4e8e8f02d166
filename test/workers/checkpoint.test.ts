import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import { Checkpoints } from '../../workers/checkpoint.ts';
import type { ChildMessage } from '../../workers/protocol.ts';

function model() {
  const b = new GraphBuilder('net');
  b.output(b.op('Add', [b.input('x', 'float', ['n']), b.float('one', 1)]), 'y', 'float', ['n']);
  return b.model(21);
}
const report = {
  index: 0,
  pass: 'canonicalize',
  options: {},
  seconds: 1,
  changed: 1,
  skipped: [],
  warnings: [],
  details: {},
};

describe('Checkpoints', () => {
  let folder: string;
  const messages: Extract<ChildMessage, { type: 'checkpoint' }>[] = [];
  const emit = (message: ChildMessage): void => {
    if (message.type === 'checkpoint') messages.push(message);
  };
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-checkpoint-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('resumes in the middle of a step: model, reports and what the step saved last', async () => {
    const first = new Checkpoints(folder, emit);
    const sidecar = { name: 'weights.bin', contentType: 'application/octet-stream', bytes: Uint8Array.of(4, 5, 6) };
    await first.afterStep(model(), { steps: [report], baseline: { accuracy: 0.5 }, sidecars: [sidecar] });
    await first.ofStep().save(Uint8Array.of(1));
    await first.ofStep().save(Uint8Array.of(2, 3), true);
    assert.deepEqual(
      messages.map(({ steps, sequence, holdsResult }) => [steps, sequence, holdsResult]),
      [
        [1, 1, false],
        [1, 2, false],
        [1, 3, true],
      ],
    );
    assert.equal(new Set(messages.map(({ path }) => path)).size, 3, 'each lies in a folder of its own');

    const last = messages.at(-1)!;
    const next = await mkdtemp(join(tmpdir(), 'tersor-checkpoint-'));
    await cp(join(folder, last.path), join(next, 'resume'), { recursive: true });
    const second = new Checkpoints(next, emit);
    const resumed = await second.resume('resume');
    assert.deepEqual(encodeModel(resumed.model), encodeModel(model()));
    assert.deepEqual(resumed.state.steps, [report]);
    assert.deepEqual(resumed.state.sidecars, [{ ...sidecar, bytes: Buffer.from([4, 5, 6]) }]);
    assert.deepEqual(await second.ofStep().load(), Buffer.from([2, 3]));

    await second.afterStep(resumed.model, { steps: [report, report], baseline: null });
    assert.equal(await second.ofStep().load(), undefined, 'the next step starts fresh');
    assert.ok(!messages.at(-1)!.files.includes('step.bin'));
    await rm(next, { recursive: true });
  });

  it('keeps the files of every checkpoint as they were written', async () => {
    const [between] = messages;
    const state = JSON.parse(await readFile(join(folder, between!.path, 'state.json'), 'utf8')) as { steps: unknown[] };
    assert.equal(state.steps.length, 1);
  });
});
