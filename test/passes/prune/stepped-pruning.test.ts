import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { macsOf } from '../../../src/onnx/cost/macs.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { canonicalize } from '../../../src/passes/canonicalize/canonicalize.ts';
import { withImplicitSteps } from '../../../src/passes/implicit-steps.ts';
import { runStep } from '../../../src/passes/pass-manager.ts';
import type { PassContext, StepCheckpoint } from '../../../src/passes/pass.ts';
import { ChannelOptions } from '../../../src/passes/prune/channels/options.ts';
import { pruneChannels } from '../../../src/passes/prune/channels/prune-channels.ts';
import { stripes, teacherNet, trainingContext } from '../distill/helpers.ts';
import { contextOf, net, source } from '../quantize/helpers.ts';
import { op } from './between.ts';
import { noiseFeeds, run } from './helpers.ts';

interface Details {
  readonly macs: { readonly share: number };
  readonly channels: { readonly before: number; readonly removed: number };
  readonly layers: readonly { readonly layer: string; readonly of: number; readonly kept: readonly number[] }[];
  readonly steps: readonly {
    readonly step: number;
    readonly removedChannels: number;
    readonly macsShare: number;
  }[];
}

const DATA = stripes(48);
const training = { epochs: 1, batchSize: 16, learningRate: 0.02, validation: { fraction: 0.25 } };

async function prune(model: Model, options: object, changes: Partial<PassContext> = {}) {
  const step = { pass: pruneChannels, options: pruneChannels.options.parse(options) };
  const { details, ...result } = await runStep(model, step, trainingContext(model, DATA, changes));
  return { ...result, details: details as unknown as Details };
}

/** A checkpoint that keeps everything that is saved. */
function recorder(resume?: Uint8Array): { readonly checkpoint: StepCheckpoint; readonly saved: Uint8Array[] } {
  const saved: Uint8Array[] = [];
  const save = (state: Uint8Array): Promise<void> => Promise.resolve(void saved.push(Uint8Array.from(state)));
  return { saved, checkpoint: { everySeconds: 0, load: () => Promise.resolve(resume), save } };
}

describe('prune.channels in steps', () => {
  it('removes what is due of the channels there were at first', async () => {
    const options = { ratio: 0.5, scope: 'local', importance: 'random' };
    const whole = await prune(teacherNet(), options);
    const stepped = await prune(teacherNet(), { ...options, steps: 3 });
    assert.deepEqual(
      stepped.details.steps.map(({ step, removedChannels }) => [step, removedChannels]),
      // Groups of 4, 4, 8, 8, 16, 16 channels lose floor(of * 0.5 * step / 3).
      [
        [1, 6],
        [2, 16],
        [3, 28],
      ],
    );
    assert.deepEqual(stepped.details.macs, whole.details.macs);
    assert.equal(stepped.training, undefined);
  });

  it('meets a share of MACs along a straight line, and reports what the file says', async () => {
    const model = teacherNet();
    const before = macsOf(model).total;
    const { details } = await prune(model, { macsRatio: 0.4, steps: 3, importance: 'l1' });
    const shares = details.steps.map(({ macsShare }) => macsShare);
    [0.8, 0.6, 0.4].forEach((limit, index) => {
      assert.ok((shares[index] ?? 1) <= limit && (shares[index] ?? 0) > limit - 0.08, String(shares));
    });
    assert.ok(Math.abs(macsOf(model).total / before - (shares[2] ?? 0)) < 1e-12);
  });

  it('scores what is left anew: columns of channels that are gone do not count any more', async () => {
    const kept = async (steps: number): Promise<readonly number[] | undefined> => {
      const model = net({
        nodes: [
          op('Gemm', ['x', 'w1'], 'a', { transB: 1 }),
          op('Gemm', ['a', 'w2'], 'b', { transB: 1 }),
          op('Gemm', ['b', 'w3'], 'y', { transB: 1 }),
        ],
        tensors: [
          Tensor.float('w1', [1, 20, 20, 20], [4, 1]),
          // Feature 0 reads nothing but a0, which is the first to go.
          Tensor.float('w2', [10, 0, 0, 0, 0, 4, 4, 4, 0, 5, 5, 5, 0, 6, 6, 6], [4, 4]),
          Tensor.float('w3', [1, 1, 1, 1], [1, 4]),
        ],
        inputs: { x: [1, 1] },
        outputs: { y: [1, 1] },
      });
      const { details } = await prune(model, { ratio: 0.5, steps, scope: 'local', importance: 'l2' });
      return details.layers.find(({ layer }) => layer === 'Gemm_b')?.kept;
    };
    assert.deepEqual(await kept(1), [0, 3]);
    assert.deepEqual(await kept(2), [2, 3]);
  });

  for (const importance of ['taylor', 'hessian', 'activation', 'fpgm', 'lamp']) {
    it(`works with ${importance}`, async () => {
      const model = teacherNet();
      const data = { training: source('input', [1, 1, 8, 8]), calibration: source('input', [1, 1, 8, 8]) };
      const gradients = ['taylor', 'hessian'].includes(importance) ? { training } : {};
      const options = { ratio: 0.5, scope: 'local', steps: 2, importance, batches: 1, ...gradients };
      const { details } = await prune(model, options, { data });
      assert.equal(details.channels.removed, 28);
      const [output] = await run(model, noiseFeeds(model, 1, 2));
      assert.ok(output?.every(Number.isFinite));
    });
  }

  describe('with training', () => {
    const options = { ratio: 0.5, scope: 'local', steps: 3, training };

    it('trains after each step but the last, and puts weights and indices into their places', async () => {
      const model = teacherNet();
      const original = teacherNet();
      const { details, training: runs } = await prune(model, options);
      assert.deepEqual(
        runs?.map(({ name, afterStep, epochs }) => [name, afterStep, epochs.length]),
        [
          ['model', 1, 1],
          ['model', 2, 1],
        ],
      );
      assert.equal(details.channels.removed, 28);
      for (const { layer, of, kept } of details.layers) {
        const [before, after] = [original, model].map((one) => one.graph.initializers.get(`${layer}.weight`));
        assert.equal(before?.dims[0], of);
        assert.equal(after?.dims[0], kept.length);
      }
      // With so small a rate every trained row is still nearest to the row of the original that it comes from.
      const slow = teacherNet();
      const { details: ofSlow } = await prune(slow, { ...options, training: { ...training, learningRate: 1e-6 } });
      const { kept } = ofSlow.layers.find(({ layer }) => layer === 'stem.conv') ?? { kept: [] };
      const [rows, trained] = [original, slow].map(({ graph }) => graph.initializers.get('stem.conv.weight')?.floats());
      const row = (values: Float32Array | undefined, index: number) => values?.subarray(9 * index, 9 * index + 9);
      kept.forEach((index, at) => {
        row(trained, at)?.forEach((value, i) => {
          const expected = row(rows, index)?.[i] ?? NaN;
          assert.ok(Math.abs(value - expected) < 1e-3);
        });
      });
      assert.notDeepEqual(row(trained, 0), row(rows, kept[0] ?? 0));
    });

    it('trains after the last step too on request, also behind a recovery', async () => {
      const model = teacherNet();
      const data = { training: source('input', [1, 1, 8, 8]), calibration: source('input', [1, 1, 8, 8]) };
      const asked = { ...options, steps: 2, trainAfterLast: true, recover: 'bn-statistics' };
      const { training: runs } = await prune(model, asked, { data });
      assert.deepEqual(
        runs?.map(({ afterStep }) => afterStep),
        [1, 2],
      );
    });

    it('recovers towards the model as it was last trained', async () => {
      const model = teacherNet();
      const data = { training: source('input', [1, 1, 8, 8]), calibration: source('input', [1, 1, 8, 8]) };
      const { details } = await prune(model, { ...options, recover: 'least-squares' }, { data });
      const { recovery } = details as unknown as {
        recovery: { layers: readonly { errorBefore: number; errorAfter: number }[] };
      };
      assert.ok(recovery.layers.length > 3);
      for (const { errorBefore, errorAfter } of recovery.layers) assert.ok(errorAfter <= errorBefore);
    });

    it('goes on from any snapshot to the same bytes', async () => {
      const asked = { ...options, steps: 2, trainAfterLast: true, importance: 'taylor', batches: 1 };
      const { saved, checkpoint } = recorder();
      const whole = teacherNet();
      const first = await prune(whole, asked, { checkpoint });
      // Two steps of training after each pruning step, and the end of the first.
      assert.equal(saved.length, 5);
      for (const state of saved) {
        const resumed = teacherNet();
        const result = await prune(resumed, asked, { checkpoint: recorder(state).checkpoint });
        assert.deepEqual(encodeModel(resumed), encodeModel(whole));
        assert.deepEqual(result.details, first.details);
        assert.deepEqual(
          result.training?.map(({ epochs }) => epochs.map(({ loss }) => loss)),
          first.training?.map(({ epochs }) => epochs.map(({ loss }) => loss)),
        );
      }
    });

    it('does not take up what another pruning saved', async () => {
      const { saved, checkpoint } = recorder();
      await prune(teacherNet(), options, { checkpoint });
      const [fresh, other] = [teacherNet(), teacherNet()];
      const asked = { ...options, ratio: 0.25 };
      await prune(fresh, asked);
      await prune(other, asked, { checkpoint: recorder(saved.at(-1)).checkpoint });
      assert.deepEqual(encodeModel(other), encodeModel(fresh));
    });

    it('ends when it is canceled, in the middle of a training', async () => {
      const controller = new AbortController();
      const save = (): Promise<void> => {
        controller.abort();
        return Promise.resolve();
      };
      const checkpoint = { everySeconds: 0, load: () => Promise.resolve(undefined), save };
      await assert.rejects(prune(teacherNet(), options, { checkpoint, signal: controller.signal }), {
        name: 'AbortError',
      });
    });

    it('says that a target is out of reach before it trains', async () => {
      const openTraining = () => Promise.reject(new Error('the training data were opened'));
      const model = teacherNet();
      await assert.rejects(prune(model, { macsRatio: 0.001, steps: 4, training }, { openTraining }), {
        code: 'PASS_PRECONDITION',
        message: /macsRatio 0\.001 cannot be reached/,
      });
    });

    it('changes nothing and trains nothing where no channel can go', async () => {
      const model = teacherNet();
      const before = encodeModel(model);
      const result = await prune(model, { ratio: 0.01, scope: 'local', steps: 2, training });
      assert.deepEqual([result.changes, result.training], [0, undefined]);
      assert.deepEqual(encodeModel(model), before);
    });
  });

  it('is planned as a step that trains: BatchNormalization stays for it, and its data are asked for', () => {
    const options = ChannelOptions.parse({ steps: 2, training: { ...training, validation: { role: 'evaluation' } } });
    assert.deepEqual(pruneChannels.needs(options), ['training', 'evaluation']);
    const folds = (given: object): unknown[] =>
      withImplicitSteps([{ pass: pruneChannels, options: ChannelOptions.parse(given) }], canonicalize, []).flatMap(
        (step) =>
          step.pass === canonicalize
            ? [(step.options as { foldBatchNormalization: unknown }).foldBatchNormalization]
            : [],
      );
    assert.deepEqual(folds({ steps: 2, training }), [false]);
    assert.deepEqual(folds({ steps: 2 }), [true]);
  });

  it('refuses training that would not happen, and asks for one that should', () => {
    const paths = (given: object) => ChannelOptions.safeParse(given).error?.issues.map(({ path }) => path);
    assert.deepEqual(paths({ training }), [['training']]);
    assert.deepEqual(paths({ trainAfterLast: true }), [['training']]);
    assert.equal(paths({ training, importance: 'taylor' }), undefined);
    assert.equal(paths({ training, trainAfterLast: true }), undefined);
  });

  it('needs no training data without training', async () => {
    const model = teacherNet();
    const step = { pass: pruneChannels, options: pruneChannels.options.parse({ ratio: 0.5, steps: 2 }) };
    assert.ok((await runStep(model, step, contextOf())).changes > 0);
  });
});
