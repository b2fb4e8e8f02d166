import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { PROXY_NAMES, zeroCostProxies, type ProxyName } from '../../../src/training/proxies/zero-cost.ts';
import { buildArchitecture, type ArchitectureRequest } from '../../../src/zoo/build-architecture.ts';
import { exampleBatches, randomTensor, runtime } from '../helpers.ts';

/** PyTorch in float64, on the same weights: golden/training/make_proxy_golden.py. */
interface Golden {
  readonly batch: number;
  readonly networks: Readonly<
    Record<string, { request: ArchitectureRequest; scores: Partial<Record<ProxyName | 'grasp-terms', number>> }>
  >;
}
const golden = JSON.parse(readFileSync('test/golden/training/proxies.json', 'utf8')) as Golden;
const context = { runtime, threads: 2, signal: new AbortController().signal };

/**
 * Relative. The worst seen of float32 is 6e-7. But where units are so near 0 that rounding turns them on or off, gradients jump:
 * MobileNetV2's last maps are of one pixel, normalized over 16 values. There a change of the images by 1e-6 moves fisher of
 * float64 by 1.2e-3.
 */
const TOLERANCE: Readonly<Record<string, number>> = { 'mobilenet-v2': 3e-3 };

describe('zero-cost proxies', () => {
  for (const [name, { request, scores: expected }] of Object.entries(golden.networks)) {
    const names = PROXY_NAMES.filter((proxy) => expected[proxy] !== undefined);
    it(`${name}: ${names.join(', ')} are those of PyTorch`, async () => {
      const model = buildArchitecture(request, 1);
      const before = encodeModel(model);
      const [batch] = await exampleBatches(model, golden.batch, 1);
      const { scores, absent } = await zeroCostProxies(model, batch!, { ...context, names });
      assert.deepEqual(absent, {});
      assert.deepEqual(Object.keys(scores).sort(), [...names].sort());
      for (const proxy of names) {
        const [value, wanted] = [scores[proxy] ?? NaN, expected[proxy]!];
        // Terms of grasp have both signs and cancel out.
        const scale = proxy === 'grasp' ? expected['grasp-terms']! : Math.abs(wanted);
        const error = Math.abs(value - wanted) / scale;
        assert.ok(error < (TOLERANCE[name] ?? 3e-6), `${proxy}: ${value}, not ${wanted} (relative error ${error})`);
      }
      assert.deepEqual(encodeModel(model), before, 'the model is as it was');
    });
  }

  const images = (seed: number, samples = 4): NdArray => ({
    type: 'float',
    dims: [samples, 3, 32, 32],
    data: randomTensor('images', [samples, 3, 32, 32], seed, 1).floats(),
  });
  const labels: NdArray = { type: 'int64', dims: [4], data: BigInt64Array.of(0n, 1n, 2n, 3n) };

  it('counts the baselines', async () => {
    const model = buildArchitecture({ architecture: 'resnet', depth: 20, shortcut: 'pad' }, 1);
    const names = ['macs', 'parameters'] as const;
    const { scores } = await zeroCostProxies(model, { feeds: { input: images(1) }, labels }, { ...context, names });
    // ResNet-20 of He et al.: 0.27 million parameters, 40.55 million multiplications.
    assert.deepEqual(scores, { parameters: 269722, macs: 40551040 });
  });

  it('says why a proxy cannot be had of a network', async () => {
    const batch = { feeds: { input: images(2) }, labels };
    const vit = buildArchitecture({ architecture: 'vit', patchSize: 8, width: 12, depth: 1, heads: 2 }, 1);
    const adder = buildArchitecture({ architecture: 'addernet', depth: 8, width: 0.25 }, 1);
    const ofTransformer = await zeroCostProxies(vit, batch, context);
    assert.deepEqual(Object.keys(ofTransformer.absent).sort(), ['grasp', 'naswot', 'synflow']);
    assert.match(ofTransformer.absent.naswot ?? '', /no ReLU/);
    assert.match(ofTransformer.absent.synflow ?? '', /LayerNormalization "block1.norm1" does not keep factors/);
    const ofAdders = await zeroCostProxies(adder, batch, { ...context, names: ['synflow', 'grasp', 'snip'] });
    assert.deepEqual(Object.keys(ofAdders.absent).sort(), ['grasp', 'synflow']);
    assert.match(ofAdders.absent.synflow ?? '', /Adder2D/);
    assert.ok((ofAdders.scores.snip ?? 0) > 0);
  });

  it('is not infinite when samples are alike', async () => {
    const model = buildArchitecture({ architecture: 'mlp', depth: 2, width: 16 }, 1);
    const one = images(3, 1).data as Float32Array;
    const data = new Float32Array(4 * one.length);
    for (let i = 0; i < 4; i += 1) data.set(one, i * one.length);
    const feeds: Record<string, NdArray> = { input: { type: 'float', dims: [4, 3, 32, 32], data } };
    const { scores } = await zeroCostProxies(model, { feeds, labels }, { ...context, names: ['naswot', 'jacob-cov'] });
    assert.ok(Number.isFinite(scores.naswot) && Number.isFinite(scores['jacob-cov']), JSON.stringify(scores));
  });

  it('stops when it is told to', async () => {
    const model = buildArchitecture({ architecture: 'mlp', depth: 2, width: 16 }, 1);
    const signal = AbortSignal.abort(new Error('stop'));
    await assert.rejects(
      zeroCostProxies(model, { feeds: { input: images(4) }, labels }, { ...context, signal }),
      /stop/,
    );
  });
});
