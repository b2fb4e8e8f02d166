import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeClusteredModel } from '../../src/client/clustered-model.ts';
import { decodeSparseModel } from '../../src/client/sparse-model.ts';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import type { Model } from '../../src/onnx/model.ts';
import { runStep } from '../../src/passes/pass-manager.ts';
import type { PassResult } from '../../src/passes/pass.ts';
import { describePresets } from '../../src/recipes/catalog.ts';
import { resolveRecipe } from '../../src/recipes/resolve.ts';
import { stripes, teacherNet, trainingContext } from '../passes/distill/helpers.ts';

/** One batch of 128 an epoch, and some that are held back. */
const DATA = stripes(160);

/** The example's network, for images of 8 pixels. */
const network = (): Model => teacherNet(1, { width: 1 });

/** Runs a preset with nothing tuned. @returns the steps' results; the zeros behind the first step, by weight */
async function runPreset(
  name: string,
  model: Model,
): Promise<{ results: PassResult[]; zeros: Map<string, boolean[]> }> {
  const results: PassResult[] = [];
  const zeros = new Map<string, boolean[]>();
  for (const step of resolveRecipe(name).steps) {
    results.push(await runStep(model, step, trainingContext(model, DATA)));
    if (results.length > 1) continue;
    for (const { weight } of results[0]?.details['layers'] as { weight: string }[]) {
      const values = model.graph.initializers.get(weight)?.floats() ?? [];
      zeros.set(
        weight,
        Array.from(values, (value) => value === 0),
      );
    }
  }
  return { results, zeros };
}

describe('preset deep-compression', () => {
  it('gives a sidecar at least 15 times smaller than the model, from which the client restores the result', async () => {
    const model = network();
    const before = encodeModel(model).length;
    const { results, zeros } = await runPreset('deep-compression', model);
    assert.ok(Math.abs(Number(results[0]?.details['sparsity']) - 0.85) < 1e-4);
    const [sidecar] = results[1]?.artifacts ?? [];
    assert.ok(sidecar !== undefined);
    assert.deepEqual(Buffer.from(decodeClusteredModel(sidecar.bytes)), Buffer.from(encodeModel(model)));
    assert.ok(sidecar.bytes.length * 15 <= before, `${before} -> ${sidecar.bytes.length}`);
    // What was zero before the centroids were found and trained is zero in the result, and nothing else is.
    let compared = 0;
    for (const [name, wereZero] of zeros) {
      const codebook = model.graph.initializers.get(`${name}_codebook`)?.floats();
      const indices = model.graph.initializers.get(`${name}_indices`)?.bytes();
      if (codebook === undefined || indices === undefined || wereZero.length < 512) continue;
      assert.deepEqual(
        Array.from(indices, (index) => codebook[index] === 0),
        wereZero,
        name,
      );
      compared += 1;
    }
    assert.ok(compared >= 6, `${compared} weights compared`);
  });
});

describe('preset sparse-80', () => {
  it('ends at 80 % over 10 epochs, with the sparse file beside the model', async () => {
    const model = network();
    const { results } = await runPreset('sparse-80', model);
    assert.ok(Math.abs(Number(results[0]?.details['sparsity']) - 0.8) < 1e-4);
    assert.equal(results[0]?.training?.[0]?.epochs.length, 10);
    const [sidecar] = results[0].artifacts ?? [];
    assert.ok(sidecar !== undefined);
    const file = encodeModel(model);
    assert.deepEqual(Buffer.from(decodeSparseModel(sidecar.bytes)), Buffer.from(file));
    assert.ok(sidecar.bytes.length < file.length / 3.5, `${file.length} -> ${sidecar.bytes.length}`);
  });
});

describe('the catalog of presets', () => {
  it('says that pruning presets train, and names each paper once', () => {
    for (const name of ['deep-compression', 'sparse-80']) {
      const preset = describePresets().find((one) => one.name === name);
      assert.deepEqual(preset?.needs, ['training']);
      const urls = preset.papers.map(({ url }) => url);
      assert.equal(new Set(urls).size, urls.length);
    }
    const papers = describePresets().find(({ name }) => name === 'deep-compression')?.papers ?? [];
    assert.ok(papers.some(({ url }) => url.endsWith('1510.00149')));
  });
});
