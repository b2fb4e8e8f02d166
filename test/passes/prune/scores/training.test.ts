import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { runStep } from '../../../../src/passes/pass-manager.ts';
import type { Pass, PassContext, PassResult } from '../../../../src/passes/pass.ts';
import { GradualMasks } from '../../../../src/passes/prune/scores/gradual-masks.ts';
import { weightTargets } from '../../../../src/passes/layer-inputs/weight-targets.ts';
import { prunePattern } from '../../../../src/passes/prune/pattern/pattern.ts';
import { pruneUnstructured } from '../../../../src/passes/prune/unstructured/unstructured.ts';
import { distill } from '../../../../src/passes/distill/distill.ts';
import { trainFinetune } from '../../../../src/passes/train/finetune.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';
import { TrainingState, type StateTensor } from '../../../../src/training/training-state.ts';
import { stripes, teacherNet, trainingContext } from '../../distill/helpers.ts';

const DATA = stripes(96);
const training = { epochs: 2, batchSize: 16, learningRate: 0.02, validation: { fraction: 0.25 } };
const gradual = { name: 'gradual', every: 1 };

const run = (model: Model, options: object, pass: Pass = pruneUnstructured, changes: Partial<PassContext> = {}) =>
  runStep(model, { pass, options: pass.options.parse(options) }, trainingContext(model, DATA, changes));

/** Weights, and how many of them are zero, by layer; in graph order. */
function counts(model: Model): [number, number][] {
  return weightTargets(model, { exclude: [] }).targets.map(({ name, elements }) => {
    const values = model.graph.initializers.get(name)?.floats() ?? new Float32Array(0);
    return [elements, values.filter((value) => value === 0).length];
  });
}

const positions = (model: Model): number[] =>
  weightTargets(model, { exclude: [] }).targets.flatMap(({ name }) =>
    Array.from(model.graph.initializers.get(name)?.floats() ?? [], (value) => (value === 0 ? 0 : 1)),
  );

function assertTrained(result: PassResult, before: Model, after: Model): void {
  assert.equal(result.training?.[0]?.epochs.length, 2);
  const moved = weightTargets(after, { exclude: [] }).targets.some(({ name }) => {
    const [x, y] = [before, after].map((model) => model.graph.initializers.get(name)?.floats());
    return x?.some((value, i) => y?.[i] !== 0 && y?.[i] !== value);
  });
  assert.ok(moved, 'the weights that stay were trained');
}

describe('pruning while training', () => {
  for (const method of ['magnitude', 'movement', 'snip', 'lamp'])
    it(`${method}: ends exactly as sparse as asked for, and trained`, async () => {
      const model = teacherNet();
      const before = copyModel(model);
      const options = { method, sparsity: 0.6, scope: 'layer', schedule: gradual, training };
      const result = await run(model, options);
      for (const [weights, zeros] of counts(model)) assert.equal(zeros, Math.round(0.6 * weights));
      assertTrained(result, before, model);
    });

  it('2 of 4, with gradients that go through the masks', async () => {
    const model = teacherNet();
    const result = await run(model, { schedule: gradual, gradient: 'straight-through', training }, prunePattern);
    const [, second] = counts(model);
    assert.ok(second?.[1] === (second?.[0] ?? 0) / 2);
    assert.ok(Number(result.details['zeros']) > 0);
  });

  it('goes on from any snapshot to the same bytes', async () => {
    const options = { method: 'movement', sparsity: 0.5, schedule: gradual, training };
    const saved: Uint8Array[] = [];
    const whole = teacherNet();
    const save = (state: Uint8Array): Promise<void> => Promise.resolve(void saved.push(state));
    await run(whole, options, pruneUnstructured, {
      checkpoint: { everySeconds: 0, load: () => Promise.resolve(undefined), save },
    });
    assert.ok(saved.length >= 6);
    for (const at of [1, saved.length - 3]) {
      const resumed = teacherNet();
      const load = (): Promise<Uint8Array | undefined> => Promise.resolve(saved[at]);
      const result = await run(resumed, options, pruneUnstructured, {
        checkpoint: { load, save: () => Promise.resolve() },
      });
      assert.equal(result.training?.[0]?.resumedAt.length, 1);
      assert.deepEqual(encodeModel(resumed), encodeModel(whole));
    }
  });

  it('keeps no epoch from before the masks were settled', async () => {
    const model = teacherNet();
    const schedule = { name: 'gradual', from: 0.5, to: 1, every: 1 };
    const result = await run(model, { sparsity: 0.5, schedule, training });
    for (const [weights, zeros] of counts(model)) assert.equal(zeros, Math.round(0.5 * weights));
    assert.equal(result.training?.[0]?.keptEpoch, 1);
  });

  it('counts and prunes only what is trained, and names the rest', async () => {
    const model = teacherNet();
    const [first] = weightTargets(model, { exclude: [] }).targets;
    assert.ok(first !== undefined);
    const options = {
      sparsity: 0.5,
      scope: 'global',
      schedule: gradual,
      training: { ...training, frozen: [first.name] },
    };
    const result = await run(model, options);
    const [frozen, ...others] = counts(model);
    assert.equal(frozen?.[1], 0);
    const sum = (index: 0 | 1): number => others.reduce((total, one) => total + one[index], 0);
    assert.equal(sum(1), Math.round(0.5 * sum(0)));
    assert.match(result.skipped[0]?.reason ?? '', /not trained/);
  });

  it('names a layer that a global ranking would empty before anything is trained', async () => {
    const model = teacherNet();
    const [first] = weightTargets(model, { exclude: [] }).targets;
    assert.ok(first !== undefined);
    const values =
      model.graph.initializers
        .get(first.name)
        ?.floats()
        .map((value) => value * 1e-6) ?? [];
    model.graph.initializers.set(first.name, Tensor.float(first.name, values, first.dims));
    const options = { sparsity: 0.8, scope: 'global', schedule: gradual, training };
    const openTraining = (): never => assert.fail('the data were opened');
    await assert.rejects(run(model, options, pruneUnstructured, { openTraining }), {
      code: 'PASS_PRECONDITION',
      message:
        /ranked by the weights before training, nothing would be left of "stem\S*" \(\d+ weights\); use scope layer/,
    });
  });

  it('snip prunes at once by the gradients of a few batches, and trains nothing', async () => {
    const [model, again] = [teacherNet(), teacherNet()];
    const before = copyModel(model);
    const result = await run(model, { method: 'snip', sparsity: 0.5, batches: 3, training: { batchSize: 16 } });
    await run(again, { method: 'snip', sparsity: 0.5, batches: 3, training: { batchSize: 16 } });
    assert.deepEqual(encodeModel(model), encodeModel(again));
    const all = counts(model);
    const sum = (index: 0 | 1): number => all.reduce((total, one) => total + one[index], 0);
    assert.equal(sum(1), Math.round(0.5 * sum(0)));
    assert.equal(result.training, undefined);
    for (const [name, tensor] of model.graph.initializers) {
      const old = before.graph.initializers.get(name);
      if (tensor.dataType !== 'float') continue;
      assert.ok(
        tensor.floats().every((value, i) => value === 0 || value === old?.floats()[i]),
        name,
      );
    }
  });
});

describe('zeros of a pruned model', () => {
  it('stay zeros through train.finetune and distill', async () => {
    const pruned = teacherNet();
    await run(pruned, { sparsity: 0.5 });
    for (const [pass, options] of [
      [trainFinetune, { training }],
      [distill, { student: 'self', training, losses: [{ name: 'ce' }, { name: 'kd' }] }],
    ] as const) {
      const model = copyModel(pruned);
      const result = await run(model, options, pass, { input: copyModel(pruned) });
      assert.deepEqual(positions(model), positions(pruned), pass.name);
      assertTrained(result, pruned, model);
    }
  });

  it('are counted in the report of train.finetune', async () => {
    const model = teacherNet();
    const before = await run(copyModel(model), { training }, trainFinetune);
    assert.deepEqual(before.details['keptZeros'], { layers: 0, zeros: 0 });
    await run(model, { sparsity: 0.5 });
    const zeros = counts(model).reduce((sum, [, own]) => sum + own, 0);
    const { details } = await run(model, { training }, trainFinetune);
    assert.deepEqual(details['keptZeros'], { layers: counts(model).length, zeros });
  });

  it('learn again on request, and with weight decay and Adam stay where they should', async () => {
    const pruned = teacherNet();
    await run(pruned, { sparsity: 0.5 });
    const free = copyModel(pruned);
    await run(free, { training: { ...training, keepZeros: false } }, trainFinetune);
    assert.ok(counts(free).every(([, zeros]) => zeros === 0));
    const adamw = copyModel(pruned);
    await run(adamw, { training: { ...training, optimizer: 'adamw', ema: 0.9, accumulate: 2 } }, trainFinetune);
    assert.deepEqual(positions(adamw), positions(pruned));
  });
});

describe('GradualMasks', () => {
  const target = {
    name: 'w',
    dims: [100],
    elements: 100,
    nodes: [],
    layout: { outputs: 1, inputs: 100, kernel: 1, outputStride: 100, inputStride: 1, groups: 1 },
  };
  const tensor = (name: string, kind: StateTensor['kind'], values: Float32Array): StateTensor => ({
    name,
    kind,
    of: 'w',
    isModel: kind === 'parameter',
    dims: [100],
    initial: values,
  });

  it('stops at the update whose masks would empty a layer', () => {
    const other = { ...target, name: 'v' };
    const state = new TrainingState([
      tensor('w', 'parameter', new Float32Array(100).fill(1)),
      { ...tensor('v', 'parameter', new Float32Array(100).fill(0.01)), of: 'v' },
    ]);
    const masks = new GradualMasks({
      targets: [target, other],
      method: 'magnitude',
      seed: 0,
      pattern: { kind: 'elements', scope: 'global', sparsity: 0.6 },
      initialSparsity: 0,
      updates: 20,
      from: 0,
      to: 1,
      every: 10,
      remedy: 'use scope layer',
    });
    masks.beforeUpdate(0, state);
    assert.throws(() => masks.beforeUpdate(10, state), {
      code: 'PASS_PRECONDITION',
      message: 'after 10 of 20 updates nothing would be left of "v" (100 weights); use scope layer',
    });
  });

  it('follows the cubic curve at the updates it is due, and lets weights come back', () => {
    const weights = Float32Array.from({ length: 100 }, (_, i) => i + 1);
    const state = new TrainingState([
      tensor('w', 'parameter', weights),
      tensor('w.mask', 'mask', new Float32Array(100).fill(1)),
    ]);
    const masks = new GradualMasks({
      targets: [target],
      method: 'magnitude',
      seed: 0,
      pattern: { kind: 'elements', scope: 'layer', sparsity: 0.9 },
      initialSparsity: 0,
      updates: 20,
      from: 0.1,
      to: 0.6,
      every: 2,
      remedy: '',
    });
    const zeros = (): number => state.values('w.mask').filter((value) => value === 0).length;
    const seen: number[] = [];
    for (let update = 0; update < 20; update += 1) {
      masks.beforeUpdate(update, state);
      seen.push(zeros());
    }
    // 0.9 (1 - (1 - t)³) at t = 0, .2, .4, .6, .8, 1, in whole weights of 100; from update 2 to 12, every second one.
    const due = [0, 44, 71, 84, 89, 90];
    assert.deepEqual(seen, [0, 0, ...due.flatMap((value) => [value, value]), ...Array<number>(6).fill(90)]);
    assert.equal(masks.settledAfter, 12);
    state.values('w').set(Float32Array.from(weights).reverse());
    masks.beforeUpdate(12, state);
    assert.deepEqual([...state.values('w.mask').subarray(0, 10)], Array<number>(10).fill(1));
  });
});
