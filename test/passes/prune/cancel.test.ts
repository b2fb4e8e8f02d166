import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { runStep } from '../../../src/passes/pass-manager.ts';
import type { FeedSource, Pass, PassContext } from '../../../src/passes/pass.ts';
import { pruneChannels } from '../../../src/passes/prune/channels/prune-channels.ts';
import { prunePattern } from '../../../src/passes/prune/pattern/pattern.ts';
import { pruneUnstructured } from '../../../src/passes/prune/unstructured/unstructured.ts';
import { SIDE, stripes, teacherNet, trainingContext } from '../distill/helpers.ts';
import { noise } from '../quantize/helpers.ts';

const BATCHES = 5;

/** Batches of four labelled samples. @param given - called as each is handed out, with how many there have been */
function counted(given: (batches: number) => void): FeedSource {
  let batches = 0;
  return {
    samples: 4 * BATCHES,
    async *batches() {
      for (let batch = 0; batch < BATCHES; batch += 1) {
        const input: NdArray = { type: 'float', dims: [4, 1, SIDE, SIDE], data: noise(4 * SIDE * SIDE, 1 + batch) };
        const labels: NdArray = { type: 'int64', dims: [4], data: BigInt64Array.of(0n, 1n, 2n, 0n) };
        given((batches += 1));
        yield await Promise.resolve({ feeds: { input }, count: 4, labels });
      }
    },
  };
}

function run(pass: Pass, options: object, changes: Partial<PassContext>): Promise<unknown> {
  const model = teacherNet();
  const context = trainingContext(model, stripes(48), changes);
  return runStep(model, { pass, options: pass.options.parse(options) }, context);
}

/** @returns how many batches it read. @param at - of which it is canceled */
async function reading(pass: Pass, options: object, at = Infinity): Promise<number> {
  const controller = new AbortController();
  let read = 0;
  const calibration = counted((batches) => {
    read = batches;
    if (batches === at) controller.abort();
  });
  const running = run(pass, options, { data: { calibration }, signal: controller.signal });
  await (at === Infinity ? running : assert.rejects(running, { name: 'AbortError' }, `canceled at batch ${at}`));
  return read;
}

describe('pruning on calibration data ends with the batch at which it is canceled, wherever that is', () => {
  for (const [pass, options] of [
    [pruneUnstructured, { method: 'wanda' }],
    [pruneUnstructured, { method: 'sparsegpt' }],
    [prunePattern, { method: 'wanda' }],
    [prunePattern, { method: 'sparsegpt' }],
    [pruneChannels, { ratio: 0.5, recover: 'bn-statistics' }],
    [pruneChannels, { ratio: 0.5, recover: 'least-squares' }],
    [pruneChannels, { ratio: 0.5, importance: 'activation' }],
    [pruneChannels, { ratio: 0.5, allocation: 'sensitivity' }],
    [pruneChannels, { ratio: 0.5, allocation: 'sensitivity', sensitivity: 'metric', recover: 'bn-statistics' }],
    [pruneChannels, { maxAccuracyDrop: 0.5 }],
    [pruneChannels, { maxAccuracyDrop: 0.5, recover: 'bn-statistics' }],
  ] as const) {
    it(`${pass.name} ${JSON.stringify(options)}`, async () => {
      const all = await reading(pass, options);
      assert.ok(all >= BATCHES);
      for (const at of new Set([1, Math.ceil(all / 2), all])) {
        // Finding a batch size reads one batch first.
        assert.ok((await reading(pass, options, at)) <= at + 1);
      }
    });
  }
});

describe('pruning without calibration data', () => {
  const training = { epochs: 2, batchSize: 4, validation: { fraction: 0.25 } };
  const canceled = { name: 'AbortError' };

  for (const [pass, options] of [
    [pruneUnstructured, { sidecar: true }],
    [prunePattern, { sidecar: true }],
    [pruneChannels, { ratio: 0.5 }],
  ] as const) {
    it(`${pass.name} ${JSON.stringify(options)} ends when it was canceled before`, async () => {
      await assert.rejects(run(pass, options, { signal: AbortSignal.abort() }), canceled);
    });
  }

  for (const [pass, options] of [
    [pruneUnstructured, { method: 'snip', batches: 3, training }],
    [pruneUnstructured, { method: 'movement', schedule: 'gradual', training }],
    [prunePattern, { schedule: 'gradual', training }],
  ] as const) {
    const { training: _, ...told } = options;
    it(`${pass.name} ${JSON.stringify(told)} ends at the message or snapshot at which it is canceled`, async () => {
      const controller = new AbortController();
      let signs = 0;
      const count = (): void => {
        if ((signs += 1) === 2) controller.abort();
      };
      const save = (): Promise<void> => {
        count();
        return Promise.resolve();
      };
      const checkpoint = { everySeconds: 0, load: () => Promise.resolve(undefined), save };
      await assert.rejects(run(pass, options, { progress: count, checkpoint, signal: controller.signal }), canceled);
      // A step says how far it is, and is saved.
      assert.ok(signs <= 3);
    });
  }
});
