import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { z } from 'zod';
import type { TrainingSource } from '../../src/data/training/training-source.ts';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import { makeNode } from '../../src/onnx/node.ts';
import type { Model } from '../../src/onnx/model.ts';
import { tensorValue } from '../../src/onnx/value-type.ts';
import type { StepOf } from '../../src/passes/implicit-steps.ts';
import { runStep } from '../../src/passes/pass-manager.ts';
import { STAGES, type Pass, type PassContext } from '../../src/passes/pass.ts';
import { PASSES } from '../../src/passes/registry.ts';
import { contextOf, net, noise, runtime, source, weight } from '../passes/quantize/helpers.ts';

/** What every pass of the table owes, so that a new one is covered on the day it is listed. */

const DIMS = [1, 4, 8, 8];
const plain = contextOf(source('x', DIMS));
const context: PassContext = {
  ...plain,
  data: { ...plain.data, training: source('x', DIMS) },
  openTraining: ({ batchSize }) => Promise.resolve(noiseSource(batchSize)),
  get input() {
    return network();
  },
};

/** Two batches an epoch of noise with class labels; the same for validation, one sample at a time. */
function noiseSource(batchSize: number): TrainingSource {
  const batch = (size: number, step: number) => ({
    feeds: {
      x: { type: 'float' as const, dims: [size, ...DIMS.slice(1)], data: noise(size * 256, 50 + step) },
    },
    labels: {
      type: 'int64' as const,
      dims: [size],
      data: BigInt64Array.from({ length: size }, (_, i) => BigInt(i % 5)),
    },
    count: size,
  });
  return {
    info: {
      samples: 2 * batchSize,
      validationSamples: 2,
      batchSize,
      stepsPerEpoch: 2,
      arrays: new Map([['x', 'x']]),
      labels: { array: 'labels', kind: 'class' },
      classCounts: undefined,
      order: 'whole',
      bytesPerSample: 1024,
      warnings: [],
    },
    async *epoch(epoch, fromStep = 0) {
      for (let at = fromStep; at < 2; at += 1) {
        yield await Promise.resolve({ ...batch(batchSize, at), epoch, step: at, samples: new Uint32Array(batchSize) });
      }
    },
    validation: () => ({
      samples: 2,
      async *batches(size = 1) {
        for (let at = 0; at < 2; at += size) yield await Promise.resolve(batch(size, at));
      },
    }),
    close: () => Promise.resolve(),
  };
}

/** Something for most passes: convolutions, normalization, a product. */
function network(): Model {
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { attributes: { pads: [1, 1, 1, 1] }, name: 'conv1' }),
      makeNode('Relu', ['c1'], ['r1'], { name: 'relu1' }),
      makeNode('Conv', ['r1', 'w2'], ['c2'], { name: 'conv2' }),
      makeNode('GlobalAveragePool', ['c2'], ['p'], { name: 'pool' }),
      makeNode('Flatten', ['p'], ['f'], { name: 'flatten' }),
      makeNode('Gemm', ['f', 'w3', 'b3'], ['y'], { attributes: { transB: 1 }, name: 'head' }),
    ],
    tensors: [
      weight('w1', [8, 4, 3, 3], 1),
      weight('b1', [8], 2),
      weight('w2', [8, 8, 3, 3], 3),
      weight('w3', [5, 8], 4),
      weight('b3', [5], 5),
    ],
    inputs: { x: DIMS },
    outputs: { y: [1, 5] },
  });
}

/** Nothing for any pass: one sum of integers. */
function integers(): Model {
  const model = net({ nodes: [makeNode('Add', ['x', 'x'], ['y'], { name: 'sum' })], inputs: {}, outputs: {} });
  model.graph.inputs = [tensorValue('x', 'int64', [2])];
  model.graph.outputs = [tensorValue('y', 'int64', [2])];
  return model;
}

/** Where a pass's example does not fit the little network. */
const FITTING: Readonly<Record<string, object>> = {
  distill: { student: 'self', training: { epochs: 1, batchSize: 16 } },
};

/** Passes that take a share of what there is: a second run takes its share of what is left. */
const TAKES_A_SHARE: ReadonlySet<string> = new Set(['prune.channels']);

function step(pass: Pass): StepOf {
  return { pass, options: pass.options.parse({ ...(pass.example as object), ...FITTING[pass.name] }) };
}

it('no two passes have one name', () => {
  assert.equal(new Set(PASSES.map(({ name }) => name)).size, PASSES.length);
});

for (const pass of PASSES) {
  /** Training never has nothing to do, and cannot do it on a model without weights. */
  const trains = pass.needs(step(pass).options).includes('training');
  describe(`contract of ${pass.name}`, () => {
    it('describes itself: name, stage, words, papers, a page', () => {
      assert.match(pass.name, /^[a-z]+(\.[a-z]+)?$/);
      assert.ok(STAGES.includes(pass.stage));
      assert.ok(pass.description.length > 20);
      for (const { title, url } of pass.papers) assert.ok(title.length > 0 && url.startsWith('https://'));
      assert.ok(existsSync(`docs/passes/${pass.name.replace('.', '-')}.md`), 'docs page');
    });

    it('describes each option, with a default for all', () => {
      const schema = z.toJSONSchema(pass.options, { io: 'input' }) as {
        properties?: Record<string, { description?: string }>;
        required?: string[];
      };
      assert.deepEqual(schema.required ?? [], []);
      for (const [name, { description }] of Object.entries(schema.properties ?? {})) {
        assert.ok(description !== undefined && description.length > 10, `option ${name}`);
      }
      assert.ok(pass.options.safeParse({}).success);
    });

    it('takes its example and refuses an unknown option', () => {
      assert.ok(pass.options.safeParse(pass.example).success);
      assert.ok(!pass.options.safeParse({ ...(pass.example as object), typo: 1 }).success);
    });

    // What follows runs the pass alone; a search has trials, which are jobs: test/workers/search.test.ts runs it.
    if (pass.stage === 'search') return;

    it('changes nothing, and says 0, on a model with no match', async () => {
      const model = integers();
      const bytes = encodeModel(model);
      if (trains) await assert.rejects(runStep(model, step(pass), context), { code: 'PASS_PRECONDITION' });
      else assert.equal((await runStep(model, step(pass), context)).changes, 0);
      assert.deepEqual(encodeModel(model), bytes);
    });

    it('keeps a model that ONNX Runtime loads, with the same interface', async () => {
      const [before, model] = [network(), network()];
      await runStep(model, step(pass), context);
      const values = async (of: Model) => {
        const session = await runtime.createSession(of, { threads: 1 });
        await session.release();
        return { inputs: session.inputs, outputs: session.outputs };
      };
      assert.deepEqual(await values(model), await values(before));
    });

    it('gives the same bytes for the same request, and has nothing to do a second time', async () => {
      const [a, b] = [network(), network()];
      await runStep(a, step(pass), context);
      await runStep(b, step(pass), context);
      const bytes = encodeModel(a);
      assert.deepEqual(encodeModel(b), bytes);
      if (trains || TAKES_A_SHARE.has(pass.name)) return;
      assert.equal((await runStep(a, step(pass), context)).changes, 0);
      assert.deepEqual(encodeModel(a), bytes);
    });
  });
}
