import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GRADIENT_RULES } from '../../../src/training/gradients/rules.ts';
import { checkGradient } from './check-gradient.ts';
import { ELEMENTWISE_CASES } from './elementwise-cases.ts';
import { RECURRENT_CASES } from './recurrent-cases.ts';
import { STRUCTURE_CASES } from './structure-cases.ts';

const CASES = [...ELEMENTWISE_CASES, ...STRUCTURE_CASES, ...RECURRENT_CASES];

/**
 * Float32, step 1e-2 on inputs of order 1: rounding is about 1e-7 / 1e-2 = 1e-5 of |Y|, truncation step^2 f'''/6 = 2e-5
 * of what bends; a wrong factor anywhere shows as 1/sqrt(elements), which is over 5e-2 for the largest input here.
 */
const TOLERANCE = 3e-3;

/**
 * Straight-through rules are wrong as derivatives by intent; `straight-through.test.ts` checks their masks by hand,
 * `adder.test.ts`, `fake-quantize.test.ts` and `signs.test.ts` those of functions with rules of their own.
 */
const CHECKED_ELSEWHERE = [
  'ai.tersor:Adder2D',
  'ai.tersor:Binarize',
  'ai.tersor:FakeQuantize',
  'ai.tersor:Ternarize',
  ':Ceil',
  ':Floor',
  ':Round',
  ':Sign',
  ':QuantizeLinear',
  ':DequantizeLinear',
];
/** ONNX Runtime has no kernel for these in opset 21; RMSNormalization shares its rule with SimplifiedLayerNormalization. */
const NEWER_OPSET = [':RMSNormalization', ':Swish'];

describe('gradient rules against central differences', () => {
  for (const { op, name, tolerance = TOLERANCE, ...checked } of CASES) {
    it(`${op}${name === undefined ? '' : `, ${name}`}`, async () => {
      const { maxRelativeError, errors } = await checkGradient({ ...checked, seed: 7 });
      assert.ok(maxRelativeError < tolerance, `relative errors by input: ${errors.join(', ')}`);
    });
  }

  it('covers every rule of the table', () => {
    const checked = new Set([...CASES.map(({ op }) => op), ...CHECKED_ELSEWHERE, ...NEWER_OPSET]);
    const isQuantization = (key: string): boolean => key.endsWith('QuantizeLinear') || key.endsWith('DequantizeLinear');
    assert.deepEqual(
      [...GRADIENT_RULES.keys()].filter((key) => !checked.has(key) && !isQuantization(key)),
      [],
    );
  });
});
