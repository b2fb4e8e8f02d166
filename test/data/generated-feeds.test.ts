import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { generatedFeeds } from '../../src/data/generated-feeds.ts';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { tensorValue, type ValueInfo } from '../../src/onnx/value-type.ts';
import type { FeedBatch, FeedSource } from '../../src/passes/pass.ts';

async function collect(source: FeedSource, batchSize?: number): Promise<FeedBatch[]> {
  const batches: FeedBatch[] = [];
  for await (const batch of source.batches(batchSize)) batches.push(batch);
  return batches;
}

describe('generatedFeeds', () => {
  const image = tensorValue('image', 'float', ['batch', 3, 'height', 'width']);

  it('gives the same inputs for the same seed, pass after pass, others for another', async () => {
    const make = (seed: number) => generatedFeeds([image], { seed, samples: 3, dimensions: { height: 4, width: 5 } });
    const source = make(1);
    const first = await collect(source, 2);
    assert.deepEqual(
      first.map(({ count, feeds }) => [count, feeds['image']!.dims]),
      [
        [2, [2, 3, 4, 5]],
        [1, [1, 3, 4, 5]],
      ],
    );
    assert.deepEqual(await collect(source, 2), first);
    assert.deepEqual(await collect(make(1), 2), first);
    assert.notDeepEqual(await collect(make(2), 2), first);
  });

  it('gives a symbol one size in all inputs', async () => {
    const inputs = [
      tensorValue('a', 'int64', ['b', 'tokens']),
      tensorValue('attention_mask', 'int64', ['b', 'tokens']),
    ];
    const [batch] = await collect(generatedFeeds(inputs, { seed: 0, samples: 1 }));
    assert.deepEqual(batch!.feeds['a']!.dims, batch!.feeds['attention_mask']!.dims);
    assert.ok(Array.from<unknown>(batch!.feeds['attention_mask']!.data).every((value) => value === 1n));
    assert.ok(
      Array.from<string | number | bigint, number>(batch!.feeds['a']!.data, Number).every((id) => id >= 0 && id < 10),
    );
  });

  it('begins recurrent states at zero and keeps scalars scalar', async () => {
    const inputs = [
      tensorValue('x', 'float', [1, 576]),
      tensorValue('state', 'float', [2, 'batch', 128]),
      tensorValue('sr', 'int64', []),
    ];
    const batches = await collect(generatedFeeds(inputs, { seed: 0, samples: 2 }));
    assert.equal(batches.length, 2);
    const { x, state, sr } = batches[0]!.feeds;
    assert.deepEqual([x!.dims, state!.dims, sr!.dims], [[1, 576], [2, 1, 128], []]);
    assert.ok(Array.from<unknown>(state!.data).every((value) => value === 0));
    assert.deepEqual(sr!.data, BigInt64Array.of(16000n));
  });

  it('gives unnamed sizes of signals and states what speech models take', async () => {
    const inputs = [tensorValue('input', 'float', [null, null]), tensorValue('state', 'float', [2, null, 128])];
    const [batch] = await collect(generatedFeeds(inputs, { seed: 0, samples: 2, batchSize: 2 }));
    assert.deepEqual(
      [batch!.feeds['input']!.dims, batch!.feeds['state']!.dims],
      [
        [2, 576],
        [2, 2, 128],
      ],
    );
  });

  it('keeps a fixed batch', async () => {
    const source = generatedFeeds([tensorValue('x', 'float', [4, 2])], { seed: 0, samples: 6 });
    assert.deepEqual(
      (await collect(source, 3)).map(({ count, feeds }) => [count, feeds['x']!.dims]),
      [
        [4, [4, 2]],
        [2, [4, 2]],
      ],
    );
  });

  it('refuses what it cannot make up', () => {
    const strange: ValueInfo[] = [tensorValue('s', 'string', [1]), tensorValue('x', 'float'), { name: 'none' }];
    for (const input of strange) {
      assert.throws(() => generatedFeeds([input], { seed: 0, samples: 1 }), { code: 'MODEL_UNSUPPORTED' });
    }
  });
});

describe('SeededRandom', () => {
  it('is normal with mean 0 and variance 1', () => {
    const random = new SeededRandom(3);
    const count = 100_000;
    let sum = 0;
    let squares = 0;
    for (let i = 0; i < count; i += 1) {
      const x = random.normal();
      sum += x;
      squares += x * x;
    }
    // Standard errors: 1/sqrt(n) = 0.0032 for the mean, sqrt(2/n) = 0.0045 for the variance; five of them.
    assert.ok(Math.abs(sum / count) < 0.016);
    assert.ok(Math.abs(squares / count - 1) < 0.023);
  });

  it('tells seeds apart beyond 32 bits', () => {
    assert.notEqual(new SeededRandom(2 ** 40).uint32(), new SeededRandom(0).uint32());
  });
});
