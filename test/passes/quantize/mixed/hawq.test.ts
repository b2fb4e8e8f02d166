import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TrainingSource } from '../../../../src/data/training/training-source.ts';
import { quantizeMixed } from '../../../../src/passes/quantize/mixed/mixed.ts';
import { apply, contextOf, noise, source } from '../helpers.ts';
import { bruteForce, DIMS, network, type BudgetReport, type Choice } from './helpers.ts';

const context = contextOf(source('x', DIMS));

describe('sensitivity hawq', () => {
  it('is half of the mean eigenvalue times the squared error of the rounded weight', async () => {
    const options = {
      sensitivity: 'hawq',
      budget: { averageBits: 4 },
      batches: 1,
      probes: 4,
      training: { batchSize: 4 },
    };
    const parsed = quantizeMixed.options.parse(options);
    assert.deepEqual(quantizeMixed.needs(parsed), ['calibration', 'training']);
    const trained = { ...context, openTraining: noiseTraining };
    const { details } = await apply(quantizeMixed, network(), options, trained);
    const choices = details['choices'] as readonly MeasuredChoice[];
    for (const { candidates, weights } of choices) {
      const errors = candidates.map(({ squaredError }) => squaredError);
      assert.ok(errors[0]! < errors[1]! && errors[1]! < errors[2]!);
      for (const { trace, squaredError, loss } of candidates) {
        if (trace > 0) assert.ok(Math.abs(loss - (0.5 * trace * squaredError) / weights) <= 1e-9 * loss);
      }
    }
    const { least, chosen } = bruteForce(choices, (details['budget'] as BudgetReport).limit);
    assert.ok(Math.abs(least - chosen) <= 1e-12 * least);
  });

  it('refuses candidates that differ in their activations only', () => {
    const candidates = [{ weights: 'int8' }, { weights: 'int8', activations: 'uint16' }];
    assert.ok(!quantizeMixed.options.safeParse({ sensitivity: 'hawq', candidates }).success);
    assert.ok(quantizeMixed.options.safeParse({ candidates }).success);
  });
});

interface MeasuredChoice extends Choice {
  readonly candidates: readonly (Choice['candidates'][number] & {
    readonly trace: number;
    readonly squaredError: number;
  })[];
}

/** One batch of noise with class labels. */
function noiseTraining({ batchSize }: { readonly batchSize: number }): Promise<TrainingSource> {
  return Promise.resolve({
    info: {
      samples: batchSize,
      validationSamples: 0,
      batchSize,
      stepsPerEpoch: 1,
      arrays: new Map([['x', 'x']]),
      labels: undefined,
      classCounts: undefined,
      order: 'whole',
      bytesPerSample: 1024,
      warnings: [],
    },
    async *epoch() {
      yield await Promise.resolve({
        feeds: { x: { type: 'float' as const, dims: [batchSize, ...DIMS.slice(1)], data: noise(batchSize * 256, 50) } },
        labels: {
          type: 'int64' as const,
          dims: [batchSize],
          data: BigInt64Array.from({ length: batchSize }, (_, i) => BigInt(i % 6)),
        },
        count: batchSize,
        epoch: 0,
        step: 0,
        samples: new Uint32Array(batchSize),
      });
    },
    validation: () => undefined,
    close: () => Promise.resolve(),
  } satisfies TrainingSource);
}
