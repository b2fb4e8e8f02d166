import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { effectOf, measure } from '../../../src/passes/distill/accuracy.ts';
import { openTrainingSource } from '../../../src/data/training/training-source.ts';
import { validate } from '../../../src/training/validation.ts';
import { runtime } from '../quantize/helpers.ts';
import { stripes, teacherNet } from './helpers.ts';

/** `right` ones among `samples`. */
function hits(samples: number, right: number): Uint8Array {
  return Uint8Array.from({ length: samples }, (_, i) => (i < right ? 1 : 0));
}

describe('effectOf', () => {
  it('tells help from harm, and both from noise', () => {
    assert.equal(effectOf(hits(100, 90), hits(100, 70)).verdict, 'helped');
    assert.equal(effectOf(hits(100, 70), hits(100, 90)).verdict, 'hurt');
    assert.equal(effectOf(hits(100, 71), hits(100, 70)).verdict, 'inconclusive');
  });

  it('goes by the samples that only one got right', () => {
    const effect = effectOf(Uint8Array.of(1, 1, 0, 1), Uint8Array.of(0, 1, 1, 0));
    assert.equal(effect.difference, 0.25);
    // Two against one of three coins: 2 (1 + 3) / 8.
    assert.equal(effect.pValue, 1);
    // Bonett and Price 2012: (3 - 2) / 6 +- 1.96 sqrt((5/6 - 1/36) / 6).
    const half = 1.959963984540054 * Math.sqrt((5 / 6 - 1 / 36) / 6);
    assert.ok(Math.abs(effect.confidenceInterval[1] - (1 / 6 + half)) < 1e-12);
  });
});

describe('measure', () => {
  it('counts what validation counts, sample by sample', async () => {
    const model = teacherNet();
    const source = await openTrainingSource(stripes(40), { role: 'training' }, model.graph.inputs, {
      batchSize: 4,
      seed: 0,
      validationFraction: 0.5,
    });
    const run = { runtime, threads: 1, signal: new AbortController().signal, batchSize: 7 };
    const validation = source.validation()!;
    const { result, correct } = await measure(model, validation, run);
    assert.deepEqual(result, await validate(model, validation, run));
    assert.equal(correct?.length, result.samples);
    await source.close();
  });
});
