import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { macsOf } from '../../src/onnx/cost/macs.ts';
import type { Model } from '../../src/onnx/model.ts';
import { runStep } from '../../src/passes/pass-manager.ts';
import type { FeedSource, PassResult } from '../../src/passes/pass.ts';
import { describePresets } from '../../src/recipes/catalog.ts';
import { resolveRecipe } from '../../src/recipes/resolve.ts';
import { buildArchitecture } from '../../src/zoo/build-architecture.ts';
import { blockedTable } from '../passes/cost/helpers.ts';
import { stripes, teacherNet, trainingContext } from '../passes/distill/helpers.ts';
import { source } from '../passes/quantize/helpers.ts';

/** One batch of 128 an epoch, and some that are held back. */
const DATA = stripes(160);

/** The first steps of a preset, or all. */
async function runPreset(name: string, model: Model, count?: number): Promise<PassResult[]> {
  const [input] = model.graph.inputs;
  const shape = input?.type?.kind === 'tensor' ? (input.type.shape ?? []) : [];
  const dims = shape.map((size) => (typeof size === 'number' ? size : 1));
  const calibration: FeedSource = source(input?.name ?? '', dims);
  const results: PassResult[] = [];
  for (const step of resolveRecipe(name).steps.slice(0, count)) {
    const context = trainingContext(model, DATA);
    const data = { ...context.data, calibration };
    results.push(await runStep(model, step, { ...context, data, costTable: blockedTable() }));
  }
  return results;
}

describe('presets that take channels out', () => {
  it('prune-half-macs leaves half of the MACs, recovered and trained', async () => {
    const model = teacherNet(1, { width: 1 });
    const before = macsOf(model).total;
    const [pruned, trained] = await runPreset('prune-half-macs', model);
    assert.ok(macsOf(model).total <= 0.5 * before && macsOf(model).total > 0.3 * before);
    assert.equal((pruned?.details['recovery'] as { method: string }).method, 'least-squares');
    assert.equal(trained?.training?.[0]?.epochs.length, 10);
  });

  it('prune-2x-faster leaves half of the estimated time, ahead of the training', async () => {
    const model = buildArchitecture({ architecture: 'resnet', depth: 8, shortcut: 'pad' }, 1);
    const [pruned] = await runPreset('prune-2x-faster', model, 1);
    const { share } = pruned?.details['latency'] as { share: number };
    assert.ok(share <= 0.5 && share > 0.4, String(share));
    assert.equal(resolveRecipe('prune-2x-faster').steps[1]?.pass.name, 'train.finetune');
  });

  it('are listed with the data that they need', () => {
    for (const name of ['prune-half-macs', 'prune-2x-faster']) {
      const preset = describePresets().find((one) => one.name === name);
      assert.deepEqual(preset?.needs, ['calibration', 'training']);
    }
  });
});
