import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { innerStepsOf } from '../../src/passes/inner-steps.ts';
import { PASSES } from '../../src/passes/registry.ts';
import { DIMS, network } from './quantize/mixed/helpers.ts';
import { contextOf, source } from './quantize/helpers.ts';

describe('inner steps', () => {
  it('suggest without taking anything of the progress of the trials that follow', async () => {
    const told: [number, string | undefined][] = [];
    const progress = (fraction: number, message?: string): void => void told.push([fraction, message]);
    const steps = innerStepsOf(PASSES, { ...contextOf(source('x', DIMS)), progress });
    const found = await steps.suggest(network(), { pass: 'quantize.mixed' }, {});
    assert.equal(Object.keys(found ?? {}).length, 4);
    assert.ok(told.length > 4);
    assert.ok(told.every(([fraction]) => fraction === 0));
    assert.ok(told.some(([, message]) => message?.startsWith('measuring') === true));
  });

  it('know nothing of steps that no pass of the table takes', async () => {
    const steps = innerStepsOf(PASSES, contextOf(source('x', DIMS)));
    assert.equal(await steps.suggest(network(), { pass: 'quantize.mixed', samples: 'all' }, {}), undefined);
    assert.equal(steps.layers(network(), { pass: 'unheard.of' }), undefined);
  });
});
