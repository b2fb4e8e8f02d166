import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { scheduleRecipe } from '../../src/passes/pass-manager.ts';

/** The steps that run, those with int8 ahead of them in capitals. */
const scheduled = (...steps: readonly { readonly pass: string; readonly [option: string]: unknown }[]): string[] =>
  scheduleRecipe({ version: 1, steps: [...steps] }).map(({ pass, int8Ahead }) =>
    int8Ahead ? pass.name.toUpperCase() : pass.name,
  );

const prune = { pass: 'prune.channels' };

describe('steps', () => {
  it('know whether a later one brings the model to int8', () => {
    const [first, second] = [scheduled(prune, { pass: 'quantize.static' }), scheduled(prune)];
    assert.deepEqual(first, ['CANONICALIZE', 'PRUNE.CHANNELS', 'quantize.static']);
    assert.deepEqual(second, ['canonicalize', 'prune.channels']);
    assert.deepEqual(scheduled(prune, { pass: 'distill' }, { pass: 'quantize.static' }), [
      ...['CANONICALIZE', 'PRUNE.CHANNELS', 'DISTILL', 'CANONICALIZE'],
      'quantize.static',
    ]);
  });

  it('go by the types: fewer than 8 bits are computed in float, 16 bits in no integer kernel', () => {
    const isAhead = (step: { readonly pass: string; readonly [option: string]: unknown }): boolean =>
      scheduled(prune, step)[1] === 'PRUNE.CHANNELS';
    assert.ok(!isAhead({ pass: 'quantize.static', weights: 'int4' }));
    assert.ok(!isAhead({ pass: 'quantize.static', activations: 'uint16' }));
    assert.ok(!isAhead({ pass: 'quantize.weights' }));
    assert.ok(!isAhead({ pass: 'quantize.aware', weights: 4 }));
    assert.ok(isAhead({ pass: 'quantize.aware', weights: 8 }));
    assert.ok(isAhead({ pass: 'quantize.aware', weights: 4, storage: 'int8' }));
  });
});
